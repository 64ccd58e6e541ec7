package proc

import (
	"math"
	"time"
)

const (
	// windowSpan is the time that CPU use is averaged over.
	windowSpan = time.Second
	// windowPoints is the number of past readings that are kept.
	windowPoints = 8
	// windowStep is the least time between two of them, so that they reach
	// back for the whole span however often samples are taken.
	windowStep = windowSpan / (windowPoints - 1)
	// windowNear is as good as the whole span: timers are not exact.
	windowNear = windowSpan - windowSpan/16
)

// window keeps past readings of a CPU clock. Its zero value is empty.
type window struct {
	at, used [windowPoints]time.Duration // a ring: the time and the clock's value
	next, n  uint8
}

// average is the number of cores used over a span of time.
type average struct {
	cores float64
	span  time.Duration
}

// add takes a reading, used at the time now. It returns the cores used since
// the latest reading that is a whole span old, or else since the oldest one,
// and those used since the newest one. Without an earlier reading both are NaN.
func (w *window) add(now, used time.Duration) (long, short average) {
	long.cores, short.cores = math.NaN(), math.NaN()
	if w.n > 0 {
		newest := w.back(1)
		if now < w.at[newest] || used < w.used[newest] {
			*w = window{} // the clock was set back
		}
	}
	for i := uint8(1); i <= w.n; i++ {
		from := w.back(i)
		long.span = now - w.at[from]
		if long.span > 0 {
			long.cores = float64(used-w.used[from]) / float64(long.span)
		}
		if i == 1 {
			short = long
		}
		if long.span >= windowNear {
			break
		}
	}
	if w.n == 0 || now-w.at[w.back(1)] >= windowStep {
		w.at[w.next], w.used[w.next] = now, used
		w.next = (w.next + 1) % windowPoints
		w.n = min(w.n+1, windowPoints)
	}
	return long, short
}

// back is the index of the i-th last reading, from 1.
func (w *window) back(i uint8) uint8 { return (w.next + windowPoints - i) % windowPoints }
