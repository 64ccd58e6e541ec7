package main

import "fmt"

// judgePreCopies judges the pauses of dumps of processes that were copied while
// they ran, as procdump says them and as the victim sees them.
func judgePreCopies(byName map[string]*result) (all []verdict) {
	for _, c := range []struct {
		name, what string
		most       float64 // ms
	}{
		{"live8GiB-1", "8GiB, 1 MiB/s written to", 15},
		{"live8GiB-100", "8GiB, 100 MiB/s written to", 60},
	} {
		v := verdict{fmt.Sprintf("pre-copy of %s: pause ≤ %.0f ms", c.what, c.most), "not run", notRun}
		if r := byName[c.name]; r != nil {
			row := r.row(nameLive, placeDisk)
			x := row.median(ownOf)
			v.figure, v.state = fmt.Sprintf("%s; the victim was away for %s", figure("%.1f ms", x), figure("%.1f ms", row.median(seenOf))), fail
			if x <= c.most {
				v.state = pass
			}
		}
		all = append(all, v)
	}
	return all
}
