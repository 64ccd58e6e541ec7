package monitor

import (
	"cmp"
	"math"
	"slices"
	"time"

	"procdump/target"
)

// Row is the present state of a process, for a live view.
type Row struct {
	Process target.Process
	Dumps   int
	Dumping bool
	Gauges  []Reading
}

// Reading is a watched value.
type Reading struct {
	Name    string
	Text    string // its present value; "" if there is none
	Limit   string // ">= 90%"
	Held    time.Duration
	Hold    time.Duration // how long Held must be
	Value   float64       // the limit's
	Below   bool
	History []float64 // the last looks, oldest first; NaN: no value
}

// viewPeriod is how often the view is told.
const viewPeriod = time.Second

// show tells the view, if there is one, how all processes are.
func (m *monitor) show(now time.Time) {
	if m.View == nil || now.Sub(m.shown) < viewPeriod*9/10 {
		return
	}
	m.shown = now
	rows := make([]Row, 0, len(m.watched))
	for _, w := range m.watched {
		rows = append(rows, Row{Process: w.p, Dumps: m.limits.Written(identify(w.p)), Dumping: w.dumping, Gauges: w.gauges.readings(now)})
	}
	slices.SortFunc(rows, func(a, b Row) int { return cmp.Compare(a.Process.PID, b.Process.PID) })
	m.View(rows)
}

func (g *gauges) readings(now time.Time) []Reading {
	if g.record == nil {
		return nil
	}
	out := make([]Reading, len(g.list))
	history := g.record.Samples()
	for i := range g.list {
		x := &g.list[i]
		out[i] = Reading{Name: x.kind.name, Limit: x.limit(), Held: x.level.Held(now), Hold: x.level.For, Value: x.level.Value, Below: x.level.Below}
		for _, s := range history {
			out[i].History = append(out[i].History, float64(s.Values[i]))
		}
		if n := len(out[i].History); n > 0 && !math.IsNaN(out[i].History[n-1]) {
			out[i].Text = x.kind.text(out[i].History[n-1])
		}
	}
	return out
}
