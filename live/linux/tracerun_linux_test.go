package linux

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestStopInAStorm dumps a process, again and again, that takes signals all the
// time: from an event, and from outside.
func TestStopInAStorm(t *testing.T) {
	a := startActor(t, "", "storm", "2")
	stops := 0
	r := newRecorder(t, everything)
	r.attach(t, a.PID)
	target, err := Open(a.PID, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	a.tell(t)
	a.line(t, "storming")
	for end := time.Now().Add(time.Second); time.Now().Before(end); stops++ {
		s, err := r.Stop(context.Background(), target)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 16)
		sp := s.Process.Threads[0].Registers.SP()
		if _, err := s.Process.Memory.ReadMemory(b, sp); err != nil || len(s.Process.Threads) != 1 {
			t.Errorf("%d threads, stack: %v", len(s.Process.Threads), err)
		}
		s.Resume()
	}
	var sent, counted int
	if _, err := fmt.Sscan(a.line(t, "stormed"), &sent, &counted); err != nil || sent != counted || sent == 0 {
		t.Errorf("sent %d, counted %d, %v", sent, counted, err)
	}
	t.Logf("%d stops while it took %d signals", stops, sent)
	if s := a.number(t, "status"); s != 0 {
		t.Errorf("it ended with %#x", s)
	}
}

