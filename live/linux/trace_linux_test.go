package linux

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"procdump/arch"
)

func TestMain(m *testing.M) {
	if mode := os.Getenv("TRACE_HELPER"); mode != "" {
		os.Exit(traceHelper(mode))
	}
	code := m.Run()
	if tracedDir != "" {
		os.RemoveAll(tracedDir)
	}
	os.Exit(code)
}

// TestUnhandled dumps every kind of crash before the process dies, and it dies
// as it would have.
func TestUnhandled(t *testing.T) {
	const fatal = int(syscall.SIGSEGV)
	for _, c := range []struct {
		mode   string
		signal int
		code   int32
		addr   uint64 // 0: not known beforehand
		thread bool   // not the leader
		status int    // that the parent sees
	}{
		{mode: "crash", signal: fatal, code: 1, addr: 0x1234},
		{mode: "worker 4", signal: fatal, code: 1, addr: 0x1234, thread: true},
		{mode: "overflow", signal: fatal},
		{mode: "overflow-thread", signal: fatal, thread: true},
		{mode: "abort", signal: int(syscall.SIGABRT), code: -6},
		{mode: "double", signal: fatal, code: 1, addr: 0x2345},
		{mode: "blocked", signal: fatal, code: 1, addr: 0x1234},
		{mode: "ignored", signal: fatal, code: 1, addr: 0x1234},
		{mode: "divide", signal: int(syscall.SIGFPE), code: 1},
		{mode: "breakpoint", signal: int(syscall.SIGTRAP), code: siKernel},
		{mode: "noncanonical", signal: fatal, code: siKernel},
		{mode: "exec-crash", signal: fatal, code: 1, addr: 0x1234},
		{mode: "handled-crash 50", signal: fatal, code: 1, addr: 0x1234},
		{mode: "seccomp-process", signal: int(syscall.SIGSYS), code: 1, thread: true},
	} {
		for _, variant := range []string{"", "i386"} {
			if variant == "i386" && (c.mode == "noncanonical") {
				continue // it has no such addresses
			}
			t.Run(c.mode+variant, func(t *testing.T) {
				mode := strings.Fields(c.mode)
				plain := startActor(t, variant, mode...)
				plain.tell(t)
				want := plain.number(t, "status")

				a := startActor(t, variant, mode...)
				r := newRecorder(t, TraceOptions{Unhandled: true}, EventSignal)
				r.attach(t, a.PID)
				a.tell(t)
				e := r.next(t, EventSignal)
				checkCrash(t, e, a, variant, c.signal, c.code, c.addr, c.thread)
				if got := a.number(t, "status"); got != want || got&0x7f != c.signal {
					t.Errorf("the parent sees status %#x, without a tracer %#x", got, want)
				}
				if g := r.next(t, EventGone); g.Status != want {
					t.Errorf("gone with status %#x, want %#x", g.Status, want)
				}
				r.none(t, EventSignal)
			})
		}
	}
}

func checkCrash(t *testing.T, e seen, a *actor, variant string, signal int, code int32, addr uint64, thread bool) {
	t.Helper()
	tid := a.number(t, "tid")
	if !e.Unhandled || e.PID != a.PID || e.TID != tid || (tid != a.PID) != thread {
		t.Errorf("event of %d/%d, unhandled %v; want %d/%d", e.PID, e.TID, e.Unhandled, a.PID, tid)
	}
	if e.Signal != signal || code != 0 && e.Code != code || addr != 0 && (e.Addr != addr || !e.Fault) {
		t.Errorf("signal %d, code %d, address %#x; want %d, %d, %#x", e.Signal, e.Code, e.Addr, signal, code, addr)
	}
	r := e.stop
	if r.err != nil {
		t.Fatal(r.err)
	}
	for _, w := range r.wrong {
		t.Error(w)
	}
	x := r.s.Process.Exception
	first := r.s.Process.Threads[0]
	if x == nil || x.TID != tid || x.Signal != signal || x.Code != uint32(e.Code) || addr != 0 && x.Addr != addr {
		t.Errorf("exception %+v", x)
	}
	if first.Signal != signal || len(first.Siginfo) != siginfoSize || first.Pending != 0 {
		t.Errorf("thread has signal %d, %d bytes of siginfo, pending %#x", first.Signal, len(first.Siginfo), first.Pending)
	}
	machine := arch.AMD64
	if variant == "i386" {
		machine = arch.I386
		if addr != 0 && uint64(leUint32(first.Siginfo[12:])) != addr {
			t.Errorf("32-bit siginfo % x lacks address %#x", first.Siginfo[:24], addr)
		}
	}
	if first.Registers.Machine != machine {
		t.Errorf("registers of %v, want %v", first.Registers.Machine, machine)
	}
	if addr == 0x1234 && r.mark != "mark: at the fault" {
		t.Errorf("memory says %q", r.mark)
	}
}

