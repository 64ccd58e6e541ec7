package cli

import (
	"context"
	"errors"
	"math/rand/v2"
	"os/exec"
	"testing"
	"time"

	"procdump/image"
	"procdump/inspect"
	"procdump/interp"
	"procdump/live/linux"
	"procdump/snapshot"
	"procdump/victims"
	"procdump/victims/need"
)

// damagedMemory is memory of which bytes are others.
type damagedMemory struct {
	snapshot.Memory
	random *rand.Rand
	one    int // of so many reads one is damaged
}

func (d damagedMemory) ReadMemory(p []byte, addr uint64) (int, error) {
	n, err := d.Memory.ReadMemory(p, addr)
	for range n / 64 {
		if d.random.IntN(d.one) == 0 {
			p[d.random.IntN(n)] = byte(d.random.Uint32())
		}
	}
	return n, err
}

// waiting starts a program and waits until it has written something; then it
// waits for its input.
func waiting(t *testing.T, name string, args ...string) (pid int) {
	t.Helper()
	cmd := exec.Command(need.Tool(t, name), args...)
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid
}

// TestInspectScriptsDamaged looks for the functions of scripts in memory that is
// damaged, more and more: there is a report, in time.
func TestInspectScriptsDamaged(t *testing.T) {
	for _, name := range []string{"python", "node", "ruby", "perl"} {
		var pid int
		switch name {
		case "ruby":
			pid = waiting(t, "ruby", "-e", "def deep(n) = n > 0 ? deep(n - 1) : [1].each { $stdout.syswrite('r'); $stdin.read(1) }\ndeep(200)")
		case "perl":
			pid = waiting(t, "perl", "-e", "sub deep { $_[0] ? deep($_[0] - 1) : eval { syswrite STDOUT, 'r'; sysread STDIN, $_, 1 } } no warnings; deep(200)")
		default:
			pid = victims.Start(t, name).PID
		}
		l, err := linux.Open(pid, linux.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		s, err := l.Stop(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		defer s.Resume()
		whole := 0
		for i := range uint64(12) {
			p := *s.Process
			p.Memory = damagedMemory{p.Memory, rand.New(rand.NewPCG(i, 1)), 1 << (2 + i*2)}
			begin := time.Now()
			set := image.NewSet(&p, image.Options{})
			w, err := interp.New(&p, set)
			if errors.Is(err, errors.ErrUnsupported) {
				t.Skip(err)
			}
			if err == nil {
				w.Close()
			}
			r := inspect.Collect(&p, set, nil).Report()
			for _, g := range r.Groups {
				for _, f := range g.Frames {
					if f.Language != "" {
						whole++
					}
				}
			}
			set.Close()
			if took := time.Since(begin); took > time.Minute {
				t.Errorf("%s, %d: it took %v", name, i, took)
			}
		}
		if whole == 0 {
			t.Errorf("%s: no function of a script was found in any memory", name)
		}
	}
}
