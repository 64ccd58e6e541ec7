// Package victims holds small programs that exist to be dumped, and builds and
// starts them for tests and benchmarks.
//
// A victim is deterministic, checks itself, and dies with the process that
// started it. It prints one line "ready key=value …" once it is in the state
// that the test is about; after that most victims answer lines on their
// standard input with lines on their standard output, and end when it is closed.
//
// The programs are built on first use into .cache/victims of the module, keyed
// by their sources, flags and compiler.
package victims

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"procdump/victims/need"
)

// Timeout bounds every wait for a victim. It is generous: the machine may be
// busy, and no test measures with it.
const Timeout = 60 * time.Second

// Spec says which victim to start and how.
type Spec struct {
	// Name is the program, with an optional variant after "@": "threads",
	// "threads@static", "threads@static-pie", "threads@i386", "threads@musl",
	// "threads@musl-static", "cpp", "goroutines", "python", "java", "node". C
	// programs are the files of victims/c; each can be built in each variant, but
	// some need the GNU C library.
	Name string
	Args []string
	Env  []string // added to the environment
	Dir  string   // working directory; "" is the current one

	// Exe runs this copy of the program instead of the one in the cache.
	Exe string
	// Wrap is a command and its first arguments that start the program in
	// their turn ("unshare", "-pf"). The victim's PID is then that of the
	// command's descendant that has no further child when it is ready.
	Wrap []string
	// UID and GID, when not 0, are what the program runs as. Needs root.
	UID, GID uint32
	// Stderr receives the program's standard error; nil keeps the last of it
	// for messages.
	Stderr io.Writer
}

// Victim is a running program.
type Victim struct {
	PID   int
	Exe   string            // the program file; for scripts the interpreter's
	Ready map[string]string // what the program said when it was ready

	cmd    *exec.Cmd
	stdin  io.WriteCloser
	lines  chan string
	stderr *tail
	exited chan struct{} // closed once the program has been waited for
	err    error         // of the wait; valid once exited is closed
	kill   sync.Once
}

// Start builds and starts a victim for a test, waits until it is ready and
// kills it at the test's end.
func Start(t testing.TB, name string, args ...string) *Victim {
	t.Helper()
	return StartSpec(t, Spec{Name: name, Args: args})
}

// StartSpec is Start with everything that can be said.
func StartSpec(t testing.TB, s Spec) *Victim {
	t.Helper()
	for _, tool := range Tools(s.Name) {
		need.Tool(t, tool)
	}
	v, err := Launch(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Kill)
	return v
}

// Launch builds and starts a victim and waits until it is ready. The caller
// ends it with Kill.
func Launch(s Spec) (*Victim, error) {
	command, exe, err := commandOf(s)
	if err != nil {
		return nil, err
	}
	v, err := start(s, command, exe)
	if err != nil {
		return nil, fmt.Errorf("start victim %s: %w", s.Name, err)
	}
	line, err := v.next(Timeout)
	if err == nil && line != "ready" && !strings.HasPrefix(line, "ready ") {
		err = fmt.Errorf("said %q instead of ready", line)
	}
	if err != nil {
		v.Kill()
		return nil, fmt.Errorf("start victim %s: %w\n%s", s.Name, err, v.stderr)
	}
	v.Ready = fields(line)
	if len(s.Wrap) > 0 {
		v.PID = lastDescendant(v.PID)
	}
	if real, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", v.PID)); err == nil {
		v.Exe = real
	}
	return v, nil
}

// Lines delivers what the victim prints after its ready line, a line each,
// and is closed when it ends.
func (v *Victim) Lines() <-chan string { return v.lines }

// Next returns the next line that the victim prints.
func (v *Victim) Next(t testing.TB) string {
	t.Helper()
	line, err := v.next(Timeout)
	if err != nil {
		t.Fatalf("victim %d: %v\n%s", v.PID, err, v.stderr)
	}
	return line
}

// Ask sends the victim a line and returns its answer's key=value pairs.
func (v *Victim) Ask(t testing.TB, question string) map[string]string {
	t.Helper()
	answer, err := v.Query(question)
	if err != nil {
		t.Fatalf("victim %d: ask %q: %v\n%s", v.PID, question, err, v.stderr)
	}
	return answer
}

// Send sends the victim a line without waiting for an answer.
func (v *Victim) Send(order string) error {
	_, err := io.WriteString(v.stdin, order+"\n")
	return err
}

// Query is Ask outside a test.
func (v *Victim) Query(question string) (map[string]string, error) {
	if err := v.Send(question); err != nil {
		return nil, err
	}
	line, err := v.next(Timeout)
	return fields(line), err
}

func (v *Victim) next(limit time.Duration) (string, error) {
	select {
	case line, ok := <-v.lines:
		if !ok {
			<-v.exited
			return "", fmt.Errorf("it ended: %v", v.err)
		}
		return line, nil
	case <-time.After(limit):
		return "", fmt.Errorf("nothing said for %v", limit)
	}
}

// Kill ends the victim and waits for its end. It may be called again.
func (v *Victim) Kill() {
	v.kill.Do(func() {
		if v.cmd.Process.Pid != v.PID {
			killPID(v.PID)
		}
		v.cmd.Process.Kill()
		v.stdin.Close()
	})
	<-v.exited
}

// Exited is closed once the victim has ended and has been waited for.
func (v *Victim) Exited() <-chan struct{} { return v.exited }

// Uint returns a number that the victim gave when it was ready (decimal, or
// hexadecimal with 0x).
func (v *Victim) Uint(t testing.TB, key string) uint64 {
	t.Helper()
	return Uint(t, v.Ready, key)
}

// Uint returns the number that stands under key in a victim's answer.
func Uint(t testing.TB, answer map[string]string, key string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(answer[key], 0, 64)
	if err != nil {
		t.Fatalf("victim's %s: %v (it said %v)", key, err, answer)
	}
	return n
}

// fields splits "word key=value key=value" into its pairs; the leading word
// stands under "".
func fields(line string) map[string]string {
	m := map[string]string{}
	for i, f := range strings.Fields(line) {
		k, val, ok := strings.Cut(f, "=")
		switch {
		case ok:
			m[k] = val
		case i == 0:
			m[""] = f
		}
	}
	return m
}

// pump feeds lines until the reader ends.
func pump(r io.Reader, lines chan<- string) {
	defer close(lines)
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		lines <- s.Text()
	}
}

// tail keeps the last bytes written to it.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (w *tail) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.b = append(w.b, p...)
	if n := len(w.b) - 8<<10; n > 0 {
		w.b = w.b[n:]
	}
	return len(p), nil
}

func (w *tail) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return string(w.b)
}
