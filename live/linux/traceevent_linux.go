package linux

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"syscall"

	"procdump/arch"
	"procdump/internal/sys/ptrace"
	"procdump/snapshot"
)

// EventKind says what happened.
type EventKind int

const (
	EventSignal      EventKind = iota + 1 // a thread is about to take a signal
	EventExit                             // the process is about to end; its memory is still whole
	EventThreadStart                      // a new thread is at its first instruction
	EventThreadExit                       // a thread is about to end, and its process goes on
	EventExec                             // another program is at its first instruction
	EventFork                             // a new process, PID, is at its first instruction
	EventGone                             // the process has ended; there is nothing left to stop
)

var eventNames = [...]string{"", "signal", "exit", "thread start", "thread exit", "exec", "fork", "gone"}

func (k EventKind) String() string {
	if k <= 0 || int(k) >= len(eventNames) {
		return fmt.Sprintf("event %d", int(k))
	}
	return eventNames[k]
}

// TraceEvent is something that happened to a traced process. The thread TID is
// held while the event is handled.
type TraceEvent struct {
	Kind     EventKind
	PID, TID int

	Signal    int    // EventSignal; EventExit and EventGone by a signal
	Siginfo   []byte // siginfo_t (128 bytes, in procdump's layout); nil if not known
	Code      int32  // si_code
	Addr      uint64 // the faulting address, if Fault
	Fault     bool   // the kernel reports a fault, at Addr
	Unhandled bool   // the signal is about to end the process
	Status    int    // wait status: EventExit, EventThreadExit, EventGone
	Parent    int    // EventFork: the process that forked
	FormerTID int    // EventExec: the ID of the thread that called execve(2); TID is the leader's now

	t    *Tracer
	th   *tracedThread
	gone bool // the thread has been let go; belongs to the tracing thread
	ends bool // the process is ending: its other threads wait at their ends

	mu      sync.Mutex
	over    bool
	stopped *Stopped
}

// emit hands an event to its handler. th is held meanwhile.
func (t *Tracer) emit(th *tracedThread, e *TraceEvent) {
	e.t, e.th = t, th
	if th != nil {
		e.PID = th.proc.pid
		if e.TID == 0 {
			e.TID = th.tid
		}
		t.setState(th, threadEvent)
	}
	if sig := e.Status & 0x7f; e.Kind == EventGone {
		e.Signal = sig
	}
	e.decode()
	go t.serve(e)
}

// serve calls the handler, and lets everything go on when it has returned.
func (t *Tracer) serve(e *TraceEvent) {
	t.handle(e)
	e.mu.Lock()
	e.over = true
	s := e.stopped
	e.mu.Unlock()
	if s != nil {
		s.Resume()
	}
	if e.th != nil {
		_ = t.call(func() { t.handled(e) }) // ErrClosed: everything goes on already
	}
}

// letGo lets the event's thread go on while the event is still being handled:
// what is to be read of the process is read, or is in a clone.
func (e *TraceEvent) letGo() {
	if e.th != nil {
		_ = e.t.call(func() { e.t.handled(e) }) // ErrClosed: everything goes on already
	}
}

// handled lets the thread of an event go on.
func (t *Tracer) handled(e *TraceEvent) {
	if e.gone {
		return
	}
	e.gone = true
	th := e.th
	p := th.proc
	if e.ends {
		if p.keep--; p.keep == 0 && p.hold == nil {
			t.unfreeze(p)
		}
	}
	if t.threads[th.tid] != th || th.state != threadEvent {
		return
	}
	th.handled = true
	if p.hold != nil { // by someone else
		t.setState(th, threadHeld)
		return
	}
	t.setState(th, threadRunning)
	t.again(th)
}

// Stop stops all threads of the event's process, reads what is to be read of
// it, and completes the snapshot: the thread of the event is the first one, and
// its signal is the process's Exception. Everything goes on when Resume is
// called, at the latest when the event's handler returns; the event's own
// thread then. ctx ends a wait for threads that do not stop.
func (e *TraceEvent) Stop(ctx context.Context) (*Stopped, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.th == nil || e.over {
		return nil, fmt.Errorf("stop process %d: %w", e.PID, ErrGone)
	}
	h, err := e.t.hold(ctx, e.PID)
	if err != nil {
		return nil, err
	}
	target, err := open(e.PID, h.first(e.TID), e.t.o.Live)
	if err != nil {
		h.letGo(nil)
		return nil, err
	}
	s := &Stopped{holder: h, event: e, held: h.held, begin: h.begin, fresh: target}
	if s, err = target.complete(s, h.lost); err == nil {
		e.stopped = s
	}
	return s, err
}