func leUint32(b []byte) uint32 {
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}

// TestUnhandledInChild follows a forked child.
func TestUnhandledInChild(t *testing.T) {
	a := startActor(t, "", "fork-crash")
	r := newRecorder(t, TraceOptions{Unhandled: true, Children: true}, EventSignal, EventFork)
	r.attach(t, a.PID)
	a.tell(t)
	child := a.number(t, "child")
	f := r.next(t, EventFork)
	if f.PID != child || f.Parent != a.PID || f.stop.err != nil || f.stop.threads != 1 {
		t.Errorf("fork of %d by %d: %+v; want %d by %d", f.PID, f.Parent, f.stop, child, a.PID)
	}
	e := r.next(t, EventSignal)
	if e.PID != child || e.Addr != 0x1234 || e.stop.err != nil || e.stop.mark != "mark: at the fault" {
		t.Errorf("event of %d at %#x: %+v", e.PID, e.Addr, e.stop)
	}
	if s := a.number(t, "childstatus"); s != int(syscall.SIGSEGV) {
		t.Errorf("child's status %#x", s)
	}
	if s := a.number(t, "status"); s != 0 {
		t.Errorf("parent's status %#x", s)
	}
}

// TestChildrenAreLeftAlone shows that a child is not traced unless that is
// asked for, also one that clone(2) makes in a thread's way.
func TestChildrenAreLeftAlone(t *testing.T) {
	a := startActor(t, "", "fork-crash")
	r := newRecorder(t, TraceOptions{Unhandled: true, ExitEvents: true})
	r.attach(t, a.PID)
	a.tell(t)
	if s := a.number(t, "childstatus"); s != int(syscall.SIGSEGV) {
		t.Errorf("child's status %#x", s)
	}
	r.none(t, EventSignal)
	if e := r.next(t, EventExit); e.PID != a.PID {
		t.Errorf("exit of %d, want %d", e.PID, a.PID)
	}

	b := startActor(t, "", "clone-process")
	r.attach(t, b.PID)
	b.tell(t)
	child := b.number(t, "child")
	eventually(t, "that the clone is not traced", func() bool { return tracerPID(t, child) == "0" })
	b.tell(t)
	eventually(t, "the clone's end", func() bool { return state(t, child) == 'Z' })
	r.none(t, EventSignal)
	r.none(t, EventFork)
}

func TestFirstChance(t *testing.T) {
	const n = 40
	for _, o := range []TraceOptions{{Unhandled: true, ExitEvents: true}, {Signals: Signals(int(syscall.SIGSEGV))}} {
		a := startActor(t, "", "handled", strconv.Itoa(n))
		r := newRecorder(t, o)
		r.attach(t, a.PID)
		a.tell(t)
		if got := a.number(t, "handled"); got != n {
			t.Errorf("the program handled %d signals, want %d", got, n)
		}
		r.next(t, EventGone)
		if o.Signals == 0 {
			r.none(t, EventSignal)
			continue
		}
		for range n {
			if e := r.next(t, EventSignal); e.Unhandled || e.Addr != 0x3456 {
				t.Errorf("event at %#x, unhandled %v", e.Addr, e.Unhandled)
			}
		}
		r.none(t, EventSignal)
	}
}

