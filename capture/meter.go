package capture

import (
	"fmt"
	"sync/atomic"
)

// meter counts the bytes copied, for the progress bar.
type meter struct {
	done, total uint64
	report      func(done, total uint64)
}

// newMeter expects the bytes that exist, which the sum of regions bounds; in a
// sparse dump the rest of the ranges are holes.
func newMeter(dumps []*dump, report func(done, total uint64)) *meter {
	m := &meter{report: report}
	for _, d := range dumps {
		var n uint64
		for _, pl := range d.layout.Placements() {
			n += pl.Size
		}
		var exist uint64
		for i := range d.sel.Process.Regions {
			g := &d.sel.Process.Regions[i]
			if g.Anonymous() {
				exist += min(g.Size, g.Resident+g.Swapped)
			} else {
				exist += g.Size
			}
		}
		m.total += min(n, exist)
	}
	return m
}

func (m *meter) add(n uint64) {
	done := atomic.AddUint64(&m.done, n)
	if m.report != nil {
		m.report(min(done, m.total), m.total)
	}
}

// Bytes writes a number of bytes for people: "1.5 GiB".
func Bytes(n uint64) string {
	units := []string{"bytes", "KiB", "MiB", "GiB", "TiB"}
	v, i := float64(n), 0
	for v >= 1024 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d %s", n, units[i])
	}
	return fmt.Sprintf("%.1f %s", v, units[i])
}
