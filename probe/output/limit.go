package output

import (
	"time"

	"procdump/internal/sys/bpf"
)

// limit bounds how many lines of a place go on to whoever shows them: a process
// that writes short lines in large blocks could otherwise keep a whole processor
// busy that it needs itself. It is the algorithm that internal/sys/bpf limits
// writes by, and allows twice its burst, so that it never comes in where each
// line is a write.
type limit struct {
	// used is up to when a place has used what it may, in nanoseconds. Places
	// whose numbers are equal in the low bits share one.
	used [1 << 12]int64
}

const (
	lineNanos      = int64(time.Second) / bpf.UnitsPerSecond
	lineBurstNanos = 2 * bpf.BurstUnits * lineNanos
)

// allowed is how many more lines a place may have now.
func (l *limit) allowed(at place, now time.Time) int {
	t, used := now.UnixNano(), l.slot(at)
	*used = max(*used, t-lineBurstNanos)
	return int(max(0, t-*used+lineNanos) / lineNanos)
}

// take notes that a place has had so many.
func (l *limit) take(at place, lines int) { *l.slot(at) += int64(lines) * lineNanos }

func (l *limit) slot(at place) *int64 { return &l.used[(at.pid<<1|at.fd>>1)&(len(l.used)-1)] }
