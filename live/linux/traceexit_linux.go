package linux

import (
	"bytes"
	"encoding/binary"
	"os"
	"strconv"
	"syscall"
	"time"

	"procdump/arch"
	"procdump/internal/sys/ptrace"
)

// ending is what the end of a thread means.
type ending int

const (
	endOfThread ending = iota
	endOfProcess
	endUndecided // another thread knows, and will tell soon
)

// decideTimeout is how long one waits for the thread that knows.
const decideTimeout = 50 * time.Millisecond

// exiting handles a thread that stands at its end, its memory still whole
// (PTRACE_EVENT_EXIT).
func (t *Tracer) exiting(th *tracedThread) {
	p := th.proc
	msg, err := ptrace.EventMessage(th.tid)
	if err != nil {
		return // killed this moment
	}
	status := int(msg)
	call := readLastCall(th.tid)
	if !p.ending {
		switch t.meaning(th, status, call) {
		case endOfProcess:
			p.ending, p.status = true, status
		case endUndecided:
			t.setState(th, threadUndecided)
			return
		case endOfThread:
			if t.o.ThreadEvents && !th.handled {
				t.emit(th, &TraceEvent{Kind: EventThreadExit, Status: status})
				return
			}
		}
	}
	if p.ending {
		if e := t.endEvent(th, call); e != nil {
			e.ends = true
			p.keep++
			t.emit(th, e)
			return
		}
		if p.keep > 0 {
			// Whoever handles the end of the process may want this thread too.
			t.setState(th, threadHeld)
			return
		}
	}
	th.past = true
	t.cont(th, 0)
}

// meaning tells the end of a thread from the end of its process.
func (t *Tracer) meaning(th *tracedThread, status int, call lastCall) ending {
	p := th.proc
	alone := true
	for _, other := range p.threads {
		alone = alone && (other == th || other.past)
	}
	sig := syscall.Signal(status & 0x7f)
	switch {
	case alone, call.is(exitGroupCalls):
		return endOfProcess
	case sig == 0 && call.is(exitCalls):
		return endOfThread
	case sig == syscall.SIGSYS:
		// A seccomp filter may kill a process or a thread. Which of its threads
		// has brought it upon a process shows in the registers: the call's
		// number is where its result would be.
		if !t.othersEnd(th) {
			return t.undecided(th, endOfThread)
		}
		if p.fatal.signal == 0 && !call.refused() {
			return t.undecided(th, endOfProcess)
		}
		return endOfProcess
	case sig == syscall.SIGKILL && t.executing(th, call):
		return endOfThread // before Linux 5.17
	case status != 0:
		return endOfProcess // another thread's signal or exit_group
	case t.executing(th, call):
		return endOfThread
	}
	// Another thread's exit_group(0) or execve(2), which will show.
	return t.undecided(th, endOfThread)
}

// undecided lets a thread stand for a while; then the end means what is said.
func (t *Tracer) undecided(th *tracedThread, then ending) ending {
	now := time.Now()
	if th.until.IsZero() {
		th.until = now.Add(decideTimeout)
	}
	if now.Before(th.until) {
		return endUndecided
	}
	return then
}

// othersEnd tells whether the other threads are ending, too: they are about to
// take a SIGKILL, or stand at their ends.
func (t *Tracer) othersEnd(th *tracedThread) bool {
	for tid, other := range th.proc.threads {
		if other == th || other.past {
			continue
		}
		if c, err := t.wait.Peek(tid); err == nil && c.TID != 0 && (c.Ended || c.Event() == ptrace.EventExit) {
			return true
		}
		b, err := os.ReadFile(procPath(th.proc.pid, "task", strconv.Itoa(tid), "status"))
		if err == nil && SignalSet(statusSet(b, "SigPnd")).Has(int(syscall.SIGKILL)) {
			return true
		}
	}
	return false
}

