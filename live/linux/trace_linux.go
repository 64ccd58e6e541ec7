package linux

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"procdump/internal/sys/procconn"
	"procdump/internal/sys/ptrace"
)

// ErrTraced means that another process traces the target already: a debugger,
// or the target's own parent. A process has one tracer only.
var ErrTraced = errors.New("already traced")

// ErrNotFollowed means that a Tracer does not trace the process it is asked about.
var ErrNotFollowed = errors.New("the process is not traced by this tracer")

// ErrClosed means that the Tracer has been closed.
var ErrClosed = errors.New("the tracer is closed")

// SignalSet is a set of signals; bit n-1 is signal n.
type SignalSet uint64

// Signals makes a set.
func Signals(numbers ...int) (s SignalSet) {
	for _, n := range numbers {
		s |= 1 << (n - 1)
	}
	return s
}

// Has tells whether a signal is in the set.
func (s SignalSet) Has(sig int) bool { return sig > 0 && sig <= 64 && s>>(sig-1)&1 != 0 }

// TraceOptions say what a Tracer reports. What is not asked for costs nothing.
type TraceOptions struct {
	// Children makes it trace the processes that a traced one forks, from
	// their first instruction, and report each as EventFork. Otherwise they are
	// left alone.
	Children bool
	// Signals make an event each time a thread is about to take one of them,
	// even if the program handles it.
	Signals SignalSet
	// Unhandled reports signals that are about to end the process: those that
	// it neither handles nor ignores, SIGKILL apart.
	Unhandled bool
	// ExitEvents report the end of each process, its memory still whole.
	ExitEvents bool
	// ThreadEvents report new threads at their first instruction, and the ends
	// of threads whose process goes on.
	ThreadEvents bool
	// ExecEvents report execve(2), before the new program's first instruction.
	ExecEvents bool
	// Urgent lets the tracing thread run before ordinary ones (SCHED_FIFO),
	// where that is permitted and there is more than one processor: for
	// processes that are about to end soon after they are attached to.
	Urgent bool
	// Live is for the snapshots.
	Live Options
}

// Tracer traces whole processes and reports what happens to them, without
// stopping them otherwise: every signal is passed on as it came, and stopped
// processes stay stopped. The kernel detaches everything when procdump ends, in
// whatever way, and then delivers the signals itself.
//
// All ptrace calls are made by one operating-system thread. It never consumes a
// stop, so that no signal is ever in its hands alone.
type Tracer struct {
	o      TraceOptions
	handle func(*TraceEvent)

	tid     int // of the tracing thread
	done    chan struct{}
	bell    chan struct{} // rings when calls were added
	pending atomic.Bool   // there are calls
	mu      sync.Mutex    // guards what follows
	calls   []*traceCall
	closed  bool

	// What follows belongs to the tracing thread.
	wait    ptrace.Waiter
	threads map[int]*tracedThread
	procs   map[int]*tracedProcess
	holds   map[*hold]bool
	still   int          // threads that are left standing
	aside   map[int]bool // children of procdump itself, which others wait for
	closing bool
	text    []byte // for reading /proc
	nap     time.Duration
	streak  int // events since all threads were looked at
}

// traceCall is something to be done by the tracing thread.
type traceCall struct {
	f     func()
	taken chan struct{} // closed when it is about to be done, or never will be
	done  chan struct{} // closed when it is done
	err   error
}

// NewTracer makes a tracer that calls handle for every event, each in a
// goroutine of its own. Until handle returns, the thread that the event
// happened to is held; everything else goes on.
func NewTracer(o TraceOptions, handle func(*TraceEvent)) (*Tracer, error) {
	if err := ptrace.PrepareWake(); err != nil {
		return nil, fmt.Errorf("prepare signal for tracer: %w", err)
	}
	t := &Tracer{o: o, handle: handle, done: make(chan struct{}), bell: make(chan struct{}, 1),
		threads: map[int]*tracedThread{}, procs: map[int]*tracedProcess{}, holds: map[*hold]bool{},
		aside: map[int]bool{}, text: make([]byte, 8<<10)}
	started := make(chan struct{})
	go onThread(t.done, func() {
		t.tid = syscall.Gettid()
		if o.Urgent && runtime.NumCPU() > 1 {
			_ = procconn.Urgent() // not permitted: it is slower
		}
		signalStops(1)
		defer signalStops(-1)
		close(started)
		t.run()
	})
	<-started
	return t, nil
}

