package monitor

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"procdump/probe/cgroup"
	"procdump/probe/proc"
	"procdump/snapshot"
	"procdump/trigger"
)

// gaugeKind is what a gauge shows; all processes share it.
type gaugeKind struct {
	name string // "CPU"
	unit string
	code string // for the dump's name
	want proc.Want
	text func(v float64) string // the value as people read it
}

var (
	cpuKind    = &gaugeKind{"CPU", "%", "CPU", proc.CPU, func(v float64) string { return fmt.Sprintf("%.0f%%", v) }}
	commitKind = &gaugeKind{"Commit", "bytes", "COMMIT", proc.Commit, megabytes}
	threadKind = &gaugeKind{"Threads", "", "THREADS", proc.Threads, plainNumber}
	fileKind   = &gaugeKind{"Files", "", "FILES", proc.Files, plainNumber}
)

// gauge is a value of a process that is held against a threshold. Thousands of
// processes have some: what every look needs is together and small.
type gauge struct {
	kind    *gaugeKind
	counter *countReader // where the value comes from if not from proc.Sample
	scale   float64      // of CPU: percent for a core
	level   trigger.Level
	once    bool   // it makes one dump
	dumps   int    // that it made
	of      string // what the limit refers to: " of 2 cores"
}

// read gives the value, NaN while there is none.
func (x *gauge) read(now time.Time, s *proc.Sample) float64 {
	switch x.kind {
	case cpuKind:
		return s.CPU * x.scale
	case commitKind:
		return float64(s.Commit)
	case threadKind:
		return float64(s.Threads)
	case fileKind:
		return float64(s.Files)
	}
	return x.counter.value(now)
}

// gauges are all those of a process.
type gauges struct {
	proc   *proc.Process
	list   []gauge
	record *trigger.Recorder
	last   time.Time // look
	hangs  hangs
}

func (g *gauges) close() {
	if g.proc != nil {
		g.proc.Close()
	}
	for i := range g.list {
		if c := g.list[i].counter; c != nil {
			_ = c.Close()
		}
	}
	g.hangs.close()
}

// reset begins the time of every threshold anew.
func (g *gauges) reset() {
	for i := range g.list {
		g.list[i].level.Reset()
	}
	g.hangs.forget()
}

// openGauges opens what the rules want to be read of a process.
func (m *monitor) openGauges(w *watched) (err error) {
	g := &w.gauges
	r := &m.Rules
	add := func(k *gaugeKind, b Bound) *gauge {
		g.list = append(g.list, gauge{kind: k,
			level: trigger.Level{Threshold: trigger.Threshold{Value: b.Value, Below: b.Below, For: r.Hold}}})
		return &g.list[len(g.list)-1]
	}
	for _, b := range r.CPU {
		x := add(cpuKind, b)
		x.scale, x.of = 100, " of one core"
		if !r.OneCore {
			cores, _ := cgroup.Root("").CPULimit(w.p.PID)
			x.scale, x.of = 100/cores, " of "+coresText(cores)
		}
	}
	for _, c := range r.Commit {
		x := add(commitKind, c.Bound)
		x.once = c.Listed
		if c.Percent {
			limit, why := cgroup.Root("").MemoryLimit(w.p.PID)
			if limit == 0 {
				return fmt.Errorf("watch commit of process %d in percent: its memory limit is not known", w.p.PID)
			}
			x.level.Value = c.Value / 100 * float64(limit)
			x.of = fmt.Sprintf(", %s of %s (%s)", c.WrittenAs, megabytes(float64(limit)), why)
		}
	}
	for _, b := range r.Threads {
		add(threadKind, b)
	}
	for _, b := range r.Files {
		add(fileKind, b)
	}
	for _, c := range r.Counters {
		if err := m.openCounter(w, c, add); err != nil {
			return err
		}
	}
	var want proc.Want
	for i := range g.list {
		want |= g.list[i].kind.want
	}
	if w.tree == nil || len(g.list) > 0 { // else the tracer tells when it ends
		if g.proc, err = proc.Root("").Open(w.p.PID, want); err != nil {
			return err
		}
	}
	if len(g.list) > 0 {
		g.record = trigger.NewRecorder(g.metrics())
	}
	g.hangs, err = m.openHangs(w.p)
	return err
}

// metrics are the gauges as the flight recorder knows them.
func (g *gauges) metrics() []trigger.Metric {
	out := make([]trigger.Metric, len(g.list))
	for i := range g.list {
		x := &g.list[i]
		out[i] = trigger.Metric{Name: x.kind.name, Unit: x.kind.unit, Thresholds: []trigger.Threshold{x.level.Threshold}}
	}
	return out
}

// look samples the process and returns the gauge whose threshold was crossed
// for long enough, or nil. Of several the one that made the fewest dumps is
// next, so that none is kept from making its own.
func (g *gauges) look(now time.Time, period time.Duration) (hit *gauge, value float64, err error) {
	if g.proc == nil {
		return nil, 0, nil
	}
	var s proc.Sample
	if err := g.proc.Sample(now, &s); err != nil {
		return nil, 0, err
	}
	if len(g.list) == 0 {
		return nil, 0, nil
	}
	span := period
	if passed := now.Sub(g.last); !g.last.IsZero() && passed < period*3 {
		span = passed
	}
	g.last = now
	var few [8]float64
	values := few[:0]
	for i := range g.list {
		x := &g.list[i]
		v := x.read(now, &s)
		values = append(values, v)
		if x.once && x.dumps > 0 || !x.feed(now, v, span, &s) {
			continue
		}
		if hit == nil || x.dumps < hit.dumps {
			hit, value = x, v
		}
	}
	g.record.Add(now, values...)
	return hit, value, nil
}

// feed gives the level a value and tells whether it fires. CPU is an average
// over a second: where it has to hold for some time, that of the time since the
// last look counts, and the other one bridges dips.
func (x *gauge) feed(now time.Time, v float64, span time.Duration, s *proc.Sample) bool {
	if x.kind != cpuKind || x.level.For == 0 {
		return x.level.Feed(now, v, span)
	}
	brief := s.CPUNow * x.scale
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
	for i := range g.list {
		x := &g.list[i]
		out[i] = snapshot.Samples{Name: x.kind.name, Unit: x.kind.unit, Limit: x.level.Value, Below: x.level.Below, Points: []snapshot.Sample{}}
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
	return sign + x.kind.text(x.level.Value)
}

// reason is why a dump is due when a gauge has crossed its threshold.
func (x *gauge) reason(v float64) string {
	text := fmt.Sprintf("%s: %s %s%s", x.kind.name, x.kind.text(v), x.limit(), x.of)
	if x.level.For > 0 {
		text += fmt.Sprintf(" for %v", x.level.For)
	}
	return text
}

func plainNumber(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

func megabytes(v float64) string { return fmt.Sprintf("%.0f MB", v/(1<<20)) }

func coresText(cores float64) string {
	text := strings.TrimSuffix(strings.TrimRight(strconv.FormatFloat(cores, 'f', 2, 64), "0"), ".")
	if text == "1" {
		return "1 core"
	}
	return text + " cores"
}
