package monitor

import (
	"errors"
	"time"

	"procdump/probe/proc"
)

// sameTime is how many processes are looked at with one reading of the clock:
// what that takes together, some 50 µs, is nothing to their values.
const sameTime = 16

// sample looks at every process once.
func (m *monitor) sample() {
	period := m.period()
	var now time.Time
	n := 0
	for _, w := range m.watched {
		if n%sameTime == 0 {
			now = time.Now()
		}
		n++
		m.look(w, now, period)
	}
}

func (m *monitor) look(w *watched, now time.Time, period time.Duration) {
	if w.dumping {
		return
	}
	hit, v, err := w.gauges.look(now, period)
	if errors.Is(err, proc.ErrGone) {
		// A tracer tells how it ended, unless it has lost it.
		if w.tree == nil || !now.Before(w.lostAt(now)) {
			m.ended(w, "")
		}
		return
	}
	if err != nil {
		return // not to be read this time
	}
	if !m.Rules.Any() {
		if !now.Before(w.next) {
			m.start(w, &Due{Reason: m.timedReason(w)})
		}
		return
	}
	// A hang takes seconds: it comes first, and keeps no gauge from its turn.
	if reason := w.gauges.hangs.reason(now); reason != "" {
		m.start(w, &Due{Reason: reason, Code: "HANG"})
		return
	}
	if hit != nil {
		m.start(w, &Due{Reason: hit.reason(v), Code: hit.kind.code, gauge: hit})
	}
}

// goneWait is how long a tracer may take to tell of an end that /proc shows.
const goneWait = 5 * time.Second

// lostAt is when a traced process that /proc does not have is given up.
func (w *watched) lostAt(now time.Time) time.Time {
	if w.lost.IsZero() {
		w.lost = now
	}
	return w.lost.Add(goneWait)
}
