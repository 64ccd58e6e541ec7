package linux

import (
	"syscall"
	"time"

	"procdump/internal/sys/ptrace"
)

// How long the tracing thread naps between two looks at every thread. A stop
// (SIGCHLD) or a call ends the nap; the longest nap is what a stop costs that
// comes just before it. Where every thread is left standing only their end can
// come, besides calls: hundreds of tracers may wait so for their turn.
const (
	minNap      = 20 * time.Microsecond
	maxNap      = 5 * time.Millisecond
	standingNap = 100 * time.Millisecond
)

// run is what the tracing thread does.
func (t *Tracer) run() {
	defer t.refuse()
	for {
		t.takeCalls()
		switch {
		case t.closing:
			return
		case t.still == 0 && len(t.holds) == 0 && len(t.aside) == 0:
			t.next()
		default:
			t.poll()
		}
	}
}

// next waits for any change. It serves while no thread is left standing: the
// stop of such a thread would be returned again and again.
func (t *Tracer) next() {
	c, err := t.wait.Next()
	switch err {
	case nil:
		t.dispatch(c)
	case syscall.ECHILD:
		if len(t.threads) > 0 {
			t.look() // they are gone: forget them
			return
		}
		<-t.bell // there is nothing to wait for but calls
		return
	default:
		return // EINTR: a call
	}
	// The kernel returns the first thread in its list that has changed: one
	// that stops very often would keep the others waiting.
	if t.streak++; t.streak >= 256+len(t.threads) {
		t.look()
	}
}

// poll looks at every thread that is not left standing, and naps if nothing
// has happened.
func (t *Tracer) poll() {
	begin := time.Now()
	happened := t.look()
	for tid := range t.aside {
		if c, err := t.wait.Peek(tid); err != nil || c.TID == 0 {
			delete(t.aside, tid)
		}
	}
	for h := range t.holds {
		h.step()
	}
	if happened {
		t.nap = minNap
		return
	}
	if t.pending.Load() {
		return
	}
	longest := maxNap
	if t.allStand() {
		longest = standingNap
	}
	// Looking costs time in proportion to the threads: leave most of it to others.
	ptrace.Nap(max(min(t.nap, longest), 4*time.Since(begin)))
	t.nap = min(2*t.nap, longest)
}

// allStand tells whether every thread is left standing until a call.
func (t *Tracer) allStand() bool {
	if t.still < len(t.threads) {
		return false
	}
	for h := range t.holds {
		if !h.done {
			return false
		}
	}
	for _, th := range t.threads {
		if th.state == threadUndecided {
			return false
		}
	}
	return true
}

// look looks once at every thread that is not left standing.
func (t *Tracer) look() (happened bool) {
	t.streak = 0
	for tid, th := range t.threads {
		switch {
		case th.state == threadUndecided && th.proc.hold == nil:
			// The others may have told meanwhile.
			t.setState(th, threadRunning)
			t.again(th)
			happened = happened || th.state != threadUndecided
			continue
		case th.state != threadRunning:
			continue
		}
		c, err := t.wait.Peek(tid)
		if err != nil {
			// Collected by someone else, or it has another ID since execve(2).
			t.forget(th)
			continue
		}
		if c.TID != 0 {
			happened = true
			t.dispatch(c)
		}
	}
	return happened
}

// again looks at one thread that was left standing until now. If it was killed
// meanwhile it may have gone on to another stop, or to its end.
func (t *Tracer) again(th *tracedThread) {
	c, err := t.wait.Peek(th.tid)
	switch {
	case err == nil && c.TID != 0:
		th.taken = false
		t.dispatch(c)
	case th.taken:
		t.dispatch(ptrace.Change{TID: th.tid, Traced: true, Status: th.status})
	}
}

// dispatch does what a change asks for.
func (t *Tracer) dispatch(c ptrace.Change) {
	th := t.threads[c.TID]
	switch {
	case c.Ended:
		t.ended(c, th)
		return
	case th == nil && !c.Traced:
		t.aside[c.TID] = true // a child of procdump, stopped by job control
		return
	case th == nil:
		if th = t.adopt(c.TID, nil); th == nil {
			return // killed this moment
		}
	}
	if c.Event() == ptrace.EventExec && !th.taken {
		if now, err := t.wait.Take(c.TID); err == nil && now.TID != 0 {
			c, th.taken = now, true
		}
	}
	if th.status != c.Status {
		th.status, th.handled = c.Status, false
	}
	t.note(th, c.Event())
	p := th.proc
	switch {
	case p.hold != nil:
		t.setState(th, threadHeld)
		return
	case p.leaving:
		t.detach(th, c)
		return
	}
	switch c.Event() {
	case 0:
		t.signal(th, c.Signal())
	case ptrace.EventStop:
		t.stopped(th, c.Signal())
	case ptrace.EventExit:
		t.exiting(th)
	case ptrace.EventExec:
		if t.o.ExecEvents && !th.handled {
			t.emit(th, &TraceEvent{Kind: EventExec, FormerTID: p.formerTID})
			return
		}
		t.cont(th, 0)
	default:
		t.cont(th, 0)
	}
}

// note keeps the books of who is there, whatever is to be done with the stop.
// It may be told of the same stop several times.
func (t *Tracer) note(th *tracedThread, event int) {
	switch event {
	case ptrace.EventFork, ptrace.EventVfork, ptrace.EventClone:
		if id, err := ptrace.EventMessage(th.tid); err == nil && t.threads[int(id)] == nil {
			t.adopt(int(id), th.proc)
		}
	case ptrace.EventExec:
		if !th.handled {
			t.executed(th)
		}
	}
}

// stopped handles stops that are neither signals nor events: the answer to an
// interrupt, the first stop of a new thread, and group-stops.
func (t *Tracer) stopped(th *tracedThread, sig int) {
	p := th.proc
	switch {
	case p.newborn:
		p.newborn, th.fresh = false, false
		t.emit(th, &TraceEvent{Kind: EventFork, Parent: p.parent})
		return
	case th.fresh:
		th.fresh = false
		if t.o.ThreadEvents {
			t.emit(th, &TraceEvent{Kind: EventThreadStart})
			return
		}
	}
	switch syscall.Signal(sig) {
	case syscall.SIGSTOP, syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU:
		if ptrace.Listen(th.tid) == nil {
			th.handled = false
			return
		}
	}
	t.cont(th, 0)
}

func (t *Tracer) cont(th *tracedThread, sig int) {
	th.handled, th.taken = false, false
	_ = ptrace.Cont(th.tid, sig) // ESRCH: it was killed meanwhile
}

// detach lets a thread go for good.
func (t *Tracer) detach(th *tracedThread, c ptrace.Change) {
	sig := 0
	if c.Event() == 0 {
		sig = c.Signal()
	}
	if ptrace.Detach(th.tid, sig) == nil {
		t.forget(th)
	}
}

// ended handles the end of a thread, and of its process with the last one.
func (t *Tracer) ended(c ptrace.Change, th *tracedThread) {
	if (th == nil || c.TID == th.proc.pid) && ownChild(c.TID) {
		// Its parent is procdump itself, where somebody else waits for it and
		// wants the status.
		t.aside[c.TID] = true
	} else {
		ptrace.Reap(c.TID)
	}
	if th == nil {
		return
	}
	if p := th.proc; c.TID == p.pid {
		p.status = c.Status
	}
	t.forget(th)
}
