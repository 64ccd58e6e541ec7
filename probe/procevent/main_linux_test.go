package procevent

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"procdump/victims/need"
)

// The test program runs itself in other circumstances: as what is named here.
const roleVariable = "PROCEVENT_TEST_ROLE"

func TestMain(m *testing.M) {
	if os.Getenv(roleVariable) == "watch" {
		if err := watch(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// watch opens a source, starts a program, and writes how it was noticed.
func watch() error {
	s, err := Open(Options{})
	if err != nil {
		return err
	}
	defer s.Close()
	c := exec.Command("/bin/sleep", "1")
	if err := c.Start(); err != nil {
		return err
	}
	defer c.Process.Kill()
	timeout := time.After(20 * time.Second)
	for {
		select {
		case e := <-s.Events():
			if e.Kind == Exec && e.PID == c.Process.Pid {
				fmt.Println(s.Method())
				return nil
			}
		case <-timeout:
			return fmt.Errorf("not noticed by %s", s.Method())
		}
	}
}

// connector opens a source that must not poll.
func connector(t *testing.T, o Options) *Source {
	t.Helper()
	s := open(t, o)
	if s.conn == nil {
		need.Missing(t, "process connector", s.Method())
	}
	return s
}

func open(t *testing.T, o Options) *Source {
	t.Helper()
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// next waits for an event that is wanted.
func next(t *testing.T, s *Source, what string, wanted func(Event) bool) Event {
	t.Helper()
	timeout := time.After(30 * time.Second)
	for {
		select {
		case e, ok := <-s.Events():
			if !ok {
				t.Fatalf("%s: channel closed", what)
			}
			if wanted(e) {
				return e
			}
		case <-timeout:
			t.Fatalf("%s: not seen within 30 s", what)
		}
	}
}

// never makes sure that no event is wanted of those that come before that of a
// process started now.
func never(t *testing.T, s *Source, what string, wanted func(Event) bool) {
	t.Helper()
	c := exec.Command("sleep", "60")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	next(t, s, "exec of a marker", func(e Event) bool {
		if wanted(e) {
			t.Errorf("%s: %+v", what, e)
		}
		return e.Kind == Exec && e.PID == c.Process.Pid
	})
	c.Process.Kill()
	c.Wait()
}

// program is one that reads lines.
type program struct {
	*exec.Cmd
	in io.WriteCloser
}

func (p *program) line(t *testing.T) {
	t.Helper()
	if _, err := io.WriteString(p.in, "\n"); err != nil {
		t.Fatal(err)
	}
}

// threads runs testdata/threads.c.
func threads(t *testing.T, args ...string) *program {
	t.Helper()
	gcc := need.Tool(t, "gcc")
	exe := filepath.Join(t.TempDir(), "threads")
	if out, err := exec.Command(gcc, "-O1", "-Wall", "-pthread", "-o", exe, "testdata/threads.c").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	c := exec.Command(exe, args...)
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	if text, err := bufio.NewReader(out).ReadString('\n'); strings.TrimSpace(text) != "ready" {
		t.Fatalf("%q, %v", text, err)
	}
	return &program{c, in}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 30 s", what)
		}
	}
}

// descriptors counts this process's open files.
func descriptors(t *testing.T) int {
	t.Helper()
	f, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(f)
}

func wait(t *testing.T, c *exec.Cmd) syscall.WaitStatus {
	t.Helper()
	c.Wait()
	return c.ProcessState.Sys().(syscall.WaitStatus)
}