// executing tells whether another thread is in execve(2), which ends all but
// itself.
func (t *Tracer) executing(th *tracedThread, call lastCall) bool {
	for tid, other := range th.proc.threads {
		if other == th || other.past {
			continue
		}
		b, err := os.ReadFile(procPath(th.proc.pid, "task", strconv.Itoa(tid), "syscall"))
		if err != nil {
			continue
		}
		number, _, _ := bytes.Cut(b, []byte(" "))
		n, err := strconv.ParseInt(string(number), 10, 64)
		if err == nil && (lastCall{call.machine, n, 0, 0}).is(execCalls) {
			return true
		}
	}
	return false
}

// endEvent makes the event of a process's end; nil: it has been reported, or
// nobody wants to know.
func (t *Tracer) endEvent(th *tracedThread, call lastCall) *TraceEvent {
	p := th.proc
	sig := p.status & 0x7f
	e := &TraceEvent{Kind: EventExit, Signal: sig, Status: p.status}
	switch {
	case sig != 0 && sig == p.fatal.signal:
		e.Siginfo = p.fatal.siginfo
		if crashed := p.threads[p.fatal.tid]; crashed != nil && !crashed.past {
			e.TID = crashed.tid
		}
	case syscall.Signal(sig) == syscall.SIGSYS && call.refused():
		e.Siginfo = seccompSiginfo(call.pc, uint32(call.number), call.audit())
	}
	switch {
	case t.o.Unhandled && sig != 0 && sig != p.told && terminating.Has(sig):
		p.told = sig
		e.Kind, e.Unhandled = EventSignal, true
	case t.o.ExitEvents && !p.exitTold:
		p.exitTold = true
	default:
		return nil
	}
	return e
}

// lastCall is the system call that a thread is in, from its registers.
type lastCall struct {
	machine arch.Machine
	number  int64 // -1: none
	result  int64
	pc      uint64
}

// callNumbers are numbers of system calls per machine.
type callNumbers map[arch.Machine][]int64

// x32 programs set bit 30 in the numbers, and have execve's of their own.
const x32 = 1 << 30

var (
	exitCalls      = callNumbers{arch.AMD64: {60}, arch.I386: {1}, arch.ARM64: {93}}
	exitGroupCalls = callNumbers{arch.AMD64: {231}, arch.I386: {252}, arch.ARM64: {94}}
	execCalls      = callNumbers{arch.AMD64: {59, 322, 520, 545}, arch.I386: {11, 358}, arch.ARM64: {221, 281}}
)

func (c lastCall) is(numbers callNumbers) bool {
	n := c.number
	if c.machine == arch.AMD64 && n >= 0 {
		n &^= x32
	}
	for _, want := range numbers[c.machine] {
		if n == want {
			return true
		}
	}
	return false
}

// refused tells whether a seccomp filter has killed the thread for this call.
func (c lastCall) refused() bool {
	if c.machine == arch.ARM64 {
		return c.number >= 0 // the result's register holds the first argument
	}
	return c.number >= 0 && c.number == c.result
}

// audit is the AUDIT_ARCH_* of linux/audit.h.
func (c lastCall) audit() uint32 {
	switch c.machine {
	case arch.I386:
		return 0x40000003
	case arch.ARM64:
		return 0xc00000b7
	}
	return 0xc000003e
}

// readLastCall reads a stopped thread's registers (struct user_regs_struct,
// user_pt_regs).
func readLastCall(tid int) lastCall {
	var buf [512]byte
	c := lastCall{number: -1}
	n, err := ptrace.Regset(tid, arch.NT_PRSTATUS, buf[:])
	if err != nil {
		return c
	}
	le := binary.LittleEndian
	switch n {
	case arch.AMD64.GPSize():
		c = lastCall{arch.AMD64, int64(le.Uint64(buf[15*8:])), int64(le.Uint64(buf[10*8:])), le.Uint64(buf[16*8:])}
	case arch.I386.GPSize():
		c = lastCall{arch.I386, int64(int32(le.Uint32(buf[11*4:]))), int64(int32(le.Uint32(buf[6*4:]))), uint64(le.Uint32(buf[12*4:]))}
	case arch.ARM64.GPSize():
		c = lastCall{arch.ARM64, int64(le.Uint64(buf[8*8:])), int64(le.Uint64(buf[0:])), le.Uint64(buf[32*8:])}
	}
	return c
}