// TestExit finds the memory and the threads whole at the end of a process.
func TestExit(t *testing.T) {
	const (
		term = int(syscall.SIGTERM)
		kill = int(syscall.SIGKILL)
	)
	for _, c := range []struct {
		mode    string
		signal  syscall.Signal // to send
		status  int
		threads int
		mark    string
	}{
		{"exit 7", 0, 7 << 8, 1, "mark: exiting"},
		{"exit 0", 0, 0, 1, "mark: exiting"},
		{"exit-group 9", 0, 9 << 8, 32, "mark: early"},
		{"exit-group 0", 0, 0, 32, "mark: early"},
		{"term", 0, term, 1, "mark: early"},
		{"pause", syscall.SIGTERM, term, 1, "mark: early"},
		{"pause", syscall.SIGKILL, kill, 1, "mark: early"},
		{"threads-pause 20", syscall.SIGKILL, kill, 21, "mark: early"},
		{"threads-pause 20", syscall.SIGTERM, term, 21, "mark: early"},
		{"leader-exit 8", 0, 8 << 8, 1, "mark: early"},
		{"seccomp-process", 0, int(syscall.SIGSYS), 7, "mark: early"},
		{"seccomp-thread", 0, 6 << 8, 1, "mark: early"},
	} {
		t.Run(fmt.Sprint(c.mode, " ", int(c.signal)), func(t *testing.T) {
			a := startActor(t, "", strings.Fields(c.mode)...)
			r := newRecorder(t, TraceOptions{ExitEvents: true}, EventExit)
			r.attach(t, a.PID)
			a.tell(t)
			if c.signal != 0 {
				a.line(t, "paused")
				if err := syscall.Kill(a.PID, c.signal); err != nil {
					t.Fatal(err)
				}
			}
			e := r.next(t, EventExit)
			if e.PID != a.PID || e.Status != c.status {
				t.Errorf("exit of %d with status %#x, want %d, %#x", e.PID, e.Status, a.PID, c.status)
			}
			if e.stop.err != nil {
				t.Fatal(e.stop.err)
			}
			if e.stop.mark != c.mark || e.stop.threads != c.threads || len(e.stop.wrong) > 0 {
				t.Errorf("memory %q, %d threads (want %q, %d), wrong: %q", e.stop.mark, e.stop.threads, c.mark, c.threads, e.stop.wrong)
			}
			if x := e.stop.s.Process.Exception; (x != nil) != (c.status&0x7f != 0) {
				t.Errorf("exception %+v", x)
			}
			if got := a.number(t, "status"); got != c.status {
				t.Errorf("the parent sees %#x, want %#x", got, c.status)
			}
			if g := r.next(t, EventGone); g.Status != c.status {
				t.Errorf("gone with %#x, want %#x", g.Status, c.status)
			}
			r.none(t, EventExit)
		})
	}
}

// TestCrashThenExit reports a crash twice when both are asked for, with the
// crashed thread first both times.
func TestCrashThenExit(t *testing.T) {
	a := startActor(t, "", "worker", "20")
	r := newRecorder(t, TraceOptions{Unhandled: true, ExitEvents: true}, EventSignal, EventExit)
	r.attach(t, a.PID)
	a.tell(t)
	tid := a.number(t, "tid")
	for _, k := range []EventKind{EventSignal, EventExit} {
		e := r.next(t, k)
		if e.TID != tid || e.Addr != 0x1234 || e.stop.err != nil || e.stop.threads != 22 || len(e.stop.wrong) > 0 {
			t.Errorf("%v of thread %d at %#x: %+v; want thread %d", k, e.TID, e.Addr, e.stop, tid)
		}
	}
	r.next(t, EventGone)
	r.none(t, EventSignal)
	r.none(t, EventExit)
}

