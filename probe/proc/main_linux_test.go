package proc

import (
	"bufio"
	"errors"
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

	"procdump/victims"
	"procdump/victims/need"
)

const all = CPU | Commit | Threads | Files

// program is the compiled victim.
var program = sync.OnceValues(func() (string, error) {
	dir := victims.CacheDir("probe-proc")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	out := filepath.Join(dir, fmt.Sprintf("victim.%d", os.Getpid()))
	if msg, err := exec.Command("gcc", "-O1", "-Wall", "-Werror", "-pthread", "-o", out, "testdata/victim.c").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build victim: %w\n%s", err, msg)
	}
	return out, nil
})

// As a helper the test binary samples the process of this PID.
const helperVariable = "PROC_HELPER"

func TestMain(m *testing.M) {
	if pid, err := strconv.Atoi(os.Getenv(helperVariable)); err == nil {
		p, err := Root("").Open(pid, all)
		if err != nil {
			fmt.Println(err)
			return
		}
		var s Sample
		err = p.Sample(time.Now(), &s)
		fmt.Println(s.Threads, s.Files, s.Commit, p.clock, err)
		return
	}
	code := m.Run()
	os.Remove(filepath.Join(victims.CacheDir("probe-proc"), fmt.Sprintf("victim.%d", os.Getpid())))
	os.Exit(code)
}

// victim is a running victim.c.
type victim struct {
	t     testing.TB
	pid   int
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines *bufio.Reader
}

// startVictim runs a victim until the test ends; before are arguments of a
// program to run it with.
func startVictim(t testing.TB, before ...string) *victim {
	t.Helper()
	need.Tool(t, "gcc")
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	args := append(before, path)
	v := &victim{t: t, cmd: exec.Command(args[0], args[1:]...)}
	v.cmd.Stderr = os.Stderr
	if v.in, err = v.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := v.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	v.lines = bufio.NewReaderSize(out, 1<<16)
	// The victim is killed when the thread that started it ends.
	runtime.LockOSThread()
	t.Cleanup(func() {
		v.end()
		runtime.UnlockOSThread()
	})
	if err := v.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	v.pid = v.cmd.Process.Pid
	v.answer("ready")
	return v
}

func (v *victim) answer(want string) []int {
	v.t.Helper()
	line, err := v.lines.ReadString('\n')
	fields := strings.Fields(line)
	if err != nil || len(fields) == 0 || fields[len(fields)-1] != want {
		v.t.Fatalf("victim answers %q, %v, want %q", line, err, want)
	}
	var pids []int
	for _, f := range fields[:len(fields)-1] {
		pid, err := strconv.Atoi(f)
		if err != nil {
			v.t.Fatalf("victim answers %q", line)
		}
		pids = append(pids, pid)
	}
	return pids
}

// do gives a command and returns the PIDs of the answer.
func (v *victim) do(command string) []int {
	v.t.Helper()
	if _, err := fmt.Fprintln(v.in, command); err != nil {
		v.t.Fatal(err)
	}
	return v.answer("ok")
}

// end lets the victim end, and collects it.
func (v *victim) end() {
	v.in.Close()
	v.cmd.Process.Kill()
	v.cmd.Wait()
}

// watch opens a process until the test ends.
func watch(t testing.TB, r Root, pid int, want Want) *Process {
	t.Helper()
	p, err := r.Open(pid, want)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// take takes a sample that must succeed.
func take(t testing.TB, p *Process) (s Sample) {
	t.Helper()
	if err := p.Sample(time.Now(), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// eventually waits for what another process is about to do.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s does not come true", what)
		}
	}
}

// isGone waits until the process is gone and nothing else is said of it.
func isGone(t testing.TB, p *Process) {
	t.Helper()
	eventually(t, "process is gone", func() bool {
		var s Sample
		err := p.Sample(time.Now(), &s)
		if err != nil && !errors.Is(err, ErrGone) {
			t.Fatal(err)
		}
		return err != nil
	})
}

// setLimit changes RLIMIT_NOFILE until the test ends.
func setLimit(t testing.TB, n uint64) {
	t.Helper()
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	if n > old.Max {
		t.Fatalf("limit of open files is %d, the test wants %d", old.Max, n)
	}
	// prlimit(2), not Setrlimit: that would change what children get, too.
	t.Cleanup(func() { syscall.Setrlimit(syscall.RLIMIT_NOFILE, &old) })
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: n, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
}
