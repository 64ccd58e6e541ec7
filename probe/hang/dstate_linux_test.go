package hang

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"procdump/victims"
)

func openDState(t *testing.T, proc string, pid int) *DState {
	t.Helper()
	d, err := OpenDState(proc, pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func expectState(t *testing.T, c Checker, now time.Time, want State, words ...string) {
	t.Helper()
	got, reason, err := c.Check(now)
	if got != want || err != nil {
		t.Errorf("at %s: %s (%s), %v, want %s", now.Format("05.000"), got, reason, err, want)
	}
	for _, w := range words {
		if !strings.Contains(reason, w) {
			t.Errorf("reason %q does not hold %q", reason, w)
		}
	}
}

// TestVforkParent: who has called vfork sleeps in state D until the child goes
// on.
func TestVforkParent(t *testing.T) {
	v := victims.Start(t, "vforker")
	d := openDState(t, "", v.PID)
	now := time.Now()
	expectState(t, d, now, Silent, "thread "+v.Ready["tid"], "state D", "for 0 s")
	expectState(t, d, now.Add(Limit-time.Millisecond), Silent)
	words := []string{"thread " + v.Ready["tid"] + " (vforker)", "for 5 s"}
	// The kernel names the function only if it was built to (CONFIG_KALLSYMS).
	if where, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/wchan", v.PID, v.Ready["tid"])); err == nil && string(where) != "0" {
		words = append(words, "in "+string(where))
	}
	expectState(t, d, now.Add(Limit), Hung, words...)
	d.Forget()
	expectState(t, d, now.Add(Limit), Silent, "for 0 s")
}

func TestAwake(t *testing.T) {
	v := victims.Start(t, "threads")
	d := openDState(t, "", v.PID)
	expectState(t, d, time.Now(), Answering)
	expectState(t, d, time.Now().Add(time.Hour), Answering)
}

func TestDStateProcessEnds(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	d := openDState(t, "", cmd.Process.Pid)
	expectState(t, d, time.Now(), Answering)
	cmd.Process.Kill()
	cmd.Wait()
	if s, _, err := d.Check(time.Now()); !errors.Is(err, ErrGone) {
		t.Errorf("ended: %s, %v", s, err)
	}
	if _, err := OpenDState("", cmd.Process.Pid); !errors.Is(err, ErrGone) {
		t.Errorf("opened after the end: %v", err)
	}
}

// threads writes a process in a fixture; each thread is "STATE SWITCHES WCHAN".
func writeThreads(t *testing.T, proc string, pid int, threads map[int]string) {
	t.Helper()
	dir := filepath.Join(proc, fmt.Sprint(pid))
	if err := os.RemoveAll(filepath.Join(dir, "task")); err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for tid, text := range threads {
		f := strings.Fields(text)
		stat := fmt.Sprintf("%d (a) (b) %s 1 2 3 0 -1 0 0 0 0 0 0 0 0 0 20 0 %d 0 100\n", tid, f[0], len(threads))
		task := fmt.Sprintf("task/%d/", tid)
		write(task+"stat", stat)
		write(task+"comm", fmt.Sprintf("t%d\n", tid))
		write(task+"status", "Name:\tx\nvoluntary_ctxt_switches:\t"+f[1]+"\nnonvoluntary_ctxt_switches:\t2\n")
		write(task+"wchan", f[2])
		if tid == pid {
			write("stat", stat)
		}
	}
}

func TestDStateThreads(t *testing.T) {
	proc := t.TempDir()
	at := func(s float64) time.Time { return time.Unix(1000, 0).Add(time.Duration(s * float64(time.Second))) }
	writeThreads(t, proc, 50, map[int]string{50: "S 1 x", 51: "D 7 rpc_wait", 52: "R 1 0"})
	d := openDState(t, proc, 50)
	expectState(t, d, at(0), Silent, "thread 51 (t51)", "in rpc_wait")
	writeThreads(t, proc, 50, map[int]string{50: "D 1 x", 51: "D 7 rpc_wait", 52: "D 1 0"})
	expectState(t, d, at(4), Silent, "thread 51")
	expectState(t, d, at(5), Hung, "thread 51", "for 5 s")
	// It was switched to and sleeps again: another wait, as of a busy disk.
	writeThreads(t, proc, 50, map[int]string{50: "D 2 x", 51: "D 8 rpc_wait", 52: "D 2 0"})
	expectState(t, d, at(6), Silent, "for 0 s")
	writeThreads(t, proc, 50, map[int]string{50: "S 3 x", 51: "S 9 x", 52: "D 2 0"})
	expectState(t, d, at(10), Silent, "thread 52 (t52) in uninterruptible sleep (state D) for 4 s")
	writeThreads(t, proc, 50, map[int]string{50: "S 3 x", 51: "S 9 x"})
	expectState(t, d, at(11), Answering)
	// A new thread with an old TID begins anew.
	writeThreads(t, proc, 50, map[int]string{50: "S 3 x", 52: "D 2 0"})
	expectState(t, d, at(12), Silent, "for 0 s")
	// A single thread is seen without its folder, and frozen is not hung.
	writeThreads(t, proc, 50, map[int]string{50: "D 3 __refrigerator"})
	expectState(t, d, at(13), Answering)
	expectState(t, d, at(23), Answering)
	writeThreads(t, proc, 50, map[int]string{50: "D 3 io_schedule"})
	expectState(t, d, at(24), Silent)
	expectState(t, d, at(30), Hung, "thread 50", "for 6 s")
}
