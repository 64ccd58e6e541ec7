package main

import (
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
)

const legend = `speed: to the machine's limit and to gcore in the same place, until the data is on disk; (as the
command returns); more is better. wall+sync: the command, and the fsync of its file after it.
spread: slowest run over fastest. limit: the faster of the two where there are two.
pause: as procdump says / as the victim's beating thread saw it. Medians.
`

// table is rows of figures, and why some are missing.
type table struct {
	head     []string
	rows     [][]string
	failures []string
}

func newTable(head ...string) *table { return &table{head: head} }

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// fail adds the row of a contestant that failed: its first cells, and what the
// last column has of all, how often it ran.
func (t *table) fail(err error, what string, runs int, cells ...string) {
	row := make([]string, len(t.head))
	copy(row, append(cells, "failed"))
	row[len(row)-1] = fmt.Sprint(runs)
	t.add(row...)
	t.failures = append(t.failures, fmt.Sprintf("%s: %v\n", what, err))
}

// write prints the table, if it has rows, and its legend.
func (t *table) write(w io.Writer, legend string) error {
	if len(t.rows) == 0 {
		return nil
	}
	columns := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(columns)
	for _, row := range append([][]string{t.head}, t.rows...) {
		fmt.Fprintln(columns, strings.Join(row, "\t"))
	}
	if err := columns.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(w, strings.Join(t.failures, "")+legend)
	return err
}

// writeTable prints a table of the dumps, if there are any.
func writeTable(w io.Writer, results []*result) error {
	t := newTable("case", "to", "tool", "speed/limit", "speed/gcore", "wall+sync s", "spread", "cpu s", "peak RSS MiB", "pause ms", "on disk MiB", "runs")
	for _, res := range results {
		for _, r := range res.rows {
			if err := r.err(); err != nil {
				t.fail(err, res.name+" to "+r.place, len(r.samples), res.name, r.place, r.tool)
				continue
			}
			t.add(res.name, r.place, r.tool, ratios(r, res.limit(r.place)), ratios(r, res.row(nameGcore, r.place)), times(r),
				figure("%.1f", r.spread()), figure("%.2f", r.median(cpuOf)), figure("%.0f", r.median(rssOf)),
				figure("%.1f", r.median(ownOf))+"/"+figure("%.1f", r.median(seenOf)), figure("%.1f", r.median(diskOf)), fmt.Sprint(len(r.samples)))
		}
	}
	return t.write(w, legend)
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
