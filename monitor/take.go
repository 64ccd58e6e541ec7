package monitor

import (
	"context"
	"sync"
	"time"

	"procdump/trigger"
)

// start takes a dump that can wait for its turn, in a goroutine of its own.
func (m *monitor) start(w *watched, d *Due) {
	select {
	case w.turn <- struct{}{}:
	default:
		return // one is under way
	}
	if !m.admit(w, d) {
		<-w.turn
		return
	}
	d.stop = m.stopper(w)
	go func() {
		defer func() { <-w.turn }()
		select {
		case m.slots <- struct{}{}:
			defer func() { <-m.slots }()
		case <-w.ctx.Done():
		}
		m.take(w, d)
	}()
}

// admit tells whether a dump may be taken now, and counts it as begun: take
// must follow.
func (m *monitor) admit(w *watched, d *Due) bool {
	now := time.Now()
	if m.ctx.Err() != nil || m.limits.Take(now, identify(w.p)) != trigger.Allowed {
		return false
	}
	m.dumping.Add(1)
	w.dumping = true
	d.Process, d.Number, d.Time = w.p, m.limits.Written(identify(w.p))+1, now
	d.Samples = w.gauges.samples()
	return true
}

// take takes a dump that was admitted. It must not run in the loop.
func (m *monitor) take(w *watched, d *Due) {
	defer m.dumping.Done()
	err := context.Cause(w.ctx)
	if err == nil {
		err = m.Dumper.Dump(w.ctx, d)
	}
	if err == nil && m.Kill {
		if kerr := kill(d.Process); kerr != nil {
			m.Observer.Warning(&d.Process, "kill it: "+kerr.Error())
		}
	}
	finish := sync.OnceFunc(func() { m.finish(w, err) })
	if !m.ask(finish) {
		// The loop is over, and Run waits for this dump before it looks.
		m.late.Lock()
		defer m.late.Unlock()
		finish()
	}
}

// finish records the end of a dump.
func (m *monitor) finish(w *watched, err error) {
	now := time.Now()
	w.dumping = false
	w.next = now.Add(m.Rules.Interval)
	w.gauges.reset()
	m.limits.End(now, identify(w.p), err == nil)
	m.note(err)
	switch {
	case m.watched[w.p.PID] != w:
	case m.limits.ProcessDone(identify(w.p)):
		m.done(w)
	case err != nil && !m.Rules.Any():
		delete(m.watched, w.p.PID) // the next one would fail, too
		m.letGo(w)
	case w.gone:
		m.ended(w, w.status)
	}
}
