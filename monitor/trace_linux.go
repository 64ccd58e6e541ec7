package monitor

import (
	"context"
	"fmt"
	"math"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"procdump/capture"
	"procdump/internal/signals"
	"procdump/live/linux"
	"procdump/target"
)

// tree is the tracer of a process and, where these are followed, of its
// descendants.
type tree struct {
	tracer *linux.Tracer
	root   int // the process that was attached to

	// What follows is the loop's.
	users    int  // watched processes
	rootGone bool // root has ended
	expects  bool // root is about to execute a program (see held)

	once sync.Once
}

// newTree starts a tracer.
func (m *monitor) newTree() (*tree, error) {
	r := &m.Rules
	var wanted linux.SignalSet
	for sig := 1; sig <= signals.Max; sig++ {
		if r.wants(sig) {
			wanted |= linux.Signals(sig)
		}
	}
	t := &tree{}
	var err error
	t.tracer, err = linux.NewTracer(linux.TraceOptions{Children: m.Scope.Tree, Signals: wanted, Unhandled: r.Unhandled,
		ExitEvents: r.Terminate, ThreadEvents: r.ThreadStart || r.ThreadExit, ExecEvents: true,
		Urgent: m.matcher != nil, Live: m.Live.linux()},
		func(e *linux.TraceEvent) { m.happened(t, happeningOf(e)) })
	if err == nil {
		allowMemory(tracerMemory)
	}
	return t, err
}

// tracerMemory is what a tracer and what it waits with takes, in bytes.
const tracerMemory = 128 << 10

// memoryLimit keeps two changes of the limit apart.
var memoryLimit sync.Mutex

// allowMemory moves the limit from which on garbage is collected, if there is
// one: near it hundreds of tracers would have it collected all the time.
func allowMemory(n int64) {
	memoryLimit.Lock()
	defer memoryLimit.Unlock()
	if limit := debug.SetMemoryLimit(-1); limit < math.MaxInt64>>1 {
		debug.SetMemoryLimit(limit + n)
	}
}

// keepSpares fills m.spares until Run ends.
func (m *monitor) keepSpares() {
	for {
		t, err := m.newTree()
		if err != nil {
			return // trace will say it
		}
		select {
		case m.spares <- t:
		case <-m.quit:
			t.close()
			return
		}
	}
}

// spare returns a tracer that traces nothing.
func (m *monitor) spare() (*tree, error) {
	select {
	case t := <-m.spares:
		return t, nil
	default:
		return m.newTree()
	}
}

// attach begins to attach to a process, without waiting for that. Then the loop
// takes what came of it. A process that the gate holds is let go by allow, which
// may be called more than once; nil: it is not held.
func (m *monitor) attach(pid int, allow func(), take func(*tree, error)) {
	done := func(t *tree, err error) {
		if !m.post(func() { take(t, err) }) && t != nil {
			go t.close() // the loop is over
		}
	}
	begin := func(t *tree) {
		t.root = pid
		attached, open := func(err error) { done(t, err) }, false
		if allow == nil {
			open = t.tracer.Begin(pid, attached)
		} else if open = t.tracer.BeginExecuting(pid, allow, attached); !open {
			allow()
		}
		if !open {
			done(nil, linux.ErrClosed)
		}
	}
	select {
	case t := <-m.spares:
		begin(t)
	default:
		// A new tracer takes time, which others that come now do not have.
		go func() {
			t, err := m.newTree()
			if err == nil {
				begin(t)
				return
			}
			if allow != nil {
				allow()
			}
			done(nil, err)
		}()
	}
}

// trace attaches to a process.
func (m *monitor) trace(pid int) (*tree, error) {
	t, err := m.spare()
	if err != nil {
		return nil, err
	}
	t.root = pid
	if err := t.tracer.Attach(pid); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

// release ends the tracing of a process that is not watched any more. It must
// not run in the loop.
func (m *monitor) release(t *tree, pid int) {
	t.tracer.Detach(pid)
	m.ask(func() { m.settle(t) })
}

// settle gives up a tracer that nobody uses and that follows nothing: a child
// that was forked just before its parent ended may still have to be told of.
func (m *monitor) settle(t *tree) {
	if !m.trees[t] || t.users > 0 || len(t.tracer.Following()) > 0 {
		return
	}
	delete(m.trees, t)
	m.recycle(t)
}

// recycle keeps a tracer that traces nothing for the next process that appears.
func (m *monitor) recycle(t *tree) {
	if !m.Scope.Tree && m.Scope.newcomers() {
		t.root, t.rootGone, t.expects = 0, false, false
		select {
		case m.spares <- t:
			return
		default:
		}
	}
	m.helpers.Go(t.close)
}

// close lets everything go.
func (t *tree) close() {
	t.once.Do(func() {
		t.tracer.Close()
		allowMemory(-tracerMemory)
	})
}

var happeningKinds = map[linux.EventKind]happeningKind{
	linux.EventSignal: hapSignal, linux.EventExit: hapEnding, linux.EventThreadStart: hapThreadStart,
	linux.EventThreadExit: hapThreadExit, linux.EventExec: hapExec, linux.EventFork: hapFork, linux.EventGone: hapGone,
}

// happeningOf is an event of a tracer in this package's terms.
func happeningOf(e *linux.TraceEvent) happening {
	h := happening{kind: happeningKinds[e.Kind], pid: e.PID, tid: e.TID, signal: e.Signal, fatal: e.Unhandled}
	switch e.Kind {
	case linux.EventSignal:
		h.text = signals.ExceptionText(e.Signal, e.Code, e.Addr)
		h.code = strings.ReplaceAll(h.text, " ", "_")
	case linux.EventFork:
		h.child = e.PID
	case linux.EventExit, linux.EventGone:
		h.status = statusText(syscall.WaitStatus(e.Status))
	}
	h.stop = func(ctx context.Context, prepare Prepare) (capture.Source, error) {
		s, err := e.Stop(ctx)
		if err != nil {
			return nil, err
		}
		pre, err := prepare(s.Process, s.NoClone())
		if err != nil {
			s.Resume()
			return nil, err
		}
		if pre != nil {
			pre.Refused("it stands already, at what triggered the dump")
		}
		return source{s}, nil
	}
	return h
}

// detach lets a process go that is not watched.
func (t *tree) detach(pid int) { t.tracer.Detach(pid) }

// tracedByUs tells whether a tracer of ours traces the process already.
func tracedByUs(pid int) bool {
	p, err := target.Get(pid)
	if err != nil || p.TracerPID == 0 {
		return false
	}
	// TracerPid is the tracer's thread (proc_pid_status(5)).
	_, err = os.Stat("/proc/self/task/" + strconv.Itoa(p.TracerPID))
	return err == nil || p.TracerPID == os.Getpid()
}

// statusText says how a process ends.
func statusText(s syscall.WaitStatus) string {
	if s.Signaled() {
		return "killed by " + signals.Name(int(s.Signal()))
	}
	return fmt.Sprintf("exit code %d", s.ExitStatus())
}
