package target

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// launch launches a program that ends with the test at the latest.
func launch(t *testing.T, program string, args ...string) *Child {
	t.Helper()
	c, err := Launch(program, args)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		syscall.Kill(-c.PID, syscall.SIGKILL)
		<-c.Done()
	})
	return c
}

func TestLaunchReady(t *testing.T) {
	c := launch(t, "sleep", "1000")
	if err := c.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	p := get(t, c.PID)
	if p.State != 'S' || p.PGID != c.PID || p.Args[0] != "sleep" || p.Args[1] != "1000" || c.Err() != nil {
		t.Errorf("process: %+v, %v", p, c.Err())
	}
	syscall.Kill(c.PID, syscall.SIGTERM)
	<-c.Done()
	expectError(t, c.Err(), ErrEnded, "sleep", "killed by signal 15")
	if _, ok := Proc.stat(c.PID); ok {
		t.Error("a zombie is left")
	}
}

func TestLaunchBusy(t *testing.T) {
	c := launch(t, "sh", "-c", "while :; do :; done")
	begin := time.Now()
	if err := c.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	// It never blocks: only the limit can have let it pass.
	if time.Since(begin) < 900*time.Millisecond {
		t.Error("ready although it never blocked")
	}
}

func TestLaunchEnds(t *testing.T) {
	expectError(t, launch(t, "sh", "-c", "exit 7").Ready(t.Context()), ErrEnded, "exit status 7")
	expectError(t, launch(t, "sh", "-c", "kill -SEGV $$").Ready(t.Context()), ErrEnded, "killed by signal 11")
}

func TestLaunchCancelledWait(t *testing.T) {
	c := launch(t, "sh", "-c", "while :; do :; done")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Ready(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if c.Err() != nil {
		t.Error("the program was ended")
	}
}

func TestLaunchErrors(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir+":/bin")
	t.Chdir(dir)
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	elf, err := os.ReadFile("/bin/sleep")
	if err != nil {
		t.Fatal(err)
	}
	foreign := slices.Clone(elf)
	foreign[18], foreign[19] = 0xf7, 0 // e_machine: EM_BPF, which nothing runs
	write("plain", "echo\n", 0o644)
	write("noformat", "echo\n", 0o755)
	write("empty", "", 0o755)
	write("foreign", string(foreign), 0o755)
	write("noshell", "#!/no/such/shell -x\n", 0o755)
	write("dos", "#!/bin/sh\r\nexit\r\n", 0o755)
	if err := os.MkdirAll(filepath.Join(dir, "folder", "below"), 0o755); err != nil {
		t.Fatal(err)
	}
	write("folder/here", "#!/bin/sh\n", 0o755)
	for _, tt := range []struct {
		program string
		is      error
		words   []string
	}{
		{"", nil, []string{"without a name"}},
		{"no-such-program", os.ErrNotExist, []string{"no-such-program: not found in PATH", "spelling"}},
		{"./no-such", os.ErrNotExist, []string{"./no-such: no such file"}},
		{"./plain/x", os.ErrNotExist, []string{"no such file"}},
		{"./folder", syscall.EISDIR, []string{"it is a folder"}},
		{"folder", syscall.EISDIR, []string{"it is a folder"}},
		{"plain", os.ErrPermission, []string{"not executable", "chmod +x"}},
		{"./plain", os.ErrPermission, []string{"not executable", "chmod +x"}},
		{"noformat", syscall.ENOEXEC, []string{"not a program", "launch its interpreter"}},
		{"empty", syscall.ENOEXEC, []string{"not a program"}},
		{"foreign", syscall.ENOEXEC, []string{"made for EM_BPF", "this machine is"}},
		{"noshell", syscall.ENOENT, []string{"interpreter /no/such/shell does not exist"}},
		{"dos", syscall.ENOENT, []string{"Windows line ends"}},
		{"/dev/null", nil, []string{"not a regular file"}},
	} {
		c, err := Launch(tt.program, nil)
		if c != nil {
			t.Errorf("%s: launched", tt.program)
			continue
		}
		expectError(t, err, ErrLaunch, tt.words...)
		if tt.is != nil && !errors.Is(err, tt.is) {
			t.Errorf("%s: %v is not %v", tt.program, err, tt.is)
		}
	}
	t.Chdir(filepath.Join(dir, "folder"))
	_, err = Launch("here", nil)
	expectError(t, err, ErrLaunch, "./here")
}

// Tracing a launched program must see every stop: the goroutine that waits for
// its end must not take them away.
func TestLaunchTraced(t *testing.T) {
	c := launch(t, "sleep", "1000")
	if err := c.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- stopOften(c.PID) }()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("a stop was lost")
	}
}

// Ends of launched programs while others are traced in the same process.
func TestLaunchMany(t *testing.T) {
	for i := range 20 {
		c := launch(t, "sh", "-c", fmt.Sprintf("exit %d", i))
		<-c.Done()
		expectError(t, c.Err(), ErrEnded, fmt.Sprintf("exit status %d", i))
	}
}

// The program survives procdump, and Ctrl-C does not reach it.
func TestLaunchOutlives(t *testing.T) {
	out, err := runHelper(t, "launch", "/bin/sleep", "1000")
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Sscan(out, &pid); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	defer syscall.Kill(pid, syscall.SIGKILL)
	p := get(t, pid)
	if p.Zombie || p.PGID != pid {
		t.Errorf("process: %+v", p)
	}
}

func runHelper(t *testing.T, mode string, args ...string) (string, error) {
	t.Helper()
	c := exec.Command(program(t, "helper"), args...)
	c.Env = append(os.Environ(), helperVariable+"="+mode)
	var b strings.Builder
	file, err := os.CreateTemp(t.TempDir(), "out")
	if err != nil {
		return "", err
	}
	defer file.Close()
	c.Stdout, c.Stderr = file, file // a file: a pipe would stay open in the program
	err = c.Run()
	text, _ := os.ReadFile(file.Name())
	b.Write(text)
	return b.String(), err
}

func TestIdle(t *testing.T) {
	for _, tt := range []struct {
		states string // of the first thread, then of others
		want   bool
	}{
		{"S", true}, {"T", true}, {"SS", true}, {"SD", true}, {"ST", true},
		{"R", false}, {"D", false}, {"SR", false}, {"Z", false}, {"", false},
	} {
		f := newFixture(t)
		for i, state := range tt.states {
			b := fmt.Sprintf("%d (x) %c 1 70 70 0 -1 0 1 2 3 4 150 50 0 0 20 0 1 0 1000 4096 10\n", 100+i, state)
			f.write(fmt.Sprintf("proc/100/task/%d/stat", 100+i), b)
		}
		if got := f.idle(100); got != tt.want {
			t.Errorf("states %q: idle is %v", tt.states, got)
		}
	}
}
