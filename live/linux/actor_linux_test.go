package linux

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"procdump/victims/need"
)

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

var (
	tracedMu    sync.Mutex
	tracedBuilt = map[string]string{}
	tracedDir   string
)

// tracedProgram builds testdata/traced.c; the variant is "" or "i386".
func tracedProgram(t testing.TB, variant string) string { return testProgram(t, "traced", variant) }

// testProgram builds a C program of testdata; the variant is "" or "i386".
func testProgram(t testing.TB, name, variant string) string {
	t.Helper()
	gcc := need.Tool(t, "gcc")
	tracedMu.Lock()
	defer tracedMu.Unlock()
	if p := tracedBuilt[name+variant]; p != "" {
		return p
	}
	if tracedDir == "" {
		dir, err := os.MkdirTemp("", "traced")
		if err != nil {
			t.Fatal(err)
		}
		tracedDir = dir
	}
	out := filepath.Join(tracedDir, name+variant)
	args := []string{"-std=gnu11", "-Wall", "-Wextra", "-Werror", "-g", "-O1", "-pthread", "-o", out, "testdata/" + name + ".c"}
	if variant == "i386" {
		args = append(args, "-m32")
	}
	if msg, err := exec.Command(gcc, args...).CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, msg)
	}
	tracedBuilt[name+variant] = out
	return out
}

// actor is a running traced.c and the process that spawned it.
type actor struct {
	PID   int // of the one that acts
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string
	kept  []string // lines nobody has asked for yet
}

// startActor starts a program in a mode and waits until it waits to be told to go.
func startActor(t testing.TB, variant string, mode ...string) *actor {
	t.Helper()
	args := mode
	if !strings.HasPrefix(mode[0], "init-") {
		args = append([]string{"spawn"}, mode...)
	}
	a := &actor{cmd: exec.Command(tracedProgram(t, variant), args...), lines: make(chan string, 1000)}
	a.cmd.Stderr = os.Stderr
	a.cmd.Dir = t.TempDir()
	var err error
	if a.in, err = a.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	a.cmd.Stdout = w
	// The parent-death signal goes by the thread that started the program.
	started := make(chan error)
	starter() <- func() { started <- a.cmd.Start() }
	err = <-started
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(a.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			a.lines <- s.Text()
		}
		out.Close()
	}()
	a.PID = a.number(t, "pid")
	t.Cleanup(func() {
		a.cmd.Process.Kill()
		syscall.Kill(a.PID, syscall.SIGKILL)
		a.in.Close()
		a.cmd.Wait()
	})
	return a
}

var starter = sync.OnceValue(func() chan func() {
	ch := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range ch {
			f()
		}
	}()
	return ch
})

// tell lets the program go on from its wait for a line.
func (a *actor) tell(t testing.TB) {
	t.Helper()
	if _, err := io.WriteString(a.in, "\n"); err != nil {
		t.Fatal(err)
	}
}

// line waits for a line that begins with word and returns the rest of it.
func (a *actor) line(t testing.TB, word string) string {
	t.Helper()
	for i, l := range a.kept {
		if first, rest, _ := strings.Cut(l, " "); first == word {
			a.kept = append(a.kept[:i:i], a.kept[i+1:]...)
			return rest
		}
	}
	limit := time.After(patience)
	for {
		select {
		case l, ok := <-a.lines:
			if !ok {
				t.Fatalf("process %d ended without saying %q; it said %q", a.PID, word, a.kept)
			}
			if first, rest, _ := strings.Cut(l, " "); first == word {
				return rest
			}
			a.kept = append(a.kept, l)
		case <-limit:
			t.Fatalf("process %d does not say %q; it said %q", a.PID, word, a.kept)
		}
	}
}