// TestOthersGoOn handles one process's event for long while another takes
// signals, creates threads, and crashes.
func TestOthersGoOn(t *testing.T) {
	slow, busy := startActor(t, "", "crash"), startActor(t, "", "handled-crash", "2000")
	release := make(chan bool)
	events := make(chan *TraceEvent, 100)
	tracer, err := NewTracer(TraceOptions{Unhandled: true}, func(e *TraceEvent) {
		events <- e
		if e.Kind == EventSignal && e.PID == slow.PID {
			if _, err := e.Stop(context.Background()); err != nil {
				t.Error(err)
			}
			<-release
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer tracer.Close()
	for _, a := range []*actor{slow, busy} {
		if err := tracer.Attach(a.PID); err != nil {
			t.Fatal(err)
		}
	}
	slow.tell(t)
	if e := <-events; e.PID != slow.PID {
		t.Errorf("event %v of %d", e.Kind, e.PID)
	}
	busy.tell(t)
	if n := busy.number(t, "handled"); n != 2000 {
		t.Errorf("handled %d signals", n)
	}
	if s := busy.number(t, "status"); s != int(syscall.SIGSEGV) {
		t.Errorf("the busy one ended with %#x", s)
	}
	if c := state(t, slow.PID); c != 't' {
		t.Errorf("the held one is in state %c", c)
	}
	close(release)
	if s := slow.number(t, "status"); s != int(syscall.SIGSEGV) {
		t.Errorf("the held one ended with %#x", s)
	}
}

// TestJobControl stops and continues a traced process as a shell does.
func TestJobControl(t *testing.T) {
	a := startActor(t, "", "threads-pause", "3")
	r := newRecorder(t, everything)
	r.attach(t, a.PID)
	a.tell(t)
	a.line(t, "paused")
	target, err := Open(a.PID, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	kill := func(s syscall.Signal) {
		if err := syscall.Kill(a.PID, s); err != nil {
			t.Fatal(err)
		}
	}
	for _, sig := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGTSTP} {
		kill(sig)
		if n := a.number(t, "stopped"); n != int(sig) {
			t.Errorf("its parent sees it stopped by %d, want %d", n, sig)
		}
		// A dump of the stopped process leaves it stopped.
		s, err := r.Stop(context.Background(), target)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(s.Process.Threads); n != 4 {
			t.Errorf("%d threads, want 4", n)
		}
		s.Resume()
		time.Sleep(20 * time.Millisecond)
		kill(syscall.SIGCONT)
		a.line(t, "continued")
	}
	// Detached while stopped, it stays so.
	kill(syscall.SIGSTOP)
	a.line(t, "stopped")
	r.Detach(a.PID)
	eventually(t, "a stop without a tracer", func() bool { return tracerPID(t, a.PID) == "0" && state(t, a.PID) == 'T' })
	// Attached while stopped, too.
	r.attach(t, a.PID)
	kill(syscall.SIGCONT)
	a.line(t, "continued")
	kill(syscall.SIGTERM)
	if s := a.number(t, "status"); s != int(syscall.SIGTERM) {
		t.Errorf("status %#x", s)
	}
	for _, l := range a.kept {
		t.Errorf("unexpected: %s", l)
	}
	if e := r.next(t, EventSignal); e.Signal != int(syscall.SIGTERM) {
		t.Errorf("signal %d", e.Signal)
	}
	r.none(t, EventSignal)
}

// TestRestart interrupts a system call that the kernel restarts itself.
func TestRestart(t *testing.T) {
	a := startActor(t, "", "sleep")
	r := newRecorder(t, everything)
	r.attach(t, a.PID)
	target, err := Open(a.PID, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	a.tell(t)
	a.line(t, "sleeping")
	for range 5 {
		s, err := r.Stop(context.Background(), target)
		if err != nil {
			t.Fatal(err)
		}
		s.Resume()
		syscall.Kill(a.PID, syscall.SIGCHLD) // ignored, but its tracer sees it
	}
	if n := a.number(t, "slept"); n != 0 {
		t.Errorf("nanosleep returned %d", n)
	}
}

// TestChurn follows a process that creates and ends threads all the time, and
// stops it in between.
func TestChurn(t *testing.T) {
	a := startActor(t, "", "churn", "2")
	r := newRecorder(t, everything)
	r.attach(t, a.PID)
	target, err := Open(a.PID, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	a.tell(t)
	for end := time.Now().Add(time.Second); time.Now().Before(end); {
		s, err := r.Stop(context.Background(), target)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(s.Process.Threads) + len(s.Process.Info.MissedThreads); n < 1 || n > 5 {
			t.Errorf("%d threads", n)
		}
		if m := s.Process.Info.MissedThreads; len(m) > 0 {
			t.Errorf("missed %v", m)
		}
		s.Resume()
	}
	rounds := a.number(t, "rounds")
	if s := a.number(t, "status"); s != 0 {
		t.Errorf("status %#x", s)
	}
	r.next(t, EventGone)
	starts, ends := 0, 0
	for _, e := range r.keep {
		switch e.Kind {
		case EventThreadStart:
			starts++
		case EventThreadExit:
			ends++
		}
	}
	if starts != 4*rounds || ends != starts {
		t.Errorf("%d threads started and %d ended, want %d", starts, ends, 4*rounds)
	}
	t.Logf("%d threads in 2 s", starts)
}

// TestForkExec follows a child through execve(2) to its exit.
func TestForkExec(t *testing.T) {
	a := startActor(t, "", "fork-exec")
	r := newRecorder(t, everything, EventExec, EventExit)
	r.attach(t, a.PID)
	a.tell(t)
	child := a.number(t, "child")
	if e := r.next(t, EventFork); e.PID != child || e.Parent != a.PID {
		t.Errorf("fork of %d by %d", e.PID, e.Parent)
	}
	if e := r.next(t, EventExec); e.PID != child || e.stop.err != nil {
		t.Errorf("exec in %d: %+v", e.PID, e.stop)
	}
	if e := r.next(t, EventExit); e.PID != child || e.Status != 9<<8 || e.stop.mark != "mark: exiting" {
		t.Errorf("exit of %d with %#x: %+v", e.PID, e.Status, e.stop)
	}
	if s := a.number(t, "childstatus"); s != 9<<8 {
		t.Errorf("child's status %#x", s)
	}
	if s := a.number(t, "status"); s != 0 {
		t.Errorf("parent's status %#x", s)
	}
}

// TestDetachInHandler lets the process go from within an event's handler.
func TestDetachInHandler(t *testing.T) {
	a := startActor(t, "", "worker", "4")
	var tracer *Tracer
	var err error
	tracer, err = NewTracer(TraceOptions{Unhandled: true}, func(e *TraceEvent) {
		if s, err := e.Stop(context.Background()); err != nil {
			t.Error(err)
		} else {
			s.Resume()
		}
		tracer.Detach(e.PID)
	})
	if err != nil {
		t.Fatal(err)
	}
	defer tracer.Close()
	if err := tracer.Attach(a.PID); err != nil {
		t.Fatal(err)
	}
	a.tell(t)
	if s := a.number(t, "status"); s != int(syscall.SIGSEGV) {
		t.Errorf("status %#x", s)
	}
}

// TestCloseInHandler ends the tracer while an event is being handled: the
// signal is delivered all the same.
func TestCloseInHandler(t *testing.T) {
	a := startActor(t, "", "crash")
	stopped, end := make(chan bool), make(chan bool)
	tracer, err := NewTracer(TraceOptions{Unhandled: true}, func(e *TraceEvent) {
		if _, err := e.Stop(context.Background()); err != nil {
			t.Error(err)
		}
		close(stopped)
		<-end
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := tracer.Attach(a.PID); err != nil {
		t.Fatal(err)
	}
	a.tell(t)
	<-stopped
	tracer.Close()
	tracer.Close()
	if s := a.number(t, "status"); s != int(syscall.SIGSEGV) {
		t.Errorf("status %#x", s)
	}
	close(end)
	if err := tracer.Attach(os.Getpid()); !errors.Is(err, ErrClosed) {
		t.Errorf("attaching with a closed tracer: %v", err)
	}
}

// TestOwnChild leaves a child of this very process to the one who waits for it.
func TestOwnChild(t *testing.T) {
	program := tracedProgram(t, "")
	r := newRecorder(t, everything, EventExit)
	for range 20 {
		c := exec.Command(program, "exit", "7")
		in, _ := c.StdinPipe()
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		r.attach(t, c.Process.Pid)
		fmt.Fprintln(in)
		if e := r.next(t, EventExit); e.Status != 7<<8 || e.stop.err != nil {
			t.Errorf("exit with %#x: %+v", e.Status, e.stop)
		}
		if g := r.next(t, EventGone); g.Status != 7<<8 {
			t.Errorf("gone with %#x", g.Status)
		}
		c.Wait()
		if s := c.ProcessState.ExitCode(); s != 7 {
			t.Errorf("its parent sees exit code %d", s)
		}
	}
}

func TestAttachErrors(t *testing.T) {
	r := newRecorder(t, everything)
	if err := r.Attach(1<<22 + 5); !errors.Is(err, ErrGone) {
		t.Errorf("no process: %v", err)
	}
	a := startActor(t, "", "self-traced")
	a.tell(t)
	a.line(t, "paused")
	if err := r.Attach(a.PID); !errors.Is(err, ErrTraced) || !strings.Contains(err.Error(), "PID "+strconv.Itoa(a.cmd.Process.Pid)) {
		t.Errorf("a traced process: %v", err)
	}
	b := startActor(t, "", "pause")
	other := newRecorder(t, everything)
	other.attach(t, b.PID)
	if err := r.Attach(b.PID); !errors.Is(err, ErrTraced) {
		t.Errorf("a process of another tracer: %v", err)
	}
	other.Detach(b.PID)
	if err := r.Attach(b.PID); err != nil {
		t.Errorf("after the other has let go: %v", err)
	}
	target, err := Open(b.PID, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	if _, err := other.Stop(context.Background(), target); !errors.Is(err, ErrNotFollowed) {
		t.Errorf("stopping what it does not trace: %v", err)
	}
	if os.Geteuid() != 0 {
		return
	}
	done := make(chan error)
	go func() {
		lockThread() // not unlocked: the thread must not be reused
		if err := setThreadUID(65534); err != nil {
			done <- err
			return
		}
		_, err := seize(a.PID, a.PID, 0)
		done <- err
	}()
	if err := <-done; !errors.Is(err, fs.ErrPermission) {
		t.Errorf("seizing root's process as nobody: %v", err)
	}
}

// TestHandledSignalAllocatesNothing keeps the path free of work that a program
// which takes ten thousand signals a second would feel.
func TestHandledSignalAllocatesNothing(t *testing.T) {
	tracer := &Tracer{text: make([]byte, 8<<10), procs: map[int]*tracedProcess{}}
	p := tracer.newProcess(os.Getpid())
	defer syscall.Close(p.statusF)
	if tracer.defaultAction(p, int(syscall.SIGSEGV)) {
		t.Error("the Go runtime handles SIGSEGV, but it seems to have no handler")
	}
	if n := testing.AllocsPerRun(100, func() { tracer.defaultAction(p, int(syscall.SIGSEGV)) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkThreadChurn is how many times a second a program can create and join
// four threads.
func BenchmarkThreadChurn(b *testing.B) {
	for _, traced := range []bool{false, true} {
		b.Run(fmt.Sprint("traced=", traced), func(b *testing.B) {
			a := startActor(b, "", "churn", "2")
			r := newRecorder(b, TraceOptions{Unhandled: true})
			if traced {
				r.attach(b, a.PID)
			}
			a.tell(b)
			b.ReportMetric(float64(a.number(b, "rounds"))/2, "rounds/s")
		})
	}
}

// BenchmarkHandledSignals is what a signal that the program handles costs it
// under Unhandled.
func BenchmarkHandledSignals(b *testing.B) {
	for _, traced := range []bool{false, true} {
		b.Run(fmt.Sprint("traced=", traced), func(b *testing.B) {
			a := startActor(b, "", "handled", strconv.Itoa(b.N))
			r := newRecorder(b, TraceOptions{Unhandled: true})
			if traced {
				r.attach(b, a.PID)
			}
			b.ResetTimer()
			a.tell(b)
			a.number(b, "handled")
		})
	}
}
