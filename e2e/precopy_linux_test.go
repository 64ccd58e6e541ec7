package e2e

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"procdump/snapshot"
	"procdump/victims"
	"procdump/victims/need"
)

// wantUntracked fails the test if a process still has a userfaultfd, or memory that
// is registered with one.
func wantUntracked(t testing.TB, v *victims.Victim) {
	t.Helper()
	tracked := true
	for deadline := time.Now().Add(victims.Timeout); tracked && time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		b, err := os.ReadFile("/proc/" + strconv.Itoa(v.PID) + "/smaps")
		if err != nil {
			t.Fatal(err)
		}
		tracked = bytes.Contains(b, []byte(" uw ")) || hasUserfault(t, v.PID)
	}
	if tracked {
		t.Error("it has a userfaultfd, or memory of it is still registered with one")
	}
}

// hasUserfault tells whether a process has a descriptor of a userfaultfd.
func hasUserfault(t testing.TB, pid int) bool {
	t.Helper()
	dir := "/proc/" + strconv.Itoa(pid) + "/fd"
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if to, _ := os.Readlink(dir + "/" + e.Name()); strings.Contains(to, "userfaultfd") {
			return true
		}
	}
	return false
}

// TestPreCopyKinds: every kind that is not small, in every format, of 64-bit and
// 32-bit processes, is pre-copied with -r live, and is the dump that is written
// while the process stands.
func TestPreCopyKinds(t *testing.T) {
	sameKinds(t, "live", []string{"threads", "threads@i386", "shm"}, []string{"shm"}, func(t *testing.T, v *victims.Victim, got *snapshot.Process) {
		if got.Info.Method != "pre-copy" || got.Info.Rounds < 2 {
			t.Errorf("method %q in %d rounds", got.Info.Method, got.Info.Rounds)
		}
		wantUntracked(t, v)
	})
}

// TestPreCopyRefused: where it cannot be the dump is taken from a clone, or while
// the process stands, and says why.
func TestPreCopyRefused(t *testing.T) {
	need.Root(t)
	for _, c := range []struct{ victim, why, method string }{
		{"seccomp", "a seccomp filter watches its system calls", "stop-and-copy"},
		{"uffd", "userfaultfd", "stop-and-copy"},
	} {
		t.Run(c.victim, func(t *testing.T) {
			v := victims.Start(t, c.victim)
			core := readDump(t, dump(t, v.PID, spec{"-ma", "elf"}, "-r", "live"))
			if core.Info.Method != c.method || !strings.Contains(strings.Join(core.Info.Warnings, " "), c.why) {
				t.Errorf("method %q, warnings %q, want %s and %q", core.Info.Method, core.Info.Warnings, c.method, c.why)
			}
			wantAlive(t, v)
		})
	}
}

// TestPreCopyAtSignal: what a trigger finds at a signal stands already, and is
// cloned.
func TestPreCopyAtSignal(t *testing.T) {
	need.Root(t)
	v := victims.Start(t, "trouble")
	w := watch(t, "-sig", "USR1", "-ma", "-r", "live", pidArg(v), "FOLDER")
	w.await("watching", 1)
	tell(t, v, "handle 10")
	tell(t, v, "threads 3")
	tell(t, v, "raise 10")
	w.await("complete", 1)
	if code := w.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	e := w.events("complete")[0]
	info := readDump(t, e.Path).Info
	if e.Method != "clone" || !strings.Contains(strings.Join(info.Warnings, " "), "it stands already") {
		t.Errorf("method %q, warnings %q", e.Method, info.Warnings)
	}
	wantAlive(t, v)
}

// TestPreCopyTraced: a process that is traced for one trigger is pre-copied for
// another one.
func TestPreCopyTraced(t *testing.T) {
	need.Root(t)
	v := victims.Start(t, "trouble")
	w := watch(t, "-sig", "USR1", "-tc", "1", "-s", "1", "-ma", "-r", "live", pidArg(v), "FOLDER")
	w.await("complete", 1)
	if code := w.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if e := w.events("complete")[0]; e.Method != "pre-copy" {
		t.Errorf("method %q, warnings %q", e.Method, readDump(t, e.Path).Info.Warnings)
	}
	wantAlive(t, v)
	wantUntracked(t, v)
}

// TestPreCopyAndKill: with -k the process is killed as soon as nothing is left to
// copy, and the dump is whole even so.
func TestPreCopyAndKill(t *testing.T) {
	need.Root(t)
	v := victims.Start(t, "shm", t.TempDir())
	wantWholeAndKilled(t, v, "live", "pre-copy")
}

// TestKilledWithPreCopy: procdump is killed while it copies: nothing is left, in
// the process or in the folder.
func TestKilledWithPreCopy(t *testing.T) {
	need.Root(t)
	v := victims.Start(t, "dirty", "256")
	for i := range 6 {
		w := watch(t, "-ma", "-r", "live", pidArg(v), "FOLDER")
		w.await("initiated", 1)
		time.Sleep(time.Duration(i) * 30 * time.Millisecond)
		if err := w.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-w.exited
		wantNoCopy(t, v)
		wantUntracked(t, v)
		wantAlive(t, v)
		wantNoFile(t, w.folder)
	}
	if answer := v.Ask(t, "check"); answer["wrong"] != "0" {
		t.Errorf("its memory is %v", answer)
	}
}
