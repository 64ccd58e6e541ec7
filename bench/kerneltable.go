package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
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
	t := newTable("case", "tool", "best s", "median s", "ratio", "cpu s", "peak RSS MiB", "size MiB", "runs")
	for _, res := range results {
		for _, r := range res.kernel {
			if err := r.err(); err != nil {
				t.fail(err, res.name+", "+r.tool, len(r.samples), res.name, r.tool)
				continue
			}
			peer := nameKernelLZO
			if strings.Contains(r.tool, "complete") {
				peer = nameCompleteLZO
			}
			ratio := math.NaN()
			if isOwn(r) {
				ratio = bestRatio(r, res.kernelRow(peer))
			}
			t.add(res.name, r.tool, fmt.Sprintf("%.3f", r.best().Seconds()), figure("%.3f", r.median(wallOf)), figure("%.2f", ratio),
				figure("%.2f", r.median(cpuOf)), figure("%.0f", r.most(rssOf)), figure("%.1f", r.median(diskOf)), fmt.Sprint(len(r.samples)))
		}
	}
	return t.write(w, kernelLegend)
}

// isOwn tells whether procdump made the dumps of a row.
func isOwn(r *row) bool { return strings.HasPrefix(r.tool, "procdump") }

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
		peer, with = r.kernelRow(nameKernelLZO), "its lzo"
	}
	zstd, snappy := r.kernelRow(nameKernelZstd), r.kernelRow(nameCompleteSnappy)
	all := []verdict{
		atMost(fmt.Sprintf("kernel, zstd: time ≤ %.1f × makedumpfile -d 31's (%s)", mostKernel, with), r, bestRatio(zstd, peer), mostKernel, "%.2f", ""),
		atMost(fmt.Sprintf("kernel, zstd: size ≤ %.2f × makedumpfile -d 31's", mostLarger), r, sizeRatio(zstd, peer), mostLarger, "%.2f", ""),
		atMost(fmt.Sprintf("complete, snappy: time ≤ %.1f × makedumpfile -d 0's (lzo)", mostComplete), r, bestRatio(snappy, r.kernelRow(nameCompleteLZO)), mostComplete, "%.2f", ""),
	}
	own := func(r *result) []*row {
		return slices.DeleteFunc(slices.Clone(r.kernel), func(x *row) bool { return !isOwn(x) })
	}
	var ran []*result
	if r != nil {
		ran = append(ran, r)
	}
	return append(all, memory(fmt.Sprintf("peak RSS of converting kernel dumps ≤ %d MiB", mostRSS), ran, own))
}

func sizeRatio(a, b *row) float64 {
	if a == nil || b == nil {
		return math.NaN()
	}
	return a.median(diskOf) / b.median(diskOf)
}
