package monitor

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"procdump/probe/cgroup"
	"procdump/probe/counter"
	"procdump/probe/proc"
	"procdump/snapshot"
	"procdump/trigger"
)

// gauge is a value of a process that is held against a threshold.
type gauge struct {
	name string // "CPU"
	unit string
	code string // for the dump's name
	// read gives the value; ok is false while there is none.
	read func(now time.Time, s *proc.Sample) (v float64, ok bool)
	// brief, if not nil, is the same over a short time, where read gives an
	// average over a long one: see trigger.Level.Bridge.
	brief func(s *proc.Sample) float64
	level trigger.Level
	once  bool // it makes one dump
	fired bool // that is written
	// text is the value as people read it.
	text func(v float64) string
	of   string // what the limit refers to: " of 2 cores"
}

// gauges are all those of a process.
type gauges struct {
	proc     *proc.Process
	list     []*gauge
	counters []counter.Reader
	record   *trigger.Recorder
	hangs    hangs
	sample   proc.Sample
	last     time.Time
	values   []float64
}

func (g *gauges) close() {
	if g.proc != nil {
		g.proc.Close()
	}
	for _, c := range g.counters {
		_ = c.Close()
	}
	g.hangs.close()
}

// reset begins the time of every threshold anew.
func (g *gauges) reset() {
	for _, x := range g.list {
		x.level.Reset()
	}
	g.hangs.forget()
}

