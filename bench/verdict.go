package main

import (
	"fmt"
	"io"
	"math"
	"slices"
)

// What must hold.
const (
	leastOfLimit  = 0.8 // of the limit's speed
	leastOfGcore  = 1.0 // of gcore's, full dump
	leastSparse   = 5.0 // of gcore's, sparse victim
	mostRSS       = 64  // MiB
	mostPauseFew  = 5   // ms, 10 threads
	mostPauseMany = 150 // ms, 1,000 threads

	// A limit that varies more, or that is beaten by more than a second thread
	// can explain, is no measure: then there is no verdict.
	mostSpread    = 2.0
	mostOverLimit = 1.5

	verdictColumns = "%-4s  %-66s %s\n"
)

// verdict is one thing that must hold.
type verdict struct {
	what   string
	figure string
	state  string
}

const (
	pass   = "PASS"
	fail   = "FAIL"
	notRun = "-"
	unsure = "?" // measured, but by a yardstick that is not to be trusted
)

// judge makes the verdicts on the results; a case that did not run has none.
func judge(results []*result) []verdict {
	byName := map[string]*result{}
	for _, r := range results {
		byName[r.name] = r
	}
	var all []verdict
	for _, size := range []string{"1GiB", "4GiB"} {
		for _, place := range []string{placeTmpfs, placeDisk} {
			r := byName[size]
			p, gcore := r.row(nameProcdump, place), r.row(nameGcore, place)
			all = append(all, ofLimit(size, place, r),
				// As the commands return: procdump when the data is on disk, gcore before that.
				atLeast(fmt.Sprintf("full dump of %s to %s: faster than gcore", size, place),
					r, ratio(p, gcore, wallOf), leastOfGcore, fmt.Sprintf("; until on disk: %s", figure("%.2f", ratio(p, gcore, durableOf)))))
		}
	}
	s := byName["sparse"]
	all = append(all, atLeast(fmt.Sprintf("sparse victim: speed ≥ %.0f × gcore's", leastSparse), s,
		ratio(s.row(nameProcdump, placeTmpfs), s.row(nameGcore, placeTmpfs), wallOf), leastSparse, ""))
	all = append(all, memory(fmt.Sprintf("peak RSS of every run ≤ %d MiB", mostRSS), results, func(r *result) []*row {
		return slices.DeleteFunc(slices.Clone(r.rows), func(x *row) bool {
			return x.tool != nameProcdump && x.tool != namePacked && x.tool != nameMini && x.tool != nameClone && x.tool != nameLive
		})
	}))
	all = append(all,
		pause("mini dump of 10 threads", byName["threads10"], mostPauseFew),
		pause("mini dump of 1,000 threads", byName["threads1000"], mostPauseMany))
	all = append(all, judgeClones(byName)...)
	all = append(all, judgePreCopies(byName)...)
	all = append(all, judgeWatching(byName)...)
	all = append(all, judgeKernel(byName[caseKernel])...)
	return append(all, judgeInspect(byName)...)
}

// ofLimit compares with the limit, if that is one.
func ofLimit(size, place string, r *result) verdict {
	p, limit := r.row(nameProcdump, place), r.limit(place)
	x, spread := ratio(p, limit, durableOf), limit.spread()
	v := atLeast(fmt.Sprintf("full dump of %s to %s: speed ≥ %.1f of the limit's", size, place, leastOfLimit),
		r, x, leastOfLimit, "; the limit's spread "+figure("%.1f", spread))
	if v.state != notRun && (spread > mostSpread || x > mostOverLimit) {
		v.state = unsure
	}
	return v
}

func atLeast(what string, r *result, x, least float64, more string) verdict {
	if r == nil {
		return verdict{what, "not run", notRun}
	}
	state := fail // also of NaN, when one of the two failed
	if x >= least {
		state = pass
	}
	return verdict{what, figure("%.2f", x) + more, state}
}

// memory judges the largest peak of all runs of procdump, whose rows own picks.
func memory(what string, results []*result, own func(*result) []*row) verdict {
	v := verdict{what, "not run", notRun}
	most, where := -1.0, ""
	for _, res := range results {
		for _, r := range own(res) {
			if r.err() != nil {
				return verdict{v.what, "a run failed", fail}
			}
			if x := r.most(rssOf); x > most {
				most, where = x, fmt.Sprintf("%s of %s", r.tool, res.name)
			}
		}
	}
	if most >= 0 {
		v.figure, v.state = fmt.Sprintf("%.0f MiB (%s)", most, where), pass
		if most > mostRSS {
			v.state = fail
		}
	}
	return v
}

// pause judges the pause that procdump states, and that the victim did not see
// a longer one: what its beating thread missed, less what it misses anyway.
func pause(what string, r *result, most float64) verdict {
	what = fmt.Sprintf("%s: pause ≤ %.0f ms", what, most)
	if r == nil {
		return verdict{what, "not run", notRun}
	}
	p := r.row(nameMini, placeTmpfs)
	own, seen := p.median(ownOf), p.median(seenOf)
	noise := r.row(nameIdle, placeTmpfs).median(seenOf)
	v := verdict{what, fmt.Sprintf("%s ms; seen %s ms, noise %s ms", figure("%.2f", own), figure("%.2f", seen), figure("%.2f", noise)), fail}
	if own <= most && seen-noise <= most && !math.IsNaN(noise) {
		v.state = pass
	}
	return v
}

// writeVerdicts prints them and tells whether all that ran hold for certain.
func writeVerdicts(w io.Writer, all []verdict) bool {
	fmt.Fprintln(w, "\nmust hold")
	good := true
	for _, v := range all {
		fmt.Fprintf(w, verdictColumns, v.state, v.what, v.figure)
		good = good && v.state != fail && v.state != unsure
	}
	return good
}
