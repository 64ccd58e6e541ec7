package main

import "fmt"

// What must hold of dumps from a clone.
const (
	mostOfFork     = 1.25 // the pause, of the cost of fork(2) of the victim
	leastOfPause   = 20.0 // gcore's pause, of this one
	mostHugePerGiB = 5.0  // ms, with huge pages
)

// judgeClones judges the pauses of dumps from a clone.
func judgeClones(byName map[string]*result) (all []verdict) {
	for _, size := range []string{"1GiB", "4GiB", "8GiB"} {
		r := byName["clone"+size]
		clone, fork := r.row(nameClone, placeDisk), r.row(nameFork, placeDisk)
		v := verdict{fmt.Sprintf("clone of %s: pause ≤ %.2f × fork(2)", size, mostOfFork), "not run", notRun}
		if r != nil {
			x := ratio(fork, clone, ownOf)
			v.figure, v.state = fmt.Sprintf("%s; %s ms and %s ms", figure("%.2f", x), figure("%.1f", clone.median(ownOf)), figure("%.1f", fork.median(ownOf))), fail
			if x <= mostOfFork {
				v.state = pass
			}
		}
		// The victim's own view of gcore's pause: gcore does not say it.
		x := ratio(clone, r.row(nameGcore, placeDisk), func(s sample) float64 {
			if s.own > 0 {
				return ownOf(s)
			}
			return seenOf(s)
		})
		all = append(all, v, atLeast(fmt.Sprintf("clone of %s: gcore's pause ≥ %.0f × this one", size, leastOfPause), r, x, leastOfPause, ""))
	}
	r := byName["clone1GiB-huge"]
	v := verdict{fmt.Sprintf("clone of 1GiB of huge pages: pause ≤ %.0f ms", mostHugePerGiB), "not run", notRun}
	if r != nil {
		x := r.row(nameClone, placeDisk).median(ownOf)
		if v.figure, v.state = figure("%.2f ms", x), fail; x <= mostHugePerGiB {
			v.state = pass
		}
	}
	return append(all, v)
}
