package monitor

import (
	"fmt"
	"io"
	"math"
	"time"

	"procdump/probe/cgroup"
	"procdump/probe/counter"
)

// counters are the performance counters of the rules that are of the machine or
// of a server, so that all processes have the same value.
type counters struct {
	shared []io.Closer     // keep what the processes' readers share
	failed map[string]bool // counters that cannot be read, as told
}

// CounterEnv is where counters read on this machine.
func CounterEnv() counter.Env {
	return counter.Env{Cgroup: cgroup.Root("").Value}
}

// counterEnv: a server may come with the process that is waited for.
func (m *monitor) counterEnv() counter.Env {
	e := CounterEnv()
	e.Late = m.Scope.Child != nil || len(m.Scope.Processes) == 0
	return e
}

// openCounters tries what all processes share, so that what cannot work is said
// once and at the start, and keeps it.
func (m *monitor) openCounters() error {
	m.failed = map[string]bool{}
	for _, c := range m.Rules.Counters {
		parsed, err := counter.Parse(c.Name)
		if err == nil && parsed.PerProcess() {
			continue
		}
		var r counter.Reader
		if err == nil {
			r, err = parsed.Open(m.counterEnv(), 0)
		}
		if err != nil {
			return fmt.Errorf("watch counter %s: %w", c.Name, err)
		}
		m.shared = append(m.shared, r)
	}
	return nil
}

func (m *monitor) closeCounters() {
	for _, r := range m.shared {
		_ = r.Close()
	}
}

// openCounter opens a counter for a process.
func (m *monitor) openCounter(w *watched, c Counter, add func(*gaugeKind, Bound) *gauge) error {
	parsed, err := counter.Parse(c.Name)
	if err != nil {
		return err
	}
	reader, err := parsed.Open(m.counterEnv(), w.p.PID)
	if err != nil {
		return fmt.Errorf("watch counter %s: %w", c.Name, err)
	}
	p, name := w.p, c.Name
	r := &countReader{Reader: reader}
	if parsed.PerProcess() {
		r.told = func(err error) {
			if err != nil {
				m.Observer.Warning(&p, fmt.Sprintf("counter %s: %v", name, err))
			}
		}
	} else {
		r.told = func(err error) {
			if err != nil && !m.failed[name] {
				m.Observer.Warning(nil, fmt.Sprintf("counter %s: %v", name, err))
			}
			m.failed[name] = err != nil
		}
	}
	add(&gaugeKind{c.Name, parsed.Unit(), "COUNTER", 0, plainNumber}, c.Bound).counter = r
	return nil
}

// countReader reads a performance counter, and tells when it cannot any more,
// and when it can again: not at every look.
type countReader struct {
	counter.Reader
	failed bool
	told   func(error)
}

func (c *countReader) value(now time.Time) float64 {
	v, ok, err := c.Read(now)
	if failed := err != nil; failed != c.failed {
		c.failed = failed
		c.told(err)
	}
	if err != nil || !ok {
		return math.NaN()
	}
	return v
}