// first returns the thread tid if it is held, or else another that is.
func (h *hold) first(tid int) int {
	for i, s := range h.held {
		if s.tid == tid {
			h.held[0], h.held[i] = h.held[i], h.held[0]
		}
	}
	return h.held[0].tid
}

// describe fills in the signal of the event's thread.
func (e *TraceEvent) describe(p *snapshot.Process, th *snapshot.Thread) {
	if e.Signal == 0 {
		return
	}
	th.Signal = e.Signal
	p.Exception = &snapshot.Exception{TID: th.TID, Signal: e.Signal, Code: uint32(e.Code), Addr: e.Addr}
	if !e.Fault || e.Code == siKernel {
		p.Exception.Addr = th.Registers.PC()
	}
	if th.Siginfo = e.Siginfo; th.Registers.Machine == arch.I386 && th.Siginfo != nil {
		th.Siginfo = compatSiginfo(th.Siginfo)
	}
}

// decode fills in what the siginfo says.
func (e *TraceEvent) decode() {
	if len(e.Siginfo) < siginfoSize {
		return
	}
	e.Code = siginfoCode(e.Siginfo)
	if layoutOf(e.Signal, e.Code).fault() {
		e.Fault, e.Addr = true, binary.LittleEndian.Uint64(e.Siginfo[16:])
	}
}

// terminating are the signals whose default action ends the process
// (signal(7)), but for SIGKILL, which stops nothing before it does.
var terminating = ^Signals(int(syscall.SIGKILL), int(syscall.SIGSTOP), int(syscall.SIGTSTP), int(syscall.SIGTTIN),
	int(syscall.SIGTTOU), int(syscall.SIGCONT), int(syscall.SIGCHLD), int(syscall.SIGURG), int(syscall.SIGWINCH))

// synchronous are the signals by which the kernel reports a fault.
var synchronous = Signals(int(syscall.SIGSEGV), int(syscall.SIGBUS), int(syscall.SIGILL), int(syscall.SIGFPE),
	int(syscall.SIGTRAP), int(syscall.SIGSYS))

// signal handles a thread that is about to take a signal.
func (t *Tracer) signal(th *tracedThread, sig int) {
	p := th.proc
	if !th.handled {
		if e := t.signalEvent(th, sig); e != nil {
			t.emit(th, e)
			return
		}
	}
	if p.init && p.fatal.tid == th.tid && p.fatal.signal == sig {
		// The first process of a PID namespace survives its own faults while it
		// is traced, and would fault for ever (force_sig_info_to_task,
		// kernel/signal.c). Untraced, it takes the signal, faults once more,
		// and dies as it would have.
		if t.o.ExitEvents && !p.exitTold {
			p.exitTold = true
			t.emit(th, &TraceEvent{Kind: EventExit, Signal: sig, Siginfo: p.fatal.siginfo, Status: sig})
			return
		}
		p.status = sig
		t.detach(th, ptrace.Change{TID: th.tid, Status: sig})
		return
	}
	t.cont(th, sig)
}

// signalEvent makes the event of a signal; nil: nobody wants to know.
func (t *Tracer) signalEvent(th *tracedThread, sig int) *TraceEvent {
	p := th.proc
	wanted := t.o.Signals.Has(sig)
	unhandled := false
	if terminating.Has(sig) && (wanted || t.o.Unhandled || t.o.ExitEvents || p.init && synchronous.Has(sig)) {
		unhandled = t.defaultAction(p, sig)
	}
	if p.fatal.tid == th.tid {
		p.fatal = fatal{}
	}
	if !wanted && !unhandled {
		return nil
	}
	info, err := ptrace.Siginfo(th.tid)
	if err != nil {
		return nil // killed this moment
	}
	if p.init && !(synchronous.Has(sig) && siginfoCode(info) > 0) {
		unhandled = false // the default action of such a process is to ignore it
	}
	if unhandled {
		p.fatal = fatal{tid: th.tid, signal: sig, siginfo: info}
	}
	if !wanted && !(unhandled && t.o.Unhandled) {
		return nil
	}
	if unhandled {
		p.told = sig
	}
	return &TraceEvent{Kind: EventSignal, Signal: sig, Siginfo: info, Unhandled: unhandled}
}
