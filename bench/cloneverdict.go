package main

import "fmt"

// What must hold of dumps from a clone.
const (
	mostOfFork     = 1.25 // the pause, of the cost of fork(2) of the victim
	leastOfPause   = 20.0 // gcore's pause, of this one
	mostHugePerGiB = 5.0  // ms, with huge pages
	leastHuge      = 0.95 // of the memory, that is in huge pages
)

// judgeClones judges the pauses of dumps from a clone, as procdump says them and
// as the victim sees them.
func judgeClones(byName map[string]*result) (all []verdict) {
	for _, size := range []string{"1GiB", "4GiB", "8GiB"} {
		r := byName["clone"+size]
		what := "clone of " + size
		all = append(all, ofFork(what, r), gcorePause(what, r, nameClone, placeDisk, leastOfPause))
	}
	huge := byName["clone1GiB-huge"]
	share := huge.row(nameClone, placeDisk).median(hugeOf)
	return append(all, onlyIf(pause("clone of 1GiB of huge pages", huge, nameClone, placeDisk, mostHugePerGiB),
		share, leastHuge, figure("%.0f", 100*share)+" % of it are"))
}

// ofFork compares the pause with what fork(2) of the same process takes.
func ofFork(what string, r *result) verdict {
	what = fmt.Sprintf("%s: pause ≤ %.2f × fork(2)", what, mostOfFork)
	if r == nil {
		return verdict{what, "not run", notRun}
	}
	fork, p := r.row(nameFork, placeDisk), r.pauseOf(nameClone, placeDisk)
	own, seen := ratio(fork, r.row(nameClone, placeDisk), ownOf), (p.seen-p.noise)/fork.median(ownOf)
	figures := fmt.Sprintf("%s, seen %s; %v; fork(2) %s ms", figure("%.2f", own), figure("%.2f", seen), p, figure("%.2f", fork.median(ownOf)))
	return verdict{what, figures, p.state(own <= mostOfFork && seen <= mostOfFork, (mostOfFork-1)*fork.median(ownOf))}
}
