package main

import (
	"fmt"
	"io"
	"math"
)

const watchLegend = `ratio: to the row of the same figure without procdump, or with the least that can do it, round by
round; less is better. core: of one core. caught: what was seen of what there was to see.
`

// writeWatchTable prints a table of the results of watching, if there are any.
func writeWatchTable(w io.Writer, results []*result) error {
	t := newTable("case", "who", "figure", "median", "p95", "ratio", "core", "peak RSS MiB", "caught", "runs")
	for _, res := range results {
		for _, r := range res.watched {
			if err := r.err(); err != nil {
				t.fail(err, res.name+", "+r.who, len(r.readings), res.name, r.who, r.figure)
				continue
			}
			all := r.all()
			p95 := math.NaN()
			if len(all) >= 20 {
				p95 = percentile(all, 95)
			}
			t.add(res.name, r.who, r.figure, micros(median(all)), micros(p95), figure("%.2f", r.ratio()), figure("%.2f %%", r.median(coreOf)),
				figure("%.0f", r.most(peakOf)), figure("%.1f %%", 100*r.share()), fmt.Sprint(len(r.readings)))
		}
	}
	return t.write(w, watchLegend)
}

// micros prints a duration, NaN as "-".
func micros(us float64) string {
	switch {
	case math.Abs(us) >= 10_000:
		return figure("%.1f ms", us/1000)
	case math.Abs(us) >= 100:
		return figure("%.0f µs", us)
	}
	return figure("%.2f µs", us)
}
