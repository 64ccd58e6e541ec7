package monitor

import (
	"context"
	"errors"
	"io"
	"time"

	"procdump/target"
)

func identify(p target.Process) target.ID { return p.ID() }

// watched is the state of one process. What every look needs comes first.
type watched struct {
	gauges  gauges
	dumping bool      // a dump is under way
	gone    bool      // it ended during a dump
	standIn bool      // it is not yet the program that is being launched
	tree    *tree     // that traces it; nil: it is not traced
	next    time.Time // of the next dump, where the clock decides
	retry   time.Time // before that no trigger counts that can come again
	lost    time.Time // when /proc did not have it any more

	p      target.Process
	ctx    context.Context // of its dumps
	cancel context.CancelFunc
	// turn is held by the one dump that is under way or being decided on.
	turn      chan struct{}
	status    string // how it ended
	closers   []func()
	announced io.Closer
}

// watch looks at a process and takes what its rules need.
func (m *monitor) watch(p target.Process, t *tree) (*watched, error) {
	w := &watched{p: p, turn: make(chan struct{}, 1)}
	w.ctx, w.cancel = context.WithCancel(m.ctx)
	if t == nil {
		err := target.Check(p)
		if errors.Is(err, target.ErrTraced) && !m.Rules.Traced() && dumpedByOther(p.PID) {
			err = nil // a dump waits until that is over
		}
		if err == nil && m.Rules.Any() {
			err = permitted(p.PID) // now, and not when a trigger fires
		}
		if err != nil {
			return nil, err
		}
	}
	if err := m.equip(w, t); err != nil {
		m.letGo(w)
		return nil, err
	}
	watch, err := target.Announce(p.PID, m.cancel)
	switch {
	case err == nil:
		w.announced = watch
	case !m.unannounced:
		m.unannounced = true // for each of thousands it would be the same
		m.Observer.Warning(&p, "-cancel does not find this procdump by every process: "+err.Error())
	}
	return w, nil
}

// equip opens what the process is watched by.
func (m *monitor) equip(w *watched, t *tree) error {
	if m.Rules.Traced() {
		if t == nil {
			var err error
			if t, err = m.trace(w.p.PID); err != nil {
				return err
			}
		}
		t.users++
		m.trees[t] = true
		w.tree = t
	}
	if err := m.openGauges(w); err != nil {
		return err
	}
	if m.output != nil {
		if err := m.output.Add(w.p.PID); err != nil {
			return err
		}
		w.closers = append(w.closers, func() { m.output.Remove(w.p.PID) })
	}
	return m.watchImages(w)
}

// letGo ends the watching of a process, which runs on.
func (m *monitor) letGo(w *watched) {
	w.cancel()
	w.gauges.close()
	for _, f := range w.closers {
		f()
	}
	// Both may have to wait for others: not in the loop.
	t, announced := w.tree, w.announced
	if t != nil {
		t.users--
	}
	m.helpers.Go(func() {
		if t != nil {
			m.release(t, w.p.PID)
		}
		if announced != nil {
			_ = announced.Close()
		}
	})
}
