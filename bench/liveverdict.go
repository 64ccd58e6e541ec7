package main

import "fmt"

// leastOfRate is how much of its rate the victim must keep while it is copied: one
// that is slowed down leaves less to copy at the end.
const leastOfRate = 0.9

// judgePreCopies judges the pauses of dumps of processes that were copied while
// they ran, as procdump says them and as the victim sees them.
func judgePreCopies(byName map[string]*result) (all []verdict) {
	for _, c := range []struct {
		name, what string
		rate       float64 // MiB a second
		most       float64 // ms
	}{
		{"live8GiB-1", "pre-copy of 8GiB, 1 MiB/s written to", 1, 15},
		{"live8GiB-100", "pre-copy of 8GiB, 100 MiB/s written to", 100, 60},
	} {
		r := byName[c.name]
		rate := r.row(nameLive, placeDisk).median(rateOf)
		all = append(all, onlyIf(pause(c.what, r, nameLive, placeDisk, c.most), rate, leastOfRate*c.rate,
			fmt.Sprintf("it wrote %s MiB/s", figure("%.1f", rate))))
	}
	return all
}
