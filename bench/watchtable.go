package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
)

const watchLegend = `ratio: to the row of the same figure without procdump, or with the least that can do it, round by
round; less is better. core: of one core. caught: what was seen of what there was to see.
`

// writeWatchTable prints a table of the results of watching, if there are any.
func writeWatchTable(w io.Writer, results []*result) error {
	if !slices.ContainsFunc(results, func(r *result) bool { return len(r.watched) > 0 }) {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\ncase\twho\tfigure\tmedian\tp95\tratio\tcore\tpeak RSS MiB\tcaught\truns")
	var failures []string
	for _, res := range results {
		for _, r := range res.watched {
			if err := r.err(); err != nil {
				fmt.Fprintf(t, "%s\t%s\t%s\tfailed\t\t\t\t\t\t%d\n", res.name, r.who, r.figure, len(r.readings))
				failures = append(failures, fmt.Sprintf("%s, %s: %v\n", res.name, r.who, err))
				continue
			}
			all := r.all()
			p95 := math.NaN()
			if len(all) >= 20 {
				p95 = percentile(all, 95)
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\n", res.name, r.who, r.figure, micros(median(all)), micros(p95),
				figure("%.2f", r.ratio()), figure("%.2f %%", r.median(coreOf)), figure("%.0f", r.most(peakOf)),
				figure("%.1f %%", 100*r.share()), len(r.readings))
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(w, strings.Join(failures, "")+watchLegend)
	return err
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
