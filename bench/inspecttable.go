package main

import (
	"fmt"
	"io"
	"math"
)

// Names of those who read dumps.
const (
	nameInspect    = "procdump inspect"
	nameInspectAll = "procdump inspect -json"
	nameGDBOne     = "gdb -batch -ex bt"
	nameGDBAll     = "gdb -batch -ex 'thread apply all bt'"
)

// Cases of reading dumps.
const (
	caseInspect    = "inspect4GiB"
	caseInspectAll = "inspect1000"
)

// What must hold of reading dumps.
const (
	mostInspect    = 300  // ms, a dump of 4 GiB
	mostInspectAll = 2000 // ms, 1,000 threads
	mostInspectRSS = 150  // MiB, both
)

const inspectLegend = `ratio: to gdb's time of the same case, round by round; less is better. Dump and debug information are in the
page cache.
`

// writeInspectTable prints a table of the reading of dumps, if there is any.
func writeInspectTable(w io.Writer, results []*result) error {
	t := newTable("case", "tool", "median ms", "best ms", "ratio", "cpu ms", "peak RSS MiB", "runs")
	for _, res := range results {
		for _, r := range res.readers {
			if err := r.err(); err != nil {
				t.fail(err, res.name+", "+r.tool, len(r.samples), res.name, r.tool)
				continue
			}
			t.add(res.name, r.tool, figure("%.0f", 1000*r.median(wallOf)), fmt.Sprint(r.best().Milliseconds()), figure("%.2f", res.toGDB(r)),
				figure("%.0f", 1000*r.median(cpuOf)), figure("%.0f", r.most(rssOf)), fmt.Sprint(len(r.samples)))
		}
	}
	return t.write(w, inspectLegend)
}

// reader finds the row of who reads dumps, nil if it did not take part.
func (r *result) reader(tool string) *row {
	if r == nil {
		return nil
	}
	for _, x := range r.readers {
		if x.tool == tool {
			return x
		}
	}
	return nil
}

// toGDB is the median over the rounds of procdump's time by gdb's, NaN of gdb
// itself and where it failed.
func (r *result) toGDB(x *row) float64 {
	switch x.tool {
	case nameInspect:
		return ratio(r.reader(nameGDBOne), x, wallOf)
	case nameInspectAll:
		return ratio(r.reader(nameGDBAll), x, wallOf)
	}
	return ratio(nil, x, wallOf)
}

// judgeInspect makes the verdicts on reading dumps.
func judgeInspect(byName map[string]*result) (all []verdict) {
	for _, c := range []struct {
		name, what, tool string
		most             float64 // ms
	}{
		{caseInspect, "what a dump of 4 GiB tells", nameInspect, mostInspect},
		{caseInspectAll, "all stacks of 1,000 threads", nameInspectAll, mostInspectAll},
	} {
		r := byName[c.name]
		wall, peak, more := math.NaN(), math.NaN(), ""
		if x := r.reader(c.tool); x != nil && x.err() == nil {
			wall, peak, more = 1000*x.median(wallOf), x.most(rssOf), fmt.Sprintf("; %s × gdb's", figure("%.2f", r.toGDB(x)))
		}
		all = append(all,
			atMost(fmt.Sprintf("%s: ≤ %.0f ms", c.what, c.most), r, wall, c.most, "%.0f ms", more),
			atMost(fmt.Sprintf("%s: peak RSS ≤ %d MiB", c.what, mostInspectRSS), r, peak, mostInspectRSS, "%.0f MiB", ""))
	}
	return all
}
