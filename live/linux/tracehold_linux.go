package linux

import (
	"context"
	"fmt"
	"time"

	"procdump/internal/sys/ptrace"
)

// hold keeps all threads of a traced process standing. Their stops are left as
// they are, signals and events among them, and are handled when it ends. What
// is not said to be set before belongs to the tracing thread.
type hold struct {
	t     *Tracer
	p     *tracedProcess
	begin time.Time
	ready chan error // tells that everything stands, or why not

	deadline time.Time
	quiet    int // listings in a row without a new thread
	done     bool

	// Set when ready has told.
	held []stopped
	lost []missed
}

// hold stops all threads of a process. One who wants to hold a process that
// somebody holds waits for that one.
func (t *Tracer) hold(ctx context.Context, pid int) (*hold, error) {
	var p *tracedProcess
	err := t.call(func() { p = t.procs[pid] })
	if err == nil && p == nil {
		err = ErrNotFollowed
	}
	if err != nil {
		return nil, fmt.Errorf("stop process %d: %w", pid, err)
	}
	select {
	case p.turn <- struct{}{}:
	case <-t.done:
		return nil, fmt.Errorf("stop process %d: %w", pid, ErrClosed)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	h := &hold{t: t, p: p, begin: time.Now(), ready: make(chan error, 1)}
	if err = t.call(h.start); err == nil {
		select {
		case err = <-h.ready:
		case <-t.done:
			err = ErrClosed
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	if err != nil {
		h.letGo(nil)
		return nil, fmt.Errorf("stop process %d: %w", pid, err)
	}
	return h, nil
}

// start interrupts all threads; step does the rest.
func (h *hold) start() {
	h.deadline = h.begin.Add(stopTimeout)
	switch p := h.p; {
	case h.t.procs[p.pid] != p:
		h.ready <- ErrGone
	case p.leaving:
		h.ready <- ErrNotFollowed
	default:
		p.hold = h
		h.t.holds[h] = true
		for _, th := range p.threads {
			if th.state == threadRunning && !th.past {
				_ = ptrace.Interrupt(th.tid) // ESRCH: it is exiting, or has just stopped
			}
		}
	}
}

// step looks how far the hold is. It is called after each look at the threads.
func (h *hold) step() {
	if h.done {
		return
	}
	if len(h.p.threads) == 0 {
		h.finish(ErrGone)
		return
	}
	now := time.Now()
	var pending []int
	for _, th := range h.p.threads {
		if th.state != threadRunning || th.past {
			continue
		}
		if h.t.nap >= time.Millisecond && ended(h.p.pid, th.tid) {
			th.past = true // a leader that has exited before its other threads
			continue
		}
		pending = append(pending, th.tid)
	}
	if len(pending) > 0 {
		h.quiet = 0
		if now.Before(h.deadline) {
			return
		}
		for _, tid := range pending {
			h.lost = append(h.lost, missedThread(h.p.pid, tid))
		}
		h.finish(nil)
		return
	}
	// A thread may have been created in a way that tells its creator's tracer
	// nothing (CLONE_UNTRACED).
	before := len(h.p.threads)
	n, err := h.t.seizeNew(h.p)
	switch {
	case err != nil:
		h.finish(err)
	case n > 0:
		h.quiet = 0
		for _, th := range h.p.threads {
			if th.state == threadRunning && !th.past {
				_ = ptrace.Interrupt(th.tid)
			}
		}
	case len(h.p.threads) == before:
		if h.quiet++; h.quiet >= 2 {
			h.finish(nil)
		}
	}
}

// finish tells how the hold came out.
func (h *hold) finish(err error) {
	h.done = true
	for _, th := range h.p.threads {
		if th.state == threadRunning {
			continue
		}
		s := stopped{tid: th.tid}
		if th.status>>8 == 0 {
			s.signal = th.status
		}
		h.held = append(h.held, s)
	}
	if err == nil && len(h.held) == 0 && !allAsleep(h.lost) {
		err = ErrGone
		if len(h.lost) > 0 {
			err = noneStopped(h.lost)
		}
	}
	h.ready <- err
}

// over lets the threads go; the next look handles the stops that they stand in.
func (h *hold) over() {
	if h.p.hold != h {
		return
	}
	h.done = true
	h.p.hold = nil
	delete(h.t.holds, h)
	h.t.unfreeze(h.p)
}

func (t *Tracer) unfreeze(p *tracedProcess) {
	for _, th := range p.threads {
		if th.state == threadHeld {
			t.setState(th, threadRunning)
			if th.taken {
				t.again(th) // no wait will return its stop
			}
		}
	}
}

// do implements holder.
func (h *hold) do(f func()) { _ = h.t.call(f) } // ErrClosed: what f would have read is missing

// letGo implements holder.
func (h *hold) letGo([]stopped) {
	_ = h.t.call(h.over) // ErrClosed: everything goes on already
	<-h.p.turn
}

// options implements holder. The tracer is there longer than any hold.
func (h *hold) options() int { return h.t.options() }

// end implements holder.
func (h *hold) end() {}
