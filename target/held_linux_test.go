package target

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"procdump/internal/sys/ptrace"
)

// launchHeld starts a stand-in that ends with the test at the latest.
func launchHeld(t *testing.T, program string, args ...string) *Held {
	t.Helper()
	h, err := LaunchHeld(program, args)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		h.Abandon()
		syscall.Kill(-h.PID, syscall.SIGKILL)
		<-h.Done()
	})
	return h
}

func TestHeldWaits(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ran")
	h := launchHeld(t, "sh", "-c", "echo $0 $1 >"+file+"; exec sleep 1000", "a b", "c")
	// It waits for its gate: a stand-in that did not would be idle in sleep.
	eventually(t, "the stand-in's rest", func() bool { return Proc.idle(h.PID) })
	if exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", h.PID)); !strings.Contains(exe, "target") {
		t.Errorf("the stand-in is %s", exe)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("the program has run")
	}
	if err := h.Release(); err != nil {
		t.Fatal(err)
	}
	if err := h.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the program's work", func() bool { b, _ := os.ReadFile(file); return string(b) == "a b c\n" })
	eventually(t, "sleep", func() bool { return get(t, h.PID).Name == "sleep" })
	if p := get(t, h.PID); p.PGID != h.PID {
		t.Errorf("process group %d, want %d", p.PGID, h.PID)
	}
	syscall.Kill(h.PID, syscall.SIGTERM)
	<-h.Done()
	expectError(t, h.Err(), ErrEnded, "sh", "killed by signal 15")
}

// TestHeldIsAsLaunched compares what a program finds with what it finds when
// it is launched plainly.
func TestHeldIsAsLaunched(t *testing.T) {
	dir := t.TempDir()
	// A descriptor that procdump itself has inherited reaches the program.
	inherited, err := os.Create(filepath.Join(dir, "inherited"))
	if err != nil {
		t.Fatal(err)
	}
	defer inherited.Close()
	if fd, err := syscall.Dup(int(inherited.Fd())); err == nil {
		defer syscall.Close(fd)
	}
	signal.Ignore(syscall.SIGUSR2, syscall.SIGPIPE)
	defer signal.Reset(syscall.SIGUSR2, syscall.SIGPIPE)
	script := `{ env | grep -v '^_='; cat /proc/self/limits; find /proc/$$/fd -type l -printf '%f %l\n'
		grep 'Sig[BIC]' /proc/self/status; cut -d' ' -f4,6 /proc/$$/stat; pwd; echo "$@"; tr '\0' ' ' </proc/$$/cmdline; } >`
	run := func(name string, start func(string, []string) (*Child, error)) string {
		out := filepath.Join(dir, name)
		c, err := start("sh", []string{"-c", script + out, "zero", "", "two words"})
		if err != nil {
			t.Fatal(err)
		}
		<-c.Done()
		expectError(t, c.Err(), ErrEnded, "exit status 0")
		b, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		return strings.NewReplacer(out, "OUT", fmt.Sprintf("/%d/", c.PID), "/PID/").Replace(string(b))
	}
	plain := run("plain", Launch)
	held := run("held", func(program string, args []string) (*Child, error) {
		h, err := LaunchHeld(program, args)
		if err != nil {
			return nil, err
		}
		return h.Child, h.Release()
	})
	if plain != held {
		t.Errorf("launched plainly:\n%s\nheld first:\n%s", plain, held)
	}
	// SIGUSR2 and SIGPIPE are bits 11 and 12; what else is ignored is ignored
	// where this test was started.
	for _, want := range []string{"inherited", "Max open files", "SigIgn:\t[0-9a-f]{12}[13579bdf][89a-f]", "two words"} {
		if !regexp.MustCompile(want).MatchString(plain) {
			t.Errorf("%q is not in\n%s", want, plain)
		}
	}
}

func TestHeldErrors(t *testing.T) {
	t.Setenv("PATH", "/usr/bin:/bin")
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if _, err := LaunchHeld("no-such-program", nil); !errors.Is(err, ErrLaunch) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no such program: %v", err)
	}
	for path, words := range map[string][]string{
		write("noformat", "echo\n"):               {"not a program", "launch its interpreter"},
		write("noshell", "#!/no/such/shell -x\n"): {"interpreter /no/such/shell does not exist"},
	} {
		_, plain := Launch(path, nil)
		h := launchHeld(t, path)
		err := h.Release()
		expectError(t, err, ErrLaunch, words...)
		if plain == nil || err.Error() != plain.Error() {
			t.Errorf("%v; launched plainly: %v", err, plain)
		}
		<-h.Done()
		expectError(t, h.Err(), ErrEnded, "exit status 127")
	}
}

func TestHeldAbandoned(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ran")
	h := launchHeld(t, "touch", file)
	h.Abandon()
	<-h.Done()
	expectError(t, h.Err(), ErrEnded, "exit status 126")
	if err := h.Release(); !errors.Is(err, ErrLaunch) {
		t.Errorf("release after that: %v", err)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("the program has run")
	}
	killed := launchHeld(t, "touch", file)
	syscall.Kill(killed.PID, syscall.SIGKILL)
	<-killed.Done()
	expectError(t, killed.Release(), ErrLaunch, "has ended", "killed by signal 9")
}

// TestHeldDiesWithProcdump kills procdump before the release.
func TestHeldDiesWithProcdump(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ran")
	v := start(t, "held", func(c *exec.Cmd) { c.Args = append(c.Args, "/bin/touch", file) })
	pid := v.numbers(t)[0]
	if _, ok := Proc.stat(pid); !ok {
		t.Fatal("there is no stand-in")
	}
	v.Process.Kill()
	eventually(t, "the stand-in's end", func() bool { s, ok := Proc.stat(pid); return !ok || s.finished })
	if _, err := os.Stat(file); err == nil {
		t.Error("the program has run")
	}
}

// TestHeldTraced stops the program at its first instruction.
func TestHeldTraced(t *testing.T) {
	h := launchHeld(t, "sleep", "1000")
	type result struct {
		exe string
		err error
	}
	seized, done := make(chan error), make(chan result, 1)
	go func() {
		runtime.LockOSThread() // not unlocked: the thread's end detaches
		tids, err := numbers(Proc.of(h.PID, "task"))
		for _, tid := range tids {
			err = errors.Join(err, ptrace.SeizeWith(tid, ptrace.TraceExec|ptrace.TraceClone))
		}
		seized <- err
		var w ptrace.Waiter
		for err == nil {
			c, werr := w.Next()
			switch {
			case werr == syscall.EINTR:
			case werr != nil:
				err = werr
			case c.Ended:
				ptrace.Reap(c.TID)
			case c.Event() == ptrace.EventExec:
				exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", c.TID))
				done <- result{exe, err}
				return
			case c.Event() != 0:
				err = ptrace.Cont(c.TID, 0)
			default:
				err = ptrace.Cont(c.TID, c.Signal())
			}
		}
		done <- result{err: err}
	}()
	if err := <-seized; err != nil {
		t.Fatal(err)
	}
	if err := h.Release(); err != nil {
		t.Fatal(err)
	}
	r := <-done
	if want, _ := filepath.EvalSymlinks(h.Program); r.err != nil || r.exe != want {
		t.Errorf("executed %s, want %s, %v", r.exe, want, r.err)
	}
	if err := h.Ready(t.Context()); err != nil {
		t.Error(err)
	}
}

func heldHelper(args []string) error {
	h, err := LaunchHeld(args[0], args[1:])
	if err != nil {
		return err
	}
	fmt.Println("ready", h.PID)
	select {}
}
