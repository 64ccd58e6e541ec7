package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
)

const legend = `speed: to the machine's limit and to gcore in the same place, until the data is on disk; (as the
command returns); more is better. wall+sync: the command, and the fsync of its file after it.
spread: slowest run over fastest. limit: the faster of the two where there are two.
pause: as procdump says / as the victim's beating thread saw it. Medians.
`

// writeTable prints a table of the dumps, if there are any.
func writeTable(w io.Writer, results []*result) error {
	if !slices.ContainsFunc(results, func(r *result) bool { return len(r.rows) > 0 }) {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "case\tto\ttool\tspeed/limit\tspeed/gcore\twall+sync s\tspread\tcpu s\tpeak RSS MiB\tpause ms\ton disk MiB\truns")
	var failures []string
	for _, res := range results {
		for _, r := range res.rows {
			if err := r.err(); err != nil {
				fmt.Fprintf(t, "%s\t%s\t%s\tfailed\t\t\t\t\t\t\t\t%d\n", res.name, r.place, r.tool, len(r.samples))
				failures = append(failures, fmt.Sprintf("%s to %s: %v\n", res.name, r.place, err))
				continue
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s/%s\t%s\t%d\n", res.name, r.place, r.tool,
				ratios(r, res.limit(r.place)), ratios(r, res.row(nameGcore, r.place)),
				times(r), figure("%.1f", r.spread()),
				figure("%.2f", r.median(cpuOf)), figure("%.0f", r.median(rssOf)),
				figure("%.1f", r.median(ownOf)), figure("%.1f", r.median(seenOf)),
				figure("%.1f", r.median(diskOf)), len(r.samples))
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(w, strings.Join(failures, "")+legend)
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

// times is the command's time and, where there is any, that of the fsync.
func times(r *row) string {
	s := figure("%.2f", r.median(wallOf))
	if f := r.median(func(s sample) float64 { return s.flush.Seconds() }); f >= 0.005 {
		s += fmt.Sprintf("+%.2f", f)
	}
	return s
}

func figure(format string, x float64) string {
	if math.IsNaN(x) {
		return "-"
	}
	return fmt.Sprintf(format, x)
}
