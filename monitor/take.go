package monitor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"procdump/capture"
	"procdump/target"
	"procdump/trigger"
)

// start takes a dump that can wait for its turn, in a goroutine of its own.
func (m *monitor) start(w *watched, d *Due) {
	if time.Now().Before(w.retry) {
		return
	}
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
		m.take(w, d)
	}()
}

// admit tells whether a dump may be taken now, and counts it as begun: take
// must follow.
func (m *monitor) admit(w *watched, d *Due) bool {
	select {
	case <-m.quit:
		return false // nobody would wait for it
	default:
	}
	now := time.Now()
	if m.ctx.Err() != nil || m.limits.Take(now, identify(w.p)) != trigger.Allowed {
		return false
	}
	m.dumping.Add(1)
	w.dumping = true
	d.Process, d.Number, d.Time = w.p, m.limits.Written(identify(w.p))+1, now
	d.Samples = w.gauges.samples()
	if m.Kill && d.Number >= m.Limits.PerProcess {
		d.last = func() { m.kill(d.Process) }
	}
	return true
}

// take takes a dump that was admitted, when it is its turn. It must not run in
// the loop.
func (m *monitor) take(w *watched, d *Due) {
	defer m.dumping.Done()
	leave, err := m.enter(w, d)
	defer leave()
	if err == nil {
		err = context.Cause(w.ctx)
	}
	if err == nil {
		err = m.Dumper.Dump(w.ctx, d)
	}
	finish := sync.OnceFunc(func() { m.finish(w, d, err) })
	if !m.ask(finish) {
		// The loop is over, and Run waits for this dump before it looks.
		m.late.Lock()
		defer m.late.Unlock()
		finish()
	}
}

// enter waits until a dump may be written beside those that are under way. leave
// makes room for the next one. With -a a process does not stand for that.
func (m *monitor) enter(w *watched, d *Due) (leave func(), err error) {
	var overdue <-chan time.Time
	if d.Held && m.TimeLimit > 0 {
		overdue = time.After(m.TimeLimit)
	}
	leave = func() { <-m.slots }
	select {
	case m.slots <- struct{}{}:
		return leave, nil
	default:
	}
	if m.Avoid && d.Held {
		err := fmt.Errorf("%w: as many dumps as are allowed at a time are under way (-r N)", capture.ErrAvoided)
		m.Observer.Warning(&w.p, err.Error())
		return func() {}, err
	}
	select {
	case m.slots <- struct{}{}:
		return leave, nil
	case <-w.ctx.Done():
	case <-overdue: // the Dumper finds it so, and says it
	}
	return func() {}, nil
}

// kill kills a process that is to be killed after its last dump.
func (m *monitor) kill(p target.Process) {
	if err := kill(p); err != nil {
		m.Observer.Warning(&p, "kill it: "+err.Error())
	}
}

// retryAfter is how long a trigger that can come again waits after a dump of
// its process has failed.
const retryAfter = 10 * time.Second

// finish records the end of a dump.
func (m *monitor) finish(w *watched, d *Due, err error) {
	now := time.Now()
	w.dumping = false
	w.next = now.Add(m.Rules.Interval)
	w.gauges.reset()
	m.limits.End(now, identify(w.p), err == nil)
	if err == nil && m.Kill && m.limits.ProcessDone(identify(w.p)) {
		m.kill(d.Process) // before it is let go, so that it does nothing after its last dump
	}
	switch {
	case err == nil && d.gauge != nil:
		d.gauge.dumps++
	case isGone(err) || errors.Is(err, ErrEnded):
		w.gone = true
	case errors.Is(err, capture.ErrAvoided) && m.Rules.Any():
		w.retry = now.Add(retryAfter)
	case err != nil:
		w.retry = now.Add(retryAfter)
		m.note(err)
	}
	switch {
	case m.watched[w.p.PID] != w:
	case m.limits.ProcessDone(identify(w.p)):
		m.done(w)
	case w.gone:
		m.ended(w, w.status)
	case err != nil && !m.Rules.Any():
		delete(m.watched, w.p.PID) // the next one would fail, too
		m.letGo(w)
	}
}