// openGauges opens what the rules want to be read of a process.
func (m *monitor) openGauges(w *watched) error {
	g := &w.gauges
	r := &m.Rules
	var want proc.Want
	add := func(x *gauge, b Bound) {
		x.level = trigger.Level{Threshold: trigger.Threshold{Value: b.Value, Below: b.Below, For: r.Hold}}
		if x.text == nil {
			x.text = func(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
		}
		g.list = append(g.list, x)
	}
	for _, b := range r.CPU {
		want |= proc.CPU
		x := &gauge{name: "CPU", unit: "%", code: "CPU", text: func(v float64) string { return fmt.Sprintf("%.0f%%", v) }}
		cores := 1.0
		x.of = " of one core"
		if !r.OneCore {
			cores, _ = cgroup.Root("").CPULimit(w.p.PID)
			x.of = " of " + coresText(cores)
		}
		x.read = func(_ time.Time, s *proc.Sample) (float64, bool) {
			return 100 * s.CPU / cores, !math.IsNaN(s.CPU)
		}
		if r.Hold > 0 {
			x.brief = func(s *proc.Sample) float64 { return 100 * s.CPUNow / cores }
		}
		add(x, b)
	}
	for _, c := range r.Commit {
		want |= proc.Commit
		x := &gauge{name: "Commit", unit: "bytes", code: "COMMIT", once: c.Listed, text: megabytes,
			read: func(_ time.Time, s *proc.Sample) (float64, bool) { return float64(s.Commit), true }}
		b := c.Bound
		if c.Percent {
			limit, why := cgroup.Root("").MemoryLimit(w.p.PID)
			if limit == 0 {
				return fmt.Errorf("watch commit of process %d in percent: its memory limit is not known", w.p.PID)
			}
			b.Value = b.Value / 100 * float64(limit)
			x.of = fmt.Sprintf(", %s of %s (%s)", c.WrittenAs, megabytes(float64(limit)), why)
		}
		add(x, b)
	}
	for _, b := range r.Threads {
		want |= proc.Threads
		add(&gauge{name: "Threads", code: "THREADS",
			read: func(_ time.Time, s *proc.Sample) (float64, bool) { return float64(s.Threads), true }}, b)
	}
	for _, b := range r.Files {
		want |= proc.Files
		add(&gauge{name: "Files", code: "FILES",
			read: func(_ time.Time, s *proc.Sample) (float64, bool) { return float64(s.Files), true }}, b)
	}
	for _, c := range r.Counters {
		if err := m.openCounter(w, c, add); err != nil {
			return err
		}
	}
	var err error
	if w.tree == nil || len(g.list) > 0 { // else the tracer tells when it ends
		if g.proc, err = proc.Root("").Open(w.p.PID, want); err != nil {
			return err
		}
	}
	if len(g.list) > 0 {
		g.record = trigger.NewRecorder(g.metrics())
		g.values = make([]float64, len(g.list))
	}
	g.hangs, err = m.openHangs(w.p)
	return err
}

func (m *monitor) openCounter(w *watched, c Counter, add func(*gauge, Bound)) error {
	parsed, err := counter.Parse(c.Name)
	if err != nil {
		return err
	}
	reader, err := parsed.Open(CounterEnv(), w.p.PID)
	if err != nil {
		return fmt.Errorf("watch counter %s: %w", c.Name, err)
	}
	w.gauges.counters = append(w.gauges.counters, reader)
	x := &gauge{name: c.Name, unit: parsed.Unit(), code: "COUNTER"}
	failed := false
	x.read = func(now time.Time, _ *proc.Sample) (float64, bool) {
		v, ok, err := reader.Read(now)
		if err != nil && !failed {
			failed = true // once, not at every look
			m.Observer.Warning(&w.p, fmt.Sprintf("counter %s: %v", c.Name, err))
		}
		if err == nil {
			failed = false
		}
		return v, ok && err == nil
	}
	add(x, c.Bound)
	return nil
}

// metrics are the gauges as the flight recorder knows them.
func (g *gauges) metrics() []trigger.Metric {
	out := make([]trigger.Metric, len(g.list))
	for i, x := range g.list {
		out[i] = trigger.Metric{Name: x.name, Unit: x.unit, Thresholds: []trigger.Threshold{x.level.Threshold}}
	}
	return out
}

// CounterEnv is where counters read on this machine.
func CounterEnv() counter.Env {
	return counter.Env{Cgroup: cgroup.Root("").Value}
}

// look samples the process and returns the gauge whose threshold was crossed
// for long enough, or nil.
func (g *gauges) look(now time.Time, period time.Duration) (*gauge, float64, error) {
	if g.proc == nil {
		return nil, 0, nil
	}
	if err := g.proc.Sample(now, &g.sample); err != nil {
		return nil, 0, err
	}
	if len(g.list) == 0 {
		return nil, 0, nil
	}
	span := period
	if !g.last.IsZero() && now.Sub(g.last) < period*3 {
		span = now.Sub(g.last)
	}
	g.last = now
	var hit *gauge
	var value float64
	for i, x := range g.list {
		v, ok := x.read(now, &g.sample)
		if !ok {
			v = math.NaN()
		}
		g.values[i] = v
		if !(x.once && x.fired) && x.feed(now, v, span, &g.sample) && hit == nil {
			hit, value = x, v
		}
	}
	g.record.Add(now, g.values...)
	return hit, value, nil
}

// feed gives the level a value and tells whether it fires.
func (x *gauge) feed(now time.Time, v float64, span time.Duration, s *proc.Sample) bool {
	if x.brief == nil {
		return x.level.Feed(now, v, span)
	}
	brief := x.brief(s)
	if !x.level.Holds(brief) && x.level.Holds(v) {
		x.level.Bridge(now, s.CPUNowSpan)
		return false
	}
	return x.level.Feed(now, brief, s.CPUNowSpan)
}

// samples are the flight recorder's, for a dump's note.
func (g *gauges) samples() []snapshot.Samples {
	if g.record == nil {
		return nil
	}
	out := make([]snapshot.Samples, len(g.list))
	for i, x := range g.list {
		out[i] = snapshot.Samples{Name: x.name, Unit: x.unit, Limit: x.level.Value, Below: x.level.Below, Points: []snapshot.Sample{}}
	}
	for _, s := range g.record.Samples() {
		for i, value := range s.Values {
			if v := float64(value); !math.IsNaN(v) && !math.IsInf(v, 0) {
				out[i].Points = append(out[i].Points, snapshot.Sample{Time: s.Time, Value: v})
			}
		}
	}
	return out
}

// limit is the threshold as people read it.
func (x *gauge) limit() string {
	sign := ">= "
	if x.level.Below {
		sign = "< "
	}
	return sign + x.text(x.level.Value)
}

// reason is why a dump is due when a gauge has crossed its threshold.
func (x *gauge) reason(v float64) string {
	text := fmt.Sprintf("%s: %s %s%s", x.name, x.text(v), x.limit(), x.of)
	if x.level.For > 0 {
		text += fmt.Sprintf(" for %v", x.level.For)
	}
	return text
}

func megabytes(v float64) string { return fmt.Sprintf("%.0f MB", v/(1<<20)) }

func coresText(cores float64) string {
	text := strings.TrimSuffix(strings.TrimRight(strconv.FormatFloat(cores, 'f', 2, 64), "0"), ".")
	if text == "1" {
		return "1 core"
	}
	return text + " cores"
}
