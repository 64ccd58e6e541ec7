package trigger

import (
	"slices"
	"time"
)

// List watches several values of one metric, each of which fires once.
type List struct {
	levels []Level
}

// NewList makes a list of thresholds that differ from t in their value only.
// They are kept in the order in which a rising metric (with Below, a falling
// one) reaches them, each value once.
func NewList(t Threshold, values ...float64) *List {
	values = slices.Clone(values)
	slices.Sort(values)
	values = slices.Compact(values)
	if t.Below {
		slices.Reverse(values)
	}
	l := &List{levels: make([]Level, 0, len(values))}
	for _, v := range values {
		t.Value = v
		l.levels = append(l.levels, Level{Threshold: t})
	}
	return l
}

// Feed takes a sample as Level.Feed does. It returns the thresholds that fire
// now, which are several if the metric jumps; they will not fire again.
func (l *List) Feed(now time.Time, v float64, span time.Duration) (fired []Threshold) {
	left := l.levels[:0]
	for i := range l.levels {
		if l.levels[i].Feed(now, v, span) {
			fired = append(fired, l.levels[i].Threshold)
			continue
		}
		left = append(left, l.levels[i])
	}
	l.levels = left
	return fired
}

// Left returns the thresholds that have not fired yet.
func (l *List) Left() []Threshold {
	left := make([]Threshold, len(l.levels))
	for i := range l.levels {
		left[i] = l.levels[i].Threshold
	}
	return left
}

// Held returns for how long the condition of the next threshold has held, as
// Level.Held does.
func (l *List) Held(now time.Time) time.Duration {
	if len(l.levels) == 0 {
		return 0
	}
	return l.levels[0].Held(now)
}

// Done tells whether every threshold has fired.
func (l *List) Done() bool { return len(l.levels) == 0 }
