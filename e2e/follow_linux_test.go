package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"procdump/victims"
	"procdump/victims/need"
)

// namedCopy is a copy of the victim "trouble" with a name that no other test's
// processes have.
func namedCopy(t testing.TB, name string) string {
	t.Helper()
	need.Root(t)
	v := victims.Start(t, "trouble")
	exe := filepath.Join(t.TempDir(), name)
	copyFile(t, v.Exe, exe)
	return exe
}

// TestBriefProcesses runs many processes of one name that live for 5 ms. Those
// that crash are dumped, and each ends as it would have.
func TestBriefProcesses(t *testing.T) {
	exe := namedCopy(t, "brief")
	processes, crashers := 200, 20
	if need.Long() {
		processes, crashers = 1000, 100
	}
	w := watch(t, "-w", "-all", "-e", "-ntotal", "1000", "brief", "FOLDER")
	w.await("note", 1)
	var wg sync.WaitGroup
	var next, wrong atomic.Int64
	for range 4 {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(processes); i = next.Add(1) - 1 {
				args, want := []string{"live", "5", "exit", strconv.Itoa(int(i % 100))}, int(i%100)
				if i%int64(processes/crashers) == 3 {
					args, want = []string{"live", "5", "crash", "null"}, -1
				}
				cmd := exec.Command(exe, args...)
				cmd.Dir = w.folder
				_ = cmd.Run()
				status := cmd.ProcessState.Sys().(syscall.WaitStatus)
				if want >= 0 && status.ExitStatus() != want || want < 0 && (!status.Signaled() || status.Signal() != syscall.SIGSEGV) {
					wrong.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if n := wrong.Load(); n > 0 {
		t.Errorf("%d of %d processes ended otherwise than they would have", n, processes)
	}
	wantCrashes(t, w, crashers)
}

// wantCrashes ends a procdump when all crashed processes have ended, and counts
// its dumps.
func wantCrashes(t *testing.T, w *watcher, crashers int) {
	t.Helper()
	// A process dies only when its dump is written: none is under way now.
	for deadline := time.Now().Add(5 * time.Second); len(w.events("complete")) < crashers && time.Now().Before(deadline); {
		time.Sleep(50 * time.Millisecond)
	}
	if code := w.stop(); code != 130 {
		t.Errorf("exit code %d after Ctrl-C", code)
	}
	for _, e := range w.events("trigger") {
		if !strings.Contains(e.Reason, "SIGSEGV.SEGV_MAPERR at 0x10") {
			t.Errorf("reason %q", e.Reason)
		}
	}
	if dumps := len(w.events("complete")); dumps != crashers {
		t.Errorf("%d dumps of %d crashes", dumps, crashers)
	}
}

// TestCrashAtOnce starts many processes together, which crash with their first
// instructions: more than there are processors to attach to them in time.
func TestCrashAtOnce(t *testing.T) {
	exe := namedCopy(t, "hasty")
	w := watch(t, "-w", "-all", "-e", "-ntotal", "1000", "hasty", "FOLDER")
	w.await("note", 1)
	var wg sync.WaitGroup
	const crashers = 100
	for range crashers {
		wg.Go(func() {
			cmd := exec.Command(exe, "crash", "null")
			cmd.Dir = w.folder
			_ = cmd.Run()
			if status := cmd.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != syscall.SIGSEGV {
				t.Errorf("one ended with %v", cmd.ProcessState)
			}
		})
	}
	wg.Wait()
	wantCrashes(t, w, crashers)
}

// TestOwnProcesses waits for what procdump itself and its keeper match, too:
// they are not watched. Another procdump is, but not its keeper.
func TestOwnProcesses(t *testing.T) {
	need.Root(t)
	own := filepath.Join(t.TempDir(), "own-procdump") // others have the usual name
	if err := os.Link(binary(t), own); err != nil {
		t.Fatal(err)
	}
	stop := func(w *watcher) {
		if code := w.stop(); code != 130 {
			t.Errorf("exit code %d", code)
		}
	}
	alone := watchWith(t, own, "-w", "-all", "-e", filepath.Base(own), "FOLDER")
	alone.await("note", 1)
	stop(alone)
	first := watchWith(t, own, "-w", "-all", "-e", "cmd:none-has-this-argument", "FOLDER")
	first.await("note", 1)
	second := watchWith(t, own, "-w", "-all", "-e", filepath.Base(own), "FOLDER")
	second.await("watching", 1)
	stop(second)
	stop(first)
	for _, w := range []*watcher{alone, first, second} {
		for _, e := range w.events("watching") {
			if w != second || e.PID != first.cmd.Process.Pid {
				t.Errorf("process %d is watched\n%s", e.PID, w.transcript())
			}
		}
	}
}

// TestWaitFromTheBeginning sees what a process that does not exist yet does
// first: the image that the dynamic linker maps, and its first line.
func TestWaitFromTheBeginning(t *testing.T) {
	need.Root(t)
	built, err := victims.Build("threads")
	if err != nil {
		t.Fatal(err)
	}
	exe := filepath.Join(t.TempDir(), "early")
	copyFile(t, built, exe)
	for _, c := range []struct{ rule, filter, reason string }{
		{"-e -ld", "libc.so.6", "Image mapped: "},
		{"-l", "ready threads=1", "Output (stdout): "},
		{"-e -ct", "", "Thread created: "},
	} {
		args := append(strings.Fields(c.rule), "-w", "-n", "1")
		if c.filter != "" {
			args = append(args, "-f", c.filter)
		}
		w := watch(t, append(args, "early", "FOLDER")...)
		w.await("note", 1)
		v := victims.StartSpec(t, victims.Spec{Name: "threads", Exe: exe, Args: []string{"1"}})
		if e := w.await("trigger", 1); !strings.HasPrefix(e.Reason, c.reason) || !strings.Contains(e.Reason, c.filter) {
			t.Errorf("%s: reason %q", c.rule, e.Reason)
		}
		if code := w.end(); code != 0 {
			t.Errorf("%s: exit code %d", c.rule, code)
		}
		wantAlive(t, v)
		v.Kill()
	}
}

// TestWait waits for a process that does not exist yet.
func TestWait(t *testing.T) {
	exe := namedCopy(t, "latecomer")
	w := watch(t, "-w", "-t", "latecomer", "FOLDER")
	w.await("note", 1)
	time.Sleep(500 * time.Millisecond)
	if err := exec.Command(exe, "live", "20", "exit", "3").Run(); err == nil || err.Error() != "exit status 3" {
		t.Errorf("it ended with %v", err)
	}
	if e := w.await("trigger", 1); !strings.Contains(e.Reason, "exit code 3") {
		t.Errorf("reason %q", e.Reason)
	}
	if code := w.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestTree watches a process that forks, and dumps its child.
func TestTree(t *testing.T) {
	v := victims.Start(t, "trouble")
	w := watch(t, "-pt", "-e", pidArg(v), "FOLDER")
	w.await("watching", 1)
	tell(t, v, "crash fork")
	answer := v.Next(t)
	e := w.await("complete", 1)
	if want := fmt.Sprintf("child pid=%d status=", e.PID); !strings.HasPrefix(answer, want) || e.PID == v.PID {
		t.Errorf("the victim says %q, the dump is of %d", answer, e.PID)
	}
	w.stop()
	v.Next(t)
	wantAlive(t, v)
}

// TestWithoutTree leaves the children of a process alone.
func TestWithoutTree(t *testing.T) {
	v := victims.Start(t, "trouble")
	w := watch(t, "-e", pidArg(v), "FOLDER")
	w.await("watching", 1)
	tell(t, v, "crash fork")
	if answer := v.Next(t); !strings.HasPrefix(answer, "child ") {
		t.Errorf("the victim says %q", answer)
	}
	v.Next(t)
	wantAnswer := v.Ask(t, "burn 1")
	if wantAnswer["state"] != "burn" {
		t.Errorf("the victim says %v", wantAnswer)
	}
	w.stop()
	if files := dumpsIn(t, w); len(files) != 0 {
		t.Errorf("dumps %v", files)
	}
}

// TestLaunchedUnderObservation dumps a program that crashes at once.
func TestLaunchedUnderObservation(t *testing.T) {
	need.Root(t)
	v := victims.Start(t, "trouble")
	w := watch(t, "-e", "-x", "FOLDER", v.Exe, "crash", "null")
	if e := w.await("trigger", 1); !strings.Contains(e.Reason, "SIGSEGV.SEGV_MAPERR at 0x10") {
		t.Errorf("reason %q", e.Reason)
	}
	if code := w.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if got := stateIn(t, v, dumpsIn(t, w)[0]); got != "crash null" {
		t.Errorf("state %q in the dump", got)
	}
}

// TestAfterExec dumps a crash of the program that the process has become.
func TestAfterExec(t *testing.T) {
	v := victims.Start(t, "trouble")
	w := watch(t, "-e", pidArg(v), "FOLDER")
	w.await("watching", 1)
	tell(t, v, "crash exec")
	if e := w.await("trigger", 1); !strings.Contains(e.Reason, "SIGSEGV.SEGV_MAPERR at 0x10") {
		t.Errorf("reason %q", e.Reason)
	}
	<-v.Exited()
	if code := w.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestKillAfterDump ends the process that was dumped.
func TestKillAfterDump(t *testing.T) {
	v := victims.Start(t, "trouble")
	w := watch(t, "-k", "-ml", "1000", "-s", "0", pidArg(v), "FOLDER")
	w.await("complete", 1)
	<-v.Exited()
	w.end()
}

// TestCountAndCooldown bounds the dumps of a process that is always over its limit.
func TestCountAndCooldown(t *testing.T) {
	v := victims.Start(t, "trouble")
	w := watch(t, "-n", "3", "-cooldown", "1", "-ml", "1000", "-s", "0", pidArg(v), "FOLDER")
	if code := w.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	all := w.events("trigger")
	if len(all) != 3 {
		t.Fatalf("%d triggers, want 3", len(all))
	}
	done := w.events("complete")
	for i := range all[1:] {
		if gap := all[i+1].Time.Sub(done[i].Time); gap < 900*time.Millisecond {
			t.Errorf("dump %d came %v after the one before", i+2, gap)
		}
	}
	wantAlive(t, v)
}

// TestGroup watches a process group until it is empty.
func TestGroup(t *testing.T) {
	need.Root(t)
	exe := namedCopy(t, "member")
	first := exec.Command(exe, "live", "3000")
	first.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	group := first.Process.Pid
	w := watch(t, "-t", "-pgid", strconv.Itoa(group), "FOLDER")
	w.await("watching", 1)
	second := exec.Command(exe, "live", "100", "exit", "5")
	second.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pgid: group}
	_ = second.Run()
	_ = first.Wait()
	if code := w.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if n := len(w.events("complete")); n != 2 {
		t.Errorf("%d dumps, want 2", n)
	}
}

// TestTracedMany ends a procdump in each way while it traces many processes:
// all of them go on.
func TestTracedMany(t *testing.T) {
	exe := namedCopy(t, "crowd")
	const n = 200
	var crowd []*victims.Victim
	for range n {
		crowd = append(crowd, victims.StartSpec(t, victims.Spec{Name: "trouble", Exe: exe}))
	}
	const cancel = 0 // by procdump -cancel
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, cancel, syscall.SIGKILL} {
		w := watch(t, "-all", "-e", "-t", "crowd", "FOLDER")
		w.await("watching", n)
		for _, v := range crowd {
			tell(t, v, "handle 10")
		}
		for _, v := range crowd {
			v.Next(t)
			syscall.Kill(v.PID, syscall.SIGUSR1)
		}
		if sig == cancel {
			procdump(t, "-cancel", pidArg(crowd[n/2]))
		} else {
			w.cmd.Process.Signal(sig)
		}
		if code := w.end(); code != 130 && sig != syscall.SIGKILL {
			t.Errorf("after %v: exit code %d", sig, code)
		}
		for _, v := range crowd {
			answer := v.Ask(t, "burn 0")
			if answer["state"] != "burn" || answer["handled"] == "0" {
				t.Errorf("after %v victim %d says %v", sig, v.PID, answer)
			}
			if tracer := statusField(t, v.PID, "TracerPid"); tracer != "0" {
				t.Errorf("after %v victim %d is traced by %s", sig, v.PID, tracer)
			}
		}
		if files := dumpsIn(t, w); len(files) > 0 {
			t.Errorf("dumps %v", files)
		}
	}
}