// call runs f on the tracing thread and waits for it.
func (t *Tracer) call(f func()) error {
	c := &traceCall{f: f, taken: make(chan struct{}), done: make(chan struct{})}
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return ErrClosed
	}
	t.calls = append(t.calls, c)
	t.pending.Store(true)
	t.mu.Unlock()
	t.ring()
	_ = ptrace.Wake(t.tid)
	t.urge(c)
	<-c.done
	return c.err
}

// ring tells the tracing thread of calls where it waits for nothing else.
func (t *Tracer) ring() {
	select {
	case t.bell <- struct{}{}:
	default:
	}
}

// urge returns when the tracing thread has taken the call. The thread may have
// looked for calls just before, and not yet be in the system call that the
// signal is to interrupt: it is repeated.
func (t *Tracer) urge(c *traceCall) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-c.taken:
			return
		case <-tick.C:
		}
		_ = ptrace.Wake(t.tid) // ESRCH: it has ended, and has seen to the calls
		if n%100 == 0 {
			_ = ptrace.PrepareWake() // os/signal may have installed the handler anew
		}
	}
}

// takeCalls runs what other goroutines want done.
func (t *Tracer) takeCalls() {
	if !t.pending.Load() {
		return
	}
	t.mu.Lock()
	calls := t.calls
	t.calls = nil
	t.pending.Store(false)
	t.mu.Unlock()
	for _, c := range calls {
		close(c.taken)
		c.f()
		close(c.done)
	}
	t.nap = minNap
}

// refuse ends the calls that came too late.
func (t *Tracer) refuse() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	for _, c := range t.calls {
		c.err = ErrClosed
		close(c.taken)
		close(c.done)
	}
	t.calls = nil
}

// Attach begins to trace all threads of a process, which notices nothing. The
// error matches ErrGone, ErrTraced or fs.ErrPermission where one of these is
// the cause. A process that is traced already stays so.
func (t *Tracer) Attach(pid int) error {
	var err error
	if cerr := t.call(func() { err = t.attach(pid) }); cerr != nil {
		return cerr
	}
	return err
}

// Begin is Attach for a tracer that traces nothing yet and for a caller that
// must not wait: done is called with Attach's result, on the tracing thread,
// which it must not keep. Begin tells whether the tracer is still open.
func (t *Tracer) Begin(pid int, done func(error)) bool {
	c := &traceCall{taken: make(chan struct{}), done: make(chan struct{})}
	c.f = func() { done(t.attach(pid)) }
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	t.calls = append(t.calls, c)
	t.pending.Store(true)
	t.ring()
	// It may wait for something else: for a process that it is letting go.
	go t.urge(c)
	return true
}

// Detach stops tracing a process, which runs on. Threads whose event is being
// handled are let go as soon as that is done, a process that is held as soon as
// it is resumed. Detach returns when all others are let go; one that waits in
// the kernel, uninterruptibly, is let go when it wakes.
func (t *Tracer) Detach(pid int) {
	for deadline := time.Now().Add(stopTimeout); ; time.Sleep(time.Millisecond) {
		busy := false
		if t.call(func() { busy = t.leave(pid) }) != nil || !busy || time.Now().After(deadline) {
			return
		}
	}
}

// Following lists the processes that are traced.
func (t *Tracer) Following() []int {
	var pids []int
	_ = t.call(func() {
		for pid, p := range t.procs {
			if !p.leaving {
				pids = append(pids, pid)
			}
		}
	})
	return pids
}

// Close lets everything go: all processes run on, with the signals they were
// about to take, also those whose event is still being handled. It must not be
// called from two goroutines at once.
func (t *Tracer) Close() {
	if t.call(func() { t.closing = true }) != nil {
		return
	}
	<-t.done
	// The kernel detaches as the thread ends, which it is about to do.
	own := "/proc/self/task/" + strconv.Itoa(t.tid)
	for range 10000 {
		if _, err := os.Stat(own); err != nil {
			return
		}
		time.Sleep(100 * time.Microsecond)
	}
}

// Stop stops a traced process, at any time, and completes the snapshot of what
// Open has read. The caller must call Resume. The process stays traced.
func (t *Tracer) Stop(ctx context.Context, target *Target) (*Stopped, error) {
	target.refresh()
	h, err := t.hold(ctx, target.PID)
	if err != nil {
		return nil, err
	}
	return target.complete(&Stopped{holder: h, held: h.held, begin: h.begin}, h.lost)
}
