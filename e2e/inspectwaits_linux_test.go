package e2e

import (
	"bufio"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"procdump/victims"
	"procdump/victims/need"
)

// TestInspectWaits has threads wait for locks, files and each other, and reads
// what inspect says of it: the program has told which thread waits for what.
func TestInspectWaits(t *testing.T) {
	need.Root(t)
	need.Tool(t, "g++")
	exe := filepath.Join(t.TempDir(), "waiting")
	command(t, "g++", "-std=c++17", "-Wall", "-Werror", "-g", "-O2", "-pthread", "-o", exe, "testdata/waiting.cc")
	cmd := exec.Command(exe)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = victims.StartCommand(cmd)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	pid := cmd.Process.Pid
	silent := time.AfterFunc(victims.Timeout, func() { cmd.Process.Kill() }) // then it tells no more

	// What each thread must be said to wait for, and the three that wait for ever.
	want, circle, lone := map[int]string{}, []int(nil), 0
	pipe := 0
	for s := bufio.NewScanner(out); s.Scan(); {
		f := strings.Fields(s.Text())
		tid, _ := strconv.Atoi(f[1])
		if f[0] == "ready" {
			pipe, _ = strconv.Atoi(f[2])
			break
		}
		switch addr := f[2]; f[0] {
		case "circle":
			circle = append(circle, tid)
			want[tid] = "mutex " + addr + ", held by thread "
		case "self":
			lone = tid
			want[tid] = fmt.Sprintf("mutex %s, held by thread %d", addr, tid)
		case "main":
			want[tid] = fmt.Sprintf("mutex %s, held by thread %d", addr, pid)
		case "rwlock":
			want[tid] = fmt.Sprintf("rwlock %s, held by thread %d", addr, pid)
		case "readers":
			want[tid] = fmt.Sprintf("rwlock %s, held by a reader", addr)
		case "semaphore":
			want[tid] = "semaphore " + addr
		case "condition":
			want[tid] = "a condition variable (futex 0x"
		case "join":
			want[tid] = "the end of thread "
		case "read":
			want[tid] = "read of fd "
		case "poll":
			want[tid] = "poll of fd "
		case "sleep":
			want[tid] = "clock_nanosleep of " // less, when it is made again
		}
	}
	silent.Stop()
	if pipe == 0 || len(circle) != 2 || len(want) != 17 {
		t.Fatalf("the program told of %d threads", len(want))
	}
	// misses are what a report has wrong.
	misses := func(r *inspected) (all []string) {
		seen := 0
		for _, g := range r.Groups {
			for _, th := range g.Threads {
				if want[th.TID] == "" {
					continue
				}
				seen++
				w := th.Wait
				if w == nil || !strings.HasPrefix(w.Text, want[th.TID]) {
					all = append(all, fmt.Sprintf("thread %d waits for %+v, want %q", th.TID, w, want[th.TID]))
				} else if w.Deadlock != (th.TID == lone || th.TID == circle[0] || th.TID == circle[1]) {
					all = append(all, fmt.Sprintf("thread %d in a deadlock: %v", th.TID, w.Deadlock))
				}
			}
		}
		if seen != len(want) || len(r.Deadlocks) != 2 || !strings.Contains(r.Reason, "deadlock: threads ") {
			all = append(all, fmt.Sprintf("%d of %d threads, %q, %+v", seen, len(want), r.Reason, r.Deadlocks))
		}
		return all
	}
	// The last threads may still be on their way.
	wrong := misses(inspectReport(t, strconv.Itoa(pid)))
	for deadline := time.Now().Add(victims.Timeout); len(wrong) > 0 && time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		wrong = misses(inspectReport(t, strconv.Itoa(pid)))
	}
	if len(wrong) > 0 {
		t.Fatalf("the process: %s", strings.Join(wrong, "\n"))
	}
	for _, d := range []spec{{"-ma", "elf"}, {"-mp", "elf"}, {"-ma", "minidump"}} {
		if wrong := misses(inspectReport(t, dump(t, pid, d))); len(wrong) > 0 {
			t.Errorf("%v: %s", d, strings.Join(wrong, "\n"))
		}
	}
}
