package guest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"procdump/victims/guest/wire"
)

// Command is a program to run in a guest.
type Command struct {
	Args  []string
	Dir   string        // default: the root folder
	Env   []string      // added to the environment of the test
	Limit time.Duration // default: the guest's
}

// Process is a program that runs in a guest, or has run.
type Process struct {
	PID int // in the guest

	*machine
	t       testing.TB
	id      int
	args    []string
	limit   time.Duration
	started bool
	done    bool
	err     error
	code    int
	signal  int
	stdout  []byte
	stderr  []byte
}

// Result is what a program that has ended left.
type Result struct {
	Code           int            // exit code; 128 + the signal for one that a signal killed, as shells say it
	Signal         syscall.Signal // that killed it
	Stdout, Stderr string
}

func (r Result) String() string {
	return fmt.Sprintf("exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
}

// Start starts a program, which must be there.
func (g *Guest) Start(c Command) *Process {
	g.t.Helper()
	if c.Limit == 0 {
		c.Limit = g.options.Limit
	}
	if c.Dir == "" {
		c.Dir = "/"
	}
	env := append(os.Environ(), "HOME=/root", "PWD="+c.Dir)
	p := g.request(wire.Request{Op: wire.OpStart, Args: c.Args, Dir: c.Dir, Env: append(env, c.Env...)})
	p.t, p.limit = g.t, c.Limit
	if !g.await(c.Limit, func() bool { return p.started || p.done }) {
		g.t.Fatalf("%s: not started within %v", p, c.Limit)
	}
	if !p.started {
		g.t.Fatalf("%s: %v", p, p.err)
	}
	return p
}

// Run runs a program to its end, which must come.
func (g *Guest) Run(args ...string) Result {
	g.t.Helper()
	return g.Start(Command{Args: args}).Wait()
}

// Shell runs a shell's commands, which must succeed, and returns what they
// write.
func (g *Guest) Shell(script string) string {
	g.t.Helper()
	r := g.Run("sh", "-euc", script)
	if r.Code != 0 {
		g.t.Fatalf("%s: %v", script, r)
	}
	return r.Stdout
}

func (p *Process) String() string { return "guest: " + strings.Join(p.args, " ") }

// Wait waits for the program's end. The test fails if that does not come.
func (p *Process) Wait() Result {
	p.t.Helper()
	if !p.await(p.limit, func() bool { return p.done }) {
		out, errs := p.Output()
		p.t.Fatalf("%s: no end within %v\n%s%s", p, p.limit, out, errs)
	}
	if p.err != nil {
		out, errs := p.Output()
		p.t.Fatalf("%s: %v\n%s%s", p, p.err, out, errs)
	}
	out, errs := p.Output()
	return Result{Code: p.code, Signal: syscall.Signal(p.signal), Stdout: out, Stderr: errs}
}

// Await waits until the program has written the text, to whichever output, and
// returns what it has written to its standard output so far.
func (p *Process) Await(text string) string {
	p.t.Helper()
	var out, errs string
	found := false
	ok := p.await(p.limit, func() bool {
		out, errs = string(p.stdout), string(p.stderr)
		found = strings.Contains(out, text) || strings.Contains(errs, text)
		return found || p.done
	})
	if !found {
		p.t.Fatalf("%s: no %q (ended: %v)\n%s%s", p, text, ok, out, errs)
	}
	return out
}

// Output is what the program has written so far.
func (p *Process) Output() (stdout, stderr string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return string(p.stdout), string(p.stderr)
}

// Signal sends the program a signal.
func (p *Process) Signal(sig syscall.Signal) {
	p.t.Helper()
	if err := p.machine.order(wire.Request{Op: wire.OpSignal, Target: p.id, Signal: int(sig)}); err != nil {
		p.t.Fatalf("%s: %v", p, err)
	}
}

// Kill ends the program, if it has not ended, and waits for its end.
func (p *Process) Kill() {
	p.t.Helper()
	// It may end by itself before the signal comes, so an error says nothing.
	p.machine.order(wire.Request{Op: wire.OpSignal, Target: p.id, Signal: int(syscall.SIGKILL)})
	if !p.await(p.limit, func() bool { return p.done }) {
		p.t.Errorf("%s: no end within %v of SIGKILL", p, p.limit)
	}
}

// Input writes to the program's standard input.
func (p *Process) Input(text string) {
	p.t.Helper()
	if err := p.machine.order(wire.Request{Op: wire.OpInput, Target: p.id, Data: []byte(text)}); err != nil {
		p.t.Fatalf("%s: %v", p, err)
	}
}

// CloseInput ends the program's standard input.
func (p *Process) CloseInput() { p.Input("") }

// LoadModule loads a kernel module, with the parameters, after all that it
// needs.
func (g *Guest) LoadModule(name string, parameters ...string) {
	g.t.Helper()
	files, err := g.Kernel.moduleFiles(name)
	if err != nil {
		g.t.Fatal(err)
	}
	for i, file := range files {
		b, err := g.Kernel.readModule(file)
		if err != nil {
			g.t.Fatal(err)
		}
		passed := filepath.Join(g.Dir, ".module")
		if err := os.WriteFile(passed, b, 0o644); err != nil {
			g.t.Fatal(err)
		}
		args := []string{passed}
		if i == len(files)-1 {
			args = append(args, parameters...)
		}
		err = g.order(wire.Request{Op: wire.OpModule, Args: args})
		os.Remove(passed)
		if err != nil {
			g.t.Fatalf("load module %s for %s: %v", file, name, err)
		}
	}
}
