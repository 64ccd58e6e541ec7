package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"procdump/victims"
	"procdump/victims/need"
)

// TestCloneNeedsMemory: in a cgroup whose limit is just above the victim there
// is no clone, so that none can drive it into the limit.
func TestCloneNeedsMemory(t *testing.T) {
	need.Root(t)
	const size = 300 << 20
	dir := newGroup(t, "memory")
	setMemoryLimit(t, dir, size+96<<20)
	v := startIn(t, dir, "300")
	before := limitHits(t, dir)
	core := readDump(t, dump(t, v.PID, spec{"-ma", "elf"}, "-r"))
	if core.Info.Method != "stop-and-copy" || len(core.Info.Warnings) != 1 || !strings.Contains(core.Info.Warnings[0], filepath.Base(dir)) {
		t.Errorf("method %q, warnings %q: want stop-and-copy, and the cgroup named", core.Info.Method, core.Info.Warnings)
	}
	setMemoryLimit(t, dir, 3*size)
	if core := readDump(t, dump(t, v.PID, spec{"-ma", "elf"}, "-r")); core.Info.Method != "clone" {
		t.Errorf("with room: method %q, warnings %q", core.Info.Method, core.Info.Warnings)
	}
	if now := limitHits(t, dir); now != before {
		t.Errorf("the cgroup was in its limit: %q, then %q", before, now)
	}
	if answer := v.Ask(t, "check"); answer["wrong"] != "0" {
		t.Errorf("its memory is %v", answer)
	}
}

// TestCloneNeedsProcesses: where the process may not make another one, or its
// child none, it goes on as before.
func TestCloneNeedsProcesses(t *testing.T) {
	need.Root(t)
	for _, most := range []string{"1", "2"} {
		dir := newGroup(t, "pids")
		v := startIn(t, dir, "8")
		if err := os.WriteFile(filepath.Join(dir, "pids.max"), []byte(most), 0); err != nil {
			t.Fatal(err)
		}
		p := readDump(t, dump(t, v.PID, spec{"-ma", "elf"}, "-r"))
		if p.Info.Method != "stop-and-copy" || len(p.Info.Warnings) != 1 || !strings.Contains(p.Info.Warnings[0], "pids.max") {
			t.Errorf("with %s: method %q, warnings %q", most, p.Info.Method, p.Info.Warnings)
		}
		if answer := v.Ask(t, "check"); answer["wrong"] != "0" {
			t.Errorf("its memory is %v", answer)
		}
		wantNoCopy(t, v)
	}
}

// newGroup makes a cgroup for a controller, until the test ends.
func newGroup(t *testing.T, controller string) string {
	t.Helper()
	top := "/sys/fs/cgroup/" + controller // version 1
	if _, err := os.Stat(top + "/cgroup.procs"); err != nil {
		top = "/sys/fs/cgroup"
		if err := os.WriteFile(top+"/cgroup.subtree_control", []byte("+"+controller), 0); err != nil {
			need.Missing(t, "cgroup", err.Error())
		}
	}
	dir, err := os.MkdirTemp(top, "procdump-clone-")
	if err != nil {
		need.Missing(t, "cgroup", err.Error())
	}
	// A cgroup can be removed some time after its last process ended.
	t.Cleanup(func() {
		for deadline := time.Now().Add(10 * time.Second); syscall.Rmdir(dir) == syscall.EBUSY && time.Now().Before(deadline); {
			time.Sleep(10 * time.Millisecond)
		}
	})
	return dir
}

// startIn starts the victim "dirty" in a cgroup.
func startIn(t *testing.T, group, mib string) *victims.Victim {
	t.Helper()
	return victims.StartSpec(t, victims.Spec{Name: "dirty", Args: []string{mib},
		Wrap: []string{"sh", "-c", "echo $$ > " + filepath.Join(group, "cgroup.procs") + ` && exec "$@"`, "sh"}})
}

// limitHits is how often a cgroup was in its memory limit.
func limitHits(t *testing.T, dir string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "memory.failcnt"))
	if err != nil {
		b, err = os.ReadFile(filepath.Join(dir, "memory.events"))
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestCloneOfSetuid: a process that runs with the rights of its program's owner
// is cloned as any other.
func TestCloneOfSetuid(t *testing.T) {
	need.Root(t)
	program, err := victims.Build("threads")
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/var/tmp", "procdump-setuid-") // file systems of /tmp may not know setuid
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	exe := filepath.Join(dir, "threads")
	const owner, user = 1, 65534
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(exe, b, 0o755), os.Chown(exe, owner, owner), os.Chmod(exe, os.ModeSetuid|0o755)); err != nil {
		t.Fatal(err)
	}
	v := victims.StartSpec(t, victims.Spec{Name: "threads", Args: []string{"2"}, Exe: exe, UID: user, GID: user})
	if uids := strings.Fields(statusField(t, v.PID, "Uid")); len(uids) < 2 || uids[0] != strconv.Itoa(user) || uids[1] != strconv.Itoa(owner) {
		need.Missing(t, "setuid", "the file system does not know it: user IDs "+strings.Join(uids, " "))
	}
	p := readDump(t, dump(t, v.PID, spec{"-ma", "elf"}, "-r"))
	if p.Info.Method != "clone" || len(p.Threads) != 3 {
		t.Errorf("method %q, %d threads, %q", p.Info.Method, len(p.Threads), p.Info.Warnings)
	}
	wantAlive(t, v)
	wantNoCopy(t, v)
}

// TestThrottle: no more than so much is copied in a second, and from a clone.
func TestThrottle(t *testing.T) {
	need.Root(t)
	const mib, rate = 64, 32
	v := victims.Start(t, "dirty", strconv.Itoa(mib))
	for _, how := range []string{"-throttle", "-z -throttle"} {
		r := procdump(t, append(strings.Fields("-ma "+how), strconv.Itoa(rate), "-json", pidArg(v), t.TempDir())...)
		if r.code != 0 || len(r.completed()) != 1 {
			t.Fatal(r)
		}
		// Two readers may be a sixteenth of a second ahead.
		const least = (mib - rate/8) * int64(time.Second/time.Microsecond) / rate
		for _, e := range r.events {
			if e.Event == "complete" && (e.Method != "clone" || e.Elapsed < least) {
				t.Errorf("%s: %d µs for %d MiB, at least %d; method %s", how, e.Elapsed, mib, least, e.Method)
			}
		}
	}
	wantAlive(t, v)
}

func setMemoryLimit(t *testing.T, dir string, limit int) {
	t.Helper()
	file := filepath.Join(dir, "memory.limit_in_bytes")
	if _, err := os.Stat(file); err != nil {
		file = filepath.Join(dir, "memory.max")
	}
	if err := os.WriteFile(file, []byte(strconv.Itoa(limit)), 0); err != nil {
		need.Missing(t, "cgroup", err.Error())
	}
}