func (a *actor) number(t testing.TB, word string) int {
	t.Helper()
	n, err := strconv.Atoi(a.line(t, word))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// seen is an event and what its handler found.
type seen struct {
	*TraceEvent
	stop *stopResult
}

// stopResult is what Stop gave, looked at while the process was held.
type stopResult struct {
	err     error
	s       *Stopped
	mark    string
	threads int
	wrong   []string // what is wrong with the snapshot
}

// recorder collects events.
type recorder struct {
	*Tracer
	events chan seen
	dump   map[EventKind]bool // which ones to stop at
	keep   []seen
}

func newRecorder(t testing.TB, o TraceOptions, dump ...EventKind) *recorder {
	t.Helper()
	r := &recorder{events: make(chan seen, 1<<16), dump: map[EventKind]bool{}}
	for _, k := range dump {
		r.dump[k] = true
	}
	tracer, err := NewTracer(o, func(e *TraceEvent) {
		s := seen{TraceEvent: e}
		if r.dump[e.Kind] {
			s.stop = examine(e)
		}
		r.events <- s
	})
	if err != nil {
		t.Fatal(err)
	}
	r.Tracer = tracer
	t.Cleanup(tracer.Close)
	return r
}

// examine stops an event's process and looks at everything a dump needs.
func examine(e *TraceEvent) *stopResult {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r := &stopResult{}
	if r.s, r.err = e.Stop(ctx); r.err != nil {
		return r
	}
	defer r.s.Resume()
	p := r.s.Process
	r.threads = len(p.Threads)
	if p.Threads[0].TID != e.TID {
		r.wrong = append(r.wrong, fmt.Sprintf("first thread is %d, want %d", p.Threads[0].TID, e.TID))
	}
	for i := range p.Threads {
		th := &p.Threads[i]
		if th.Registers.PC() == 0 || th.Registers.SP() == 0 {
			r.wrong = append(r.wrong, fmt.Sprintf("thread %d has no registers", th.TID))
		}
		st, err := readStat(procPath(e.PID, "task", strconv.Itoa(th.TID), "stat"))
		if err != nil || st.state != 't' {
			r.wrong = append(r.wrong, fmt.Sprintf("thread %d is in state %c (%v)", th.TID, st.state, err))
		}
	}
	for i := range p.Regions {
		g := &p.Regions[i]
		if !strings.Contains(g.Path, "traced") {
			continue
		}
		b := make([]byte, g.Size)
		n, _ := p.Memory.ReadMemory(b, g.Addr)
		if i := strings.Index(string(b[:n]), "mark: "); i >= 0 && strings.Contains(g.Perm.String(), "w") {
			r.mark, _, _ = strings.Cut(string(b[i:i+32]), "\x00")
		}
	}
	return r
}

// next waits for the next event of a kind; others are kept for later.
func (r *recorder) next(t testing.TB, k EventKind) seen {
	t.Helper()
	for i, e := range r.keep {
		if e.Kind == k {
			r.keep = append(r.keep[:i:i], r.keep[i+1:]...)
			return e
		}
	}
	limit := time.After(patience)
	for {
		select {
		case e := <-r.events:
			if e.Kind == k {
				return e
			}
			r.keep = append(r.keep, e)
		case <-limit:
			var have []string
			for _, e := range r.keep {
				have = append(have, fmt.Sprintf("%v of %d/%d", e.Kind, e.PID, e.TID))
			}
			t.Fatalf("no event %v comes; there were %v", k, have)
		}
	}
}

// none fails if there was an event of a kind.
func (r *recorder) none(t testing.TB, k EventKind) {
	t.Helper()
	for {
		select {
		case e := <-r.events:
			r.keep = append(r.keep, e)
			continue
		default:
		}
		break
	}
	for _, e := range r.keep {
		if e.Kind == k {
			t.Errorf("event %v of %d/%d: signal %d, status %#x", e.Kind, e.PID, e.TID, e.Signal, e.Status)
		}
	}
}

func (r *recorder) attach(t testing.TB, pid int) {
	t.Helper()
	if err := r.Attach(pid); err != nil {
		t.Fatal(err)
	}
}

// eventually waits for what another process is about to do.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s does not come true", what)
		}
	}
}

func tracerPID(t testing.TB, pid int) string {
	b, err := os.ReadFile(procPath(pid, "status"))
	if err != nil {
		t.Fatal(err)
	}
	return statusField(b, "TracerPid")
}
