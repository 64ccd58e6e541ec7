package trigger

import (
	"fmt"
	"strconv"
	"time"
)

// Threshold is a value that a metric must reach, or fall below, and for how
// long.
type Threshold struct {
	Metric string        // its name, for messages
	Value  float64       // in the metric's unit
	Below  bool          // holds when the metric is < Value, else when it is >= Value
	For    time.Duration // how long it must hold without a break; 0: one sample is enough
}

// Holds tells whether the condition holds for one value. NaN means that there
// is no value, and nothing holds for it.
func (t Threshold) Holds(v float64) bool {
	if t.Below {
		return v < t.Value
	}
	return v >= t.Value
}

// String is the condition in one line: "cpu >= 90 for 3s".
func (t Threshold) String() string {
	op := ">="
	if t.Below {
		op = "<"
	}
	text := fmt.Sprintf("%s %s %s", t.Metric, op, strconv.FormatFloat(t.Value, 'f', -1, 64))
	if t.For > 0 {
		text += " for " + t.For.String()
	}
	return text
}

// Level is a threshold and the state of watching it: the samples of one metric
// of one process go in, and it tells when to fire. Level{Threshold: t} is ready
// for use.
//
// A sample taken at time t stands for the span before it: the window that it
// averages, or the time since the sample before. So the first sample for which
// the condition holds counts with its whole span, and three samples at 1 Hz are
// three seconds. These end the count:
//
//   - a sample for which the condition does not hold, or without a value (NaN);
//   - a gap: no sample for more than three spans, as when procdump was stopped
//     or the machine slept. Nobody knows what happened meanwhile;
//   - firing. The time up to it is used up, and the count begins anew.
type Level struct {
	Threshold

	counting bool
	first    time.Time     // the first sample of the count
	lead     time.Duration // what the first sample stands for
	last     time.Time     // the last sample, whatever its value
	span     time.Duration // of the last sample
	fired    time.Time     // when it fired, until the condition fails; zero if it did not
}

// gapSpans is the number of spans without a sample that end the count.
const gapSpans = 3

// slack is the part of a span that may be missing. Timers are not exact: of
// three samples at 1 Hz, the last may come 2.999 s after the span of the first
// began, and that is three seconds.
func slack(span time.Duration) time.Duration { return span / 10 }

// Feed takes the sample v of the time now, which stands for the span before
// now, and tells whether the condition has held for long enough. A span of 0 is
// an instant; between instants there are no gaps.
func (l *Level) Feed(now time.Time, v float64, span time.Duration) bool {
	known := span
	if l.gap(now, span) {
		l.counting, l.fired = false, time.Time{}
		known = min(span, l.span) // an average over the gap says little about it
	}
	l.last, l.span = now, span
	if !l.Holds(v) {
		l.counting, l.fired = false, time.Time{}
		return false
	}
	if !l.counting {
		lead := known
		// Averages over windows that overlap: what led to the last firing
		// counts once.
		if !l.fired.IsZero() {
			lead = min(lead, now.Sub(l.fired))
		}
		l.counting, l.first, l.lead = true, now, lead
	}
	if now.Sub(l.first)+l.lead < l.For-slack(known) {
		return false
	}
	l.counting, l.fired = false, now
	return true
}

// Bridge takes a sample that does not fulfil the condition while a longer
// average does: it keeps a count alive that has begun, but neither begins nor
// completes one. So a short dip does not end the time of a noisy value, and an
// average that lags behind does not prolong it.
func (l *Level) Bridge(now time.Time, span time.Duration) {
	if l.gap(now, span) {
		l.counting, l.fired = false, time.Time{}
	}
	l.last, l.span = now, span
}

// gap tells whether too much time passed since the last sample. After a gap the
// new span may be as long as the gap, so the smaller of the two spans decides.
func (l *Level) gap(now time.Time, span time.Duration) bool {
	if l.last.IsZero() {
		return false
	}
	passed, s := now.Sub(l.last), min(span, l.span)
	return passed < 0 || s > 0 && passed > gapSpans*s
}

// Held returns for how long the condition has held at the time now, or 0. It
// begins anew when the level fires.
func (l *Level) Held(now time.Time) time.Duration {
	if !l.counting || l.gap(now, l.span) {
		return 0
	}
	return now.Sub(l.first) + l.lead
}

// Reset forgets all samples.
func (l *Level) Reset() { *l = Level{Threshold: l.Threshold} }
