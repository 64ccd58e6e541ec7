package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Names of those who make dumps of kernels.
const (
	nameRead           = "read the vmcore"
	nameKernelLZO      = "makedumpfile -l -d 31"
	namePeerZstd       = "makedumpfile -z -d 31"
	nameCompleteLZO    = "makedumpfile -l -d 0"
	nameKernelZstd     = "procdump convert -type kernel -z zstd"
	nameKernelSnappy   = "procdump convert -type kernel -z snappy"
	nameCompleteSnappy = "procdump convert -type complete -z snappy"
	nameCompleteZstd   = "procdump convert -type complete -z zstd"
)

// caseKernel is the case that verdicts refer to.
const caseKernel = "kernel"

// What must hold of dumps of kernels.
const (
	mostKernel   = 0.7 // of makedumpfile's time
	mostComplete = 0.8
	mostLarger   = 1.05 // of makedumpfile's size
)

const kernelLegend = `ratio: of the best times, to makedumpfile's that leaves out the same; less is better. The vmcore is in
the page cache and the dumps go to memory.
`

// writeKernelTable prints a table of the dumps of kernels, if there are any.
func writeKernelTable(w io.Writer, results []*result) error {
	if !slices.ContainsFunc(results, func(r *result) bool { return len(r.kernel) > 0 }) {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\ncase\ttool\tbest s\tmedian s\tratio\tcpu s\tpeak RSS MiB\tsize MiB\truns")
	var failures []string
	for _, res := range results {
		for _, r := range res.kernel {
			if err := r.err(); err != nil {
				fmt.Fprintf(t, "%s\t%s\tfailed\t\t\t\t\t\t%d\n", res.name, r.tool, len(r.samples))
				failures = append(failures, fmt.Sprintf("%s, %s: %v\n", res.name, r.tool, err))
				continue
			}
			peer := nameKernelLZO
			if strings.Contains(r.tool, "complete") {
				peer = nameCompleteLZO
			}
			ratio := math.NaN()
			if strings.HasPrefix(r.tool, "procdump") {
				ratio = bestRatio(r, res.kernelRow(peer))
			}
			fmt.Fprintf(t, "%s\t%s\t%.3f\t%s\t%s\t%s\t%.0f\t%s\t%d\n", res.name, r.tool, r.best().Seconds(), figure("%.3f", r.median(wallOf)),
				figure("%.2f", ratio), figure("%.2f", r.median(cpuOf)), float64(r.peak())/(1<<20), figure("%.1f", r.median(diskOf)), len(r.samples))
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(w, strings.Join(failures, "")+kernelLegend)
	return err
}

// kernelRow finds a contestant's row, nil if it did not take part.
func (r *result) kernelRow(tool string) *row {
	if r == nil {
		return nil
	}
	for _, x := range r.kernel {
		if x.tool == tool {
			return x
		}
	}
	return nil
}

// bestRatio is a's best time over b's, NaN if one has none.
func bestRatio(a, b *row) float64 {
	if a.best() == 0 || b.best() == 0 {
		return math.NaN()
	}
	return a.best().Seconds() / b.best().Seconds()
}

// judgeKernel makes the verdicts on dumps of kernels.
func judgeKernel(r *result) []verdict {
	peer, with := r.kernelRow(namePeerZstd), "zstd"
	if peer == nil {
		peer, with = r.kernelRow(nameKernelLZO), "lzo, its build has no zstd"
	}
	zstd, snappy := r.kernelRow(nameKernelZstd), r.kernelRow(nameCompleteSnappy)
	all := []verdict{
		atMost(fmt.Sprintf("kernel, zstd: time ≤ %.1f × makedumpfile -d 31's (%s)", mostKernel, with), r, bestRatio(zstd, peer), mostKernel, "%.2f", ""),
		atMost(fmt.Sprintf("kernel, zstd: size ≤ %.2f × makedumpfile -d 31's", mostLarger), r, sizeRatio(zstd, peer), mostLarger, "%.2f", ""),
		atMost(fmt.Sprintf("complete, snappy: time ≤ %.1f × makedumpfile -d 0's (lzo)", mostComplete), r, bestRatio(snappy, r.kernelRow(nameCompleteLZO)), mostComplete, "%.2f", ""),
	}
	v := verdict{fmt.Sprintf("peak RSS of converting kernel dumps ≤ %d MiB", mostRSS), "not run", notRun}
	if r == nil {
		return append(all, v)
	}
	v.state = pass
	var most int64
	for _, x := range r.kernel {
		if !strings.HasPrefix(x.tool, "procdump") {
			continue
		}
		if x.err() != nil {
			v.state = fail
		}
		most = max(most, x.peak())
	}
	if v.figure = fmt.Sprintf("%.0f MiB", float64(most)/(1<<20)); most > mostRSS<<20 {
		v.state = fail
	}
	return append(all, v)
}

func sizeRatio(a, b *row) float64 {
	if a == nil || b == nil {
		return math.NaN()
	}
	return a.median(diskOf) / b.median(diskOf)
}

// best is the shortest time of a contestant's runs.
func (r *row) best() time.Duration {
	if r == nil || r.err() != nil || len(r.samples) == 0 {
		return 0
	}
	least := r.samples[0].wall
	for _, s := range r.samples {
		least = min(least, s.wall)
	}
	return least
}

// peak is the largest memory of a contestant's runs, in bytes.
func (r *row) peak() int64 {
	var most int64
	for _, s := range r.samples {
		most = max(most, s.rss)
	}
	return most
}
