package main

import (
	"fmt"
	"io"
	"math"
	"text/tabwriter"
)

const legend = `speed: to the machine's limit and to gcore in the same place, until the data is on disk; (as the
command returns); more is better. wall+sync: the command, and the fsync of its file after it.
pause: as procdump says / as the victim's beating thread saw it. Medians.
`

// writeTable prints a table of all results.
func writeTable(w io.Writer, results []*result) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "case\tto\ttool\tspeed/limit\tspeed/gcore\twall+sync s\tcpu s\tpeak RSS MiB\tpause ms\ton disk MiB\truns")
	for _, res := range results {
		for _, r := range res.rows {
			if err := r.err(); err != nil {
				fmt.Fprintf(t, "%s\t%s\t%s\tfailed: %v\n", res.name, r.place, r.tool, err)
				continue
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s+%s\t%s\t%s\t%s/%s\t%s\t%d\n", res.name, r.place, r.tool,
				ratios(r, res.row(nameLimit, r.place)), ratios(r, res.row(nameGcore, r.place)),
				figure("%.2f", r.median(wallOf)), figure("%.2f", r.median(func(s sample) float64 { return s.flush.Seconds() })),
				figure("%.2f", r.median(cpuOf)), figure("%.0f", r.median(rssOf)),
				figure("%.1f", r.median(ownOf)), figure("%.1f", r.median(seenOf)),
				figure("%.1f", r.median(diskOf)), len(r.samples))
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(w, legend)
	return err
}

// ratios compares by durable time and, where that differs, by wall time.
func ratios(a, b *row) string {
	durable, wall := ratio(a, b, durableOf), ratio(a, b, wallOf)
	s := figure("%.2f", durable)
	if math.Abs(durable-wall) > 0.02 {
		s += fmt.Sprintf(" (%.2f)", wall)
	}
	return s
}

func figure(format string, x float64) string {
	if math.IsNaN(x) {
		return "-"
	}
	return fmt.Sprintf(format, x)
}
