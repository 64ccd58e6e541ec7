package main

// judgePreCopies judges the pauses of dumps of processes that were copied while
// they ran, as procdump says them and as the victim sees them.
func judgePreCopies(byName map[string]*result) (all []verdict) {
	for _, c := range []struct {
		name, what string
		most       float64 // ms
	}{
		{"live8GiB-1", "pre-copy of 8GiB, 1 MiB/s written to", 15},
		{"live8GiB-100", "pre-copy of 8GiB, 100 MiB/s written to", 60},
	} {
		all = append(all, pause(c.what, byName[c.name], nameLive, placeDisk, c.most))
	}
	return all
}
