package ptrace

import (
	"encoding/binary"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Options of SeizeWith: which events stop the thread, and that new threads and
// processes are seized as they come into being (ptrace(2), PTRACE_SETOPTIONS).
const (
	TraceFork  = unix.PTRACE_O_TRACEFORK
	TraceVfork = unix.PTRACE_O_TRACEVFORK
	TraceClone = unix.PTRACE_O_TRACECLONE
	TraceExec  = unix.PTRACE_O_TRACEEXEC
	TraceExit  = unix.PTRACE_O_TRACEEXIT
)

// Events, as Change.Event gives them; 0 is a signal-delivery-stop.
const (
	EventFork  = unix.PTRACE_EVENT_FORK
	EventVfork = unix.PTRACE_EVENT_VFORK
	EventClone = unix.PTRACE_EVENT_CLONE
	EventExec  = unix.PTRACE_EVENT_EXEC
	EventExit  = unix.PTRACE_EVENT_EXIT
	EventStop  = 128 // PTRACE_EVENT_STOP, which x/sys/unix lacks
)

// SeizeWith makes the calling thread the tracer of tid without stopping it.
func SeizeWith(tid, options int) error {
	return ptrace(unix.PTRACE_SEIZE, tid, 0, uintptr(options))
}

// Cont lets a stopped thread go on, delivering sig if it is not 0. It stays traced.
func Cont(tid, sig int) error { return ptrace(unix.PTRACE_CONT, tid, 0, uintptr(sig)) }

// Listen leaves a thread in its group-stop and lets it take part in job
// control: SIGCONT makes it report again.
func Listen(tid int) error { return ptrace(unix.PTRACE_LISTEN, tid, 0, 0) }

// EventMessage returns what goes with an event: the new thread's or process's
// ID, the exit status, or the ID that the thread had before execve(2).
func EventMessage(tid int) (uint64, error) {
	var msg uint64
	err := ptrace(unix.PTRACE_GETEVENTMSG, tid, 0, uintptr(unsafe.Pointer(&msg)))
	return msg, err
}

// Change is what a wait saw of a thread. The stop or the end it speaks of is
// still there for the next wait.
type Change struct {
	TID    int  // 0: nothing has changed
	Ended  bool // it has exited and waits to be collected
	Traced bool // it is a stop of a traced thread, not of a child that nobody traces
	Status int  // Ended: the wait status; else event<<8 | signal
}

// Event is the ptrace event of a stop; 0: it is about to take Signal.
func (c Change) Event() int { return c.Status >> 8 }

// Signal is the signal of a stop: the one to be delivered, or that of a group-stop.
func (c Change) Signal() int { return c.Status & 0xff }

// Waiter waits for the tracees of the calling thread. But for Take, it takes no
// stop away (WNOWAIT): a tracer that has consumed the stop of a thread about to take a
// signal owns that signal, and would take it along into its own death.
type Waiter struct {
	si [128]byte // siginfo_t
}

// siginfo fields of a child's change (sigaction(2)): byte offsets, and codes.
const (
	offCode, offPID, offStatus = 8, 16, 24

	cldExited, cldKilled, cldDumped, cldTrapped = 1, 2, 3, 4

	waitFlags = unix.WEXITED | unix.WSTOPPED | unix.WNOWAIT | unix.WALL | unix.WNOTHREAD
)

// Next blocks until any tracee has changed. The error is EINTR after Wake, and
// ECHILD where there is no tracee.
func (w *Waiter) Next() (Change, error) {
	_, _, e := unix.Syscall6(unix.SYS_WAITID, unix.P_ALL, 0, uintptr(unsafe.Pointer(&w.si[0])), waitFlags, 0, 0)
	if e != 0 {
		return Change{}, e
	}
	return w.change(), nil
}

// Peek looks, without blocking, whether tid has changed. The error is ECHILD if
// it is not a tracee of the calling thread.
func (w *Waiter) Peek(tid int) (Change, error) { return w.look(tid, waitFlags) }

// Take is Peek, but it does consume a stop. It is for PTRACE_EVENT_EXEC alone:
// the kernel refuses every request for a thread whose ID has changed in
// execve(2) until that is done (looks_like_a_spurious_pid, kernel/ptrace.c),
// and this stop holds no signal that could be lost.
func (w *Waiter) Take(tid int) (Change, error) {
	return w.look(tid, waitFlags&^(unix.WNOWAIT|unix.WEXITED))
}

func (w *Waiter) look(tid, flags int) (Change, error) {
	for {
		_, _, e := unix.RawSyscall6(unix.SYS_WAITID, unix.P_PID, uintptr(tid), uintptr(unsafe.Pointer(&w.si[0])),
			uintptr(flags|unix.WNOHANG), 0, 0)
		switch {
		case e == unix.EINTR:
			continue
		case e != 0:
			return Change{}, e
		}
		return w.change(), nil
	}
}

func (w *Waiter) change() Change {
	le := binary.LittleEndian
	c := Change{TID: int(le.Uint32(w.si[offPID:])), Status: int(le.Uint32(w.si[offStatus:]))}
	switch le.Uint32(w.si[offCode:]) {
	case cldExited:
		c.Ended, c.Status = true, c.Status<<8
	case cldKilled:
		c.Ended = true
	case cldDumped:
		const coreFlag = 0x80 // WCOREDUMP
		c.Ended, c.Status = true, c.Status|coreFlag
	case cldTrapped:
		c.Traced = true
	}
	if c.TID == 0 {
		return Change{}
	}
	return c
}

// Reap collects a thread that has ended, so that its process can end, be
// collected by its parent, or execute another program.
func Reap(tid int) {
	_, _ = unix.Wait4(tid, nil, unix.WALL|unix.WNOHANG|unix.WNOTHREAD, nil)
}

// ReadSiginfo is Siginfo into a buffer of at least 128 bytes.
func ReadSiginfo(tid int, buf []byte) error {
	err := ptrace(unix.PTRACE_GETSIGINFO, tid, 0, uintptr(unsafe.Pointer(&buf[0])))
	runtime.KeepAlive(buf)
	return err
}

// wakeSignal is a real-time signal that neither the Go runtime nor the C
// libraries use (they use the lowest ones). Go's handler ignores it.
const wakeSignal = 44

// PrepareWake makes wakeSignal interrupt system calls: the Go runtime installs
// its handlers with SA_RESTART.
func PrepareWake() error {
	const saRestart = 0x10000000
	return changeFlags(wakeSignal, 0, saRestart)
}

// SignalStops says whether each stop of a tracee sends SIGCHLD to this process,
// as it does by default. What ends sends it in any case.
func SignalStops(on bool) error {
	const saNoCldStop = 1
	if on {
		return changeFlags(int(unix.SIGCHLD), 0, saNoCldStop)
	}
	return changeFlags(int(unix.SIGCHLD), saNoCldStop, 0)
}

// changeFlags changes the flags with which a signal's handler is installed.
func changeFlags(sig int, set, reset uint64) error {
	// struct sigaction of rt_sigaction(2): handler, flags, restorer, mask; the
	// flags are at offset 8 also where there is no restorer.
	var act [32]byte
	const flagsAt, setSize = 8, 8
	_, _, e := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), 0, uintptr(unsafe.Pointer(&act[0])), setSize, 0, 0)
	if e != 0 {
		return e
	}
	flags := binary.LittleEndian.Uint64(act[flagsAt:])
	if flags&^reset|set == flags {
		return nil
	}
	binary.LittleEndian.PutUint64(act[flagsAt:], flags&^reset|set)
	_, _, e = unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&act[0])), 0, setSize, 0, 0)
	if e != 0 {
		return e
	}
	return nil
}

// Wake interrupts the system call that a thread of this process is in.
func Wake(tid int) error { return unix.Tgkill(unix.Getpid(), tid, wakeSignal) }
