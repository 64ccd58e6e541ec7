package monitor

import (
	"fmt"

	"procdump/target"
)

// happening is what a tracer saw. The thread that it happened to stands still
// until the handler returns.
type happening struct {
	kind   happeningKind
	pid    int
	tid    int
	signal int
	fatal  bool   // the signal is about to kill the process
	text   string // of a signal: "SIGSEGV.SEGV_MAPERR at 0x10"
	code   string // of a signal, for the dump's name
	child  int    // of a fork
	status string // of an end: "exit code 3", "killed by SIGKILL"
	stop   stopper
}

type happeningKind uint8

const (
	hapSignal happeningKind = iota
	hapEnding               // the process is about to end, its memory is whole
	hapThreadStart
	hapThreadExit
	hapExec
	hapFork
	hapGone
)

// happened handles what a tracer saw, in a goroutine of its own.
func (m *monitor) happened(t *tree, h happening) {
	switch h.kind {
	case hapFork:
		watched := false
		if m.ask(func() {
			if h.child == t.root {
				t.rootGone = false // its number, again
			}
			watched = m.addPID(h.child, t) != nil
		}) && !watched {
			t.detach(h.child)
		}
		return
	case hapExec:
		keep := true
		if m.ask(func() { keep = m.executed(h.pid, t) }) && !keep {
			m.dismiss(h.pid, t)
		}
		return
	case hapGone:
		m.ask(func() {
			if h.pid == t.root {
				t.rootGone = true
				m.arrivals.Delete(h.pid)
			}
			if w := m.watched[h.pid]; w != nil && w.tree == t {
				m.ended(w, h.status)
			}
			m.settle(t)
		})
		return
	}
	var w *watched
	if !m.ask(func() { w = m.traced(h.pid, t) }) || w == nil {
		return
	}
	d := m.turn(w, &h)
	if d == nil {
		return
	}
	defer func() { <-w.turn }()
	d.stop = h.stop
	m.take(w, d)
}

// turn decides on a dump for what happened, and waits until it is its turn: one
// dump of a process at a time. nil: none is due, or, with -a, one is under way.
func (m *monitor) turn(w *watched, h *happening) *Due {
	var d *Due
	if m.Avoid {
		// All of it in the loop: whoever has the turn takes a dump, and does not
		// only decide on one.
		if !m.ask(func() { d = m.turnNow(w, h) }) {
			return nil
		}
		return d
	}
	select {
	case w.turn <- struct{}{}:
	case <-m.quit:
		return nil
	}
	if !m.ask(func() { d = m.decide(w, h) }) || d == nil {
		<-w.turn
		return nil
	}
	return d
}

// turnNow is turn without a wait.
func (m *monitor) turnNow(w *watched, h *happening) *Due {
	d := m.due(w, h)
	if d == nil {
		return nil
	}
	select {
	case w.turn <- struct{}{}:
	default:
		m.Observer.Warning(&w.p, "a dump of it is under way: it would have to wait for that, so this trigger is skipped (-a)")
		return nil
	}
	if !m.admit(w, d) {
		<-w.turn
		return nil
	}
	return d
}

// traced is the watched process of a tracer's event. Something may happen to a
// process before it has been told that there is one: it is added then.
func (m *monitor) traced(pid int, t *tree) *watched {
	if w := m.watched[pid]; w != nil {
		return w
	}
	switch {
	case m.matcher != nil && pid == t.root && !m.Scope.Tree:
		return m.adopt(pid, t)
	case m.Scope.Tree:
		return m.addPID(pid, t)
	}
	return nil
}

// renamed looks again at a process that executed another program.
func (m *monitor) renamed(pid int) {
	w := m.watched[pid]
	if w == nil {
		return
	}
	w.standIn = false
	if p, err := target.Get(pid); err == nil {
		w.p = p
	}
}

// decide tells whether a dump is due for what happened; it is admitted then.
func (m *monitor) decide(w *watched, h *happening) *Due {
	if d := m.due(w, h); d != nil && m.admit(w, d) {
		return d
	}
	return nil
}

// due is the dump that the rules want for what happened; nil: none.
func (m *monitor) due(w *watched, h *happening) *Due {
	if m.watched[h.pid] != w || w.standIn {
		return nil
	}
	d := &Due{Held: true}
	switch h.kind {
	case hapSignal:
		what := "Exception"
		switch {
		case h.fatal && m.Rules.Unhandled:
			what = "Unhandled"
		case !m.Rules.wants(h.signal):
			return nil
		case !m.Rules.FirstChance || !m.Rules.errorSignal(h.signal):
			what = "Signal"
		}
		text := fmt.Sprintf("%s: %s (thread %d)", what, h.text, h.tid)
		m.Observer.Event(w.p, text)
		if !m.Rules.Filter.Match(h.text) {
			return nil
		}
		d.Reason, d.Code, d.Shown = text, h.code, true
	case hapEnding:
		if !m.Rules.Terminate {
			return nil
		}
		d.Reason, d.Code = "Terminating: "+h.status, "EXIT"
	case hapThreadStart:
		if !m.Rules.ThreadStart {
			return nil
		}
		d.Reason, d.Code = fmt.Sprintf("Thread created: %d", h.tid), "THREAD_CREATED"
	case hapThreadExit:
		if !m.Rules.ThreadExit {
			return nil
		}
		d.Reason, d.Code = fmt.Sprintf("Thread exited: %d", h.tid), "THREAD_EXITED"
	}
	return d
}
