package main

import (
	"fmt"
	"io"
	"slices"
)

// What must hold.
const (
	leastOfLimit   = 0.8  // of the limit's speed
	leastOfTwo     = 0.85 // of that of two readers
	leastOfGcore   = 1.4  // of gcore's, full dump in memory
	leastOnDisk    = 2.0  // the same on disk
	leastSparse    = 6.0  // of gcore's, sparse victim
	mostOfHeld     = 1.05 // of the victim's memory, the disk that a sparse dump uses
	mostRSS        = 64   // MiB
	mostPauseFew   = 5    // ms, 10 threads
	mostPauseSome  = 15   // ms, 500 threads
	leastPauseSome = 8    // of this, gcore's pause
	mostPauseMany  = 150  // ms, 1,000 threads
	mostPauseMaps  = 40   // ms, 20,000 mappings

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
			least := leastOfGcore
			if place == placeDisk {
				least = leastOnDisk
			}
			what := fmt.Sprintf("full dump of %s to %s", size, place)
			all = append(all,
				ofLimit(fmt.Sprintf("%s: speed ≥ %.1f of the limit's", what, leastOfLimit), place, r, r.limit(place), leastOfLimit),
				ofLimit(fmt.Sprintf("%s: speed ≥ %.2f of two readers'", what, leastOfTwo), place, r, r.row(nameTwo, place), leastOfTwo),
				// As the commands return: procdump when the data is on disk, gcore before that.
				atLeast(fmt.Sprintf("%s: speed ≥ %.1f × gcore's", what, least),
					r, ratio(p, gcore, wallOf), least, fmt.Sprintf("; until on disk: %s", figure("%.2f", ratio(p, gcore, durableOf)))))
		}
	}
	s := byName["sparse"]
	all = append(all, atLeast(fmt.Sprintf("sparse victim: speed ≥ %.0f × gcore's", leastSparse), s,
		ratio(s.row(nameProcdump, placeTmpfs), s.row(nameGcore, placeTmpfs), wallOf), leastSparse, ""),
		atMost(fmt.Sprintf("sparse victim: disk use ≤ %.2f of its memory", mostOfHeld), s,
			s.row(nameProcdump, placeTmpfs).median(shareOf), mostOfHeld, "%.2f", ""))
	all = append(all, memory(fmt.Sprintf("peak RSS of every run ≤ %d MiB", mostRSS), results, func(r *result) []*row {
		return slices.DeleteFunc(slices.Clone(r.rows), func(x *row) bool {
			return x.tool != nameProcdump && x.tool != namePacked && x.tool != nameMini && x.tool != nameClone && x.tool != nameLive
		})
	}))
	all = append(all,
		pause("mini dump of 10 threads", byName["threads10"], nameMini, placeTmpfs, mostPauseFew),
		pause("mini dump of 500 threads", byName["threads500"], nameMini, placeTmpfs, mostPauseSome),
		gcorePause("mini dump of 500 threads", byName["threads500"], nameMini, placeTmpfs, leastPauseSome),
		pause("mini dump of 1,000 threads", byName["threads1000"], nameMini, placeTmpfs, mostPauseMany),
		pause("mini dump of 20,000 mappings", byName["maps20000"], nameMini, placeTmpfs, mostPauseMaps))
	all = append(all, judgeClones(byName)...)
	all = append(all, judgePreCopies(byName)...)
	all = append(all, judgeWatching(byName)...)
	all = append(all, judgeKernel(byName[caseKernel])...)
	return append(all, judgeInspect(byName)...)
}

// ofLimit compares with a limit, if that is one.
func ofLimit(what, place string, r *result, limit *row, least float64) verdict {
	x, spread := ratio(r.row(nameProcdump, place), limit, durableOf), limit.spread()
	v := atLeast(what, r, x, least, "; the limit's spread "+figure("%.1f", spread))
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
func pause(what string, r *result, tool, place string, most float64) verdict {
	what = fmt.Sprintf("%s: pause ≤ %.0f ms", what, most)
	if r == nil {
		return verdict{what, "not run", notRun}
	}
	p := r.pauseOf(tool, place)
	return verdict{what, p.String(), p.state(p.own <= most && p.seen-p.noise <= most, most)}
}

// onlyIf makes no verdict of one that holds of another victim than is meant: x says
// what is special about it, of which it must have least.
func onlyIf(v verdict, x, least float64, what string) verdict {
	if v.state == notRun {
		return v
	}
	v.figure += "; " + what
	if v.state == pass && !(x >= least) { // also of NaN
		v.state = unsure
	}
	return v
}

// gcorePause judges how many times longer gcore's pause is. The victim's view
// counts of both: gcore does not say its own.
func gcorePause(what string, r *result, tool, place string, least float64) verdict {
	return atLeast(fmt.Sprintf("%s: gcore's pause ≥ %.0f × this one", what, least), r,
		ratio(r.row(tool, place), r.row(nameGcore, place), seenOf), least, ", as the victim sees both")
}

// stillness is a pause in ms: as procdump states it, as the victim saw it, and
// what the victim misses when nobody dumps it. NaN is what could not be had.
type stillness struct{ own, seen, noise float64 }

func (r *result) pauseOf(tool, place string) stillness {
	p := r.row(tool, place)
	return stillness{p.median(ownOf), p.median(seenOf), r.row(nameIdle, place).median(seenOf)}
}

// state is a verdict's, which is none where the noise alone is more than may be:
// whatever is left without it would do.
func (p stillness) state(good bool, mostNoise float64) string {
	switch {
	case !good: // also of NaN
		return fail
	case p.noise > mostNoise:
		return unsure
	}
	return pass
}

func (p stillness) String() string {
	return fmt.Sprintf("%s ms; seen %s ms, noise %s ms", figure("%.2f", p.own), figure("%.2f", p.seen), figure("%.2f", p.noise))
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