func TestThreadEvents(t *testing.T) {
	a := startActor(t, "", "leader-exit", "8")
	r := newRecorder(t, TraceOptions{ThreadEvents: true}, EventThreadStart, EventThreadExit)
	r.attach(t, a.PID)
	a.tell(t)
	started := r.next(t, EventThreadStart)
	if started.PID != a.PID || started.TID == a.PID || started.stop.err != nil || len(started.stop.wrong) > 0 {
		t.Errorf("start of thread %d of %d: %+v", started.TID, started.PID, started.stop)
	}
	e := r.next(t, EventThreadExit)
	if e.TID != a.PID || e.Status != 3<<8 || e.stop.err != nil || e.stop.threads != 2 {
		t.Errorf("exit of thread %d with %#x: %+v; want the leader with 0x300", e.TID, e.Status, e.stop)
	}
	if got := a.number(t, "status"); got != 8<<8 {
		t.Errorf("the parent sees %#x", got)
	}
	r.next(t, EventGone)
	r.none(t, EventThreadExit)
	r.none(t, EventThreadStart)
}

// TestExec has a thread that is not the leader execute another program.
func TestExec(t *testing.T) {
	a := startActor(t, "", "exec-thread")
	r := newRecorder(t, TraceOptions{ExecEvents: true, ExitEvents: true, ThreadEvents: true}, EventExec, EventExit)
	r.attach(t, a.PID)
	a.tell(t)
	tid := a.number(t, "tid")
	e := r.next(t, EventExec)
	if e.PID != a.PID || e.TID != a.PID || e.FormerTID != tid || e.stop.err != nil || e.stop.threads != 1 {
		t.Errorf("exec in %d/%d, formerly %d: %+v; want %d, %d", e.PID, e.TID, e.FormerTID, e.stop, a.PID, tid)
	}
	if args := e.stop.s.Process.Args; len(args) != 3 || args[1] != "exit" {
		t.Errorf("it executed %q", args)
	}
	x := r.next(t, EventExit)
	if x.Status != 7<<8 || x.stop.err != nil || x.stop.mark != "mark: exiting" {
		t.Errorf("exit with %#x: %+v", x.Status, x.stop)
	}
	if got := a.number(t, "status"); got != 7<<8 {
		t.Errorf("the parent sees %#x", got)
	}
	r.next(t, EventGone)
	ends := 0
	for _, k := range r.keep {
		if k.Kind == EventThreadExit {
			ends++
		}
	}
	if ends != 21 { // 20 idle threads and the leader
		t.Errorf("%d threads ended by execve, want 21", ends)
	}
	r.none(t, EventExit)
}

// TestInit has the first process of a PID namespace fault, and ignore SIGTERM.
func TestInit(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	for _, o := range []TraceOptions{{Unhandled: true, ExitEvents: true}, {ThreadEvents: true}} {
		a := startActor(t, "", "init-crash")
		r := newRecorder(t, o, EventSignal, EventExit)
		r.attach(t, a.PID)
		a.tell(t)
		if o.Unhandled {
			e := r.next(t, EventSignal)
			if !e.Unhandled || e.Addr != 0x1234 || e.stop.err != nil || e.stop.mark != "mark: at the fault" {
				t.Errorf("event at %#x: %+v", e.Addr, e.stop)
			}
			if e := r.next(t, EventExit); e.Status != int(syscall.SIGSEGV) || e.stop.err != nil {
				t.Errorf("exit with %#x: %+v", e.Status, e.stop)
			}
		}
		if got := a.number(t, "status"); got&0x7f != int(syscall.SIGSEGV) {
			t.Errorf("the parent sees %#x", got)
		}
		r.next(t, EventGone)
	}
	a := startActor(t, "", "init-survives")
	r := newRecorder(t, TraceOptions{Unhandled: true, ExitEvents: true})
	r.attach(t, a.PID)
	a.tell(t)
	a.line(t, "survived")
	if e := r.next(t, EventExit); e.Status != 5<<8 {
		t.Errorf("exit with %#x", e.Status)
	}
	r.none(t, EventSignal)
}
