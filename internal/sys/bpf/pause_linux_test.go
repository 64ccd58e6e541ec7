package bpf

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"procdump/victims/need"
)

const (
	// asFlood makes the test binary write as much as it can to its standard
	// output, from a program of several threads.
	asFlood = "BPF_TEST_AS_FLOOD"
	// asWatcher makes it watch the process with this number, and say when it
	// looks and when it does not.
	asWatcher = "BPF_TEST_AS_WATCHER"

	patience = 30 * time.Second
)

func writeForEver() {
	// Even if the tests may not: it must be a flood. A priority is a thread's.
	runtime.LockOSThread()
	if err := syscall.Setpriority(syscall.PRIO_PROCESS, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, "priority of the writer:", err)
	}
	for line := []byte("a line\n"); ; {
		if _, err := syscall.Write(1, line); err != nil {
			os.Exit(1)
		}
	}
}

func watchAndTell(pid int) error {
	w, err := OpenWrites()
	if err != nil {
		return err
	}
	if err := w.Watch(pid); err != nil {
		return err
	}
	go func() {
		var p Piece
		for w.Read(&p, time.Time{}) == nil {
		}
	}()
	fmt.Println("attached")
	for w.Missed() == 0 {
		time.Sleep(time.Millisecond)
	}
	fmt.Println("detached")
	select {}
}

// self starts the test binary with one more variable in its environment.
func self(t *testing.T, env string, stdout *os.File) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), env)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if stdout != nil {
		cmd.Stdout = stdout
	}
	return cmd
}

func startFlood(t *testing.T) int {
	t.Helper()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	cmd := self(t, asFlood+"=1", null)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return cmd.Process.Pid
}

// written is how many writes the kernel has counted of a process.
func written(t *testing.T, pid int) int64 {
	t.Helper()
	f := &flow{pid: pid}
	defer f.close()
	if !f.count() {
		t.Fatalf("process %d has ended, or is not counted", pid)
	}
	return f.calls
}

func wait(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
	}
}

// numbers are the numbers after a word in what the descriptors of a process are.
func numbers(t *testing.T, pid int, word string) (list []int) {
	t.Helper()
	infos, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range infos {
		b, _ := os.ReadFile(name)
		for line := range strings.Lines(string(b)) {
			if rest, ok := strings.CutPrefix(line, word+":"); ok {
				n, err := strconv.Atoi(strings.TrimSpace(rest))
				if err != nil {
					t.Fatal(err)
				}
				list = append(list, n)
			}
		}
	}
	return list
}

// TestKilledWatcher kills a watcher while its programs are attached, and while
// they are not: the kernel has none of them afterwards, and the process goes on.
func TestKilledWatcher(t *testing.T) {
	need.Root(t)
	w, err := OpenWrites()
	tried(t, err)
	counts := w.pauser.exits != nil
	w.Close()
	if !counts {
		need.Missing(t, "bpf", "this kernel does not count the writes of a process")
	}
	for _, when := range []string{"attached", "detached"} {
		t.Run(when, func(t *testing.T) {
			pid := startFlood(t)
			cmd := self(t, fmt.Sprint(asWatcher, "=", pid), nil)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer cmd.Wait()
			defer cmd.Process.Kill()
			defer time.AfterFunc(patience, func() { cmd.Process.Kill() }).Stop()
			for in := bufio.NewScanner(out); in.Scan() && in.Text() != when; {
			}
			progs := numbers(t, cmd.Process.Pid, "prog_id")
			if len(progs) == 0 {
				t.Fatal("the watcher has no programs")
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			cmd.Wait()
			wait(t, "a program is left", func() bool {
				for _, id := range progs {
					p, err := ebpf.NewProgramFromID(ebpf.ProgramID(id))
					if err == nil {
						p.Close()
					}
					if !errors.Is(err, os.ErrNotExist) {
						return false
					}
				}
				return true
			})
			before := written(t, pid)
			wait(t, "the process does not go on", func() bool { return written(t, pid) > before+10000 })
		})
	}
}

// TestThreadsInFlood: of a process with several threads it is known about how
// much was missed.
func TestThreadsInFlood(t *testing.T) {
	need.Root(t)
	w, err := OpenWrites()
	tried(t, err)
	defer w.Close()
	if w.pauser.exits == nil {
		need.Missing(t, "bpf", "this kernel does not count the writes of a process")
	}
	pid := startFlood(t)
	if err := w.Watch(pid); err != nil {
		t.Fatal(err)
	}
	before, begun, read := written(t, pid), w.Lost(), int64(0)
	var p Piece
	for deadline := time.Now().Add(patience); w.Missed() < 5_000_000; {
		if time.Now().After(deadline) {
			t.Fatalf("%d not looked at", w.Missed())
		}
		if w.Read(&p, time.Now().Add(10*time.Millisecond)) == nil {
			read++
		}
	}
	known := int64(w.Lost()-begun) + read
	all := written(t, pid) - before
	if known < all*8/10 || known > all*12/10 {
		t.Errorf("%d writes are known of, of %d", known, all)
	}
}

// TestFloods are the cases in which a process writes too much.
func TestFloods(t *testing.T) {
	l := &limiter{memory: make([]byte, accounts*accSize), drifts: true}
	begin := time.Unix(1000, 0)
	const monotonic = int64(5e9)
	f := &flow{pid: os.Getpid()}
	if !f.count() {
		need.Missing(t, "bpf", "this kernel does not count the writes of a process")
	}
	defer f.close()
	skipped, used := l.word(f.pid, accSkipped), l.word(f.pid, accUsed+8)
	writeTo := func(n int) { // this process does
		null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer null.Close()
		for range n {
			null.Write([]byte("x"))
		}
	}
	for _, step := range []struct {
		what   string
		after  time.Duration
		skips  uint64
		writes int
		used   int64
		want   bool
	}{
		{"not yet known", 0, 0, 0, monotonic, false},
		{"nothing skipped", 10 * time.Millisecond, 0, 0, monotonic, false},
		{"half-way", 20 * time.Millisecond, pauseSkips / 2, 0, monotonic, false},
		{"enough, but over", 30 * time.Millisecond, pauseSkips, 0, monotonic - 1e9, false},
		{"writes that the kernel does not count", 40 * time.Millisecond, pauseSkips, 0, monotonic, false},
		{"begins anew", 50 * time.Millisecond, pauseSkips, 0, monotonic, false},
		{"half-way again", 60 * time.Millisecond, pauseSkips * 3 / 2, 0, monotonic, false},
		{"counted by the kernel", 70 * time.Millisecond, pauseSkips * 2, pauseSkips / 2, monotonic, true},
		{"a second later", 2 * time.Second, pauseSkips * 2, 0, monotonic, false},
	} {
		skipped.Store(step.skips)
		used.Store(uint64(step.used))
		writeTo(step.writes)
		if got := f.floods(l, begin.Add(step.after), monotonic); got != step.want {
			t.Errorf("%s: %v", step.what, got)
		}
	}
}
