package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"procdump/minidump"
	"procdump/snapshot"
	"procdump/snapshot/snapshottest"
	"procdump/victims"
	"procdump/victims/need"
)

// copies are the processes that are like the victim and came into being after
// it: of a clone there must be none in the end. One that has ended and waits
// for the machine's first process to collect it is none.
func copies(t testing.TB, v *victims.Victim) (out []string) {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("/proc/" + strconv.Itoa(v.PID) + "/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	name := statusField(t, v.PID, "Name")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == v.PID || started(pid) < started(v.PID) {
			continue
		}
		status, err := os.ReadFile("/proc/" + e.Name() + "/status")
		if err != nil || !bytes.HasPrefix(status, []byte("Name:\t"+name+"\n")) {
			continue
		}
		cmdline, _ := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		zombie := bytes.Contains(status, []byte("\nState:\tZ"))
		orphan := bytes.Contains(status, []byte("\nPPid:\t1\n"))
		if bytes.Equal(cmdline, want) || zombie && !orphan {
			out = append(out, e.Name()+": "+strings.ReplaceAll(string(status[:min(200, len(status))]), "\n", " "))
		}
	}
	return out
}

// started is when a process was started, in ticks since the boot; 0: it is gone.
func started(pid int) uint64 {
	b, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	// Field 22 of proc_pid_stat(5); the third one follows the name's bracket.
	if f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:]); len(f) > 19 {
		n, _ := strconv.ParseUint(string(f[19]), 10, 64)
		return n
	}
	return 0
}

func wantNoCopy(t testing.TB, v *victims.Victim) {
	t.Helper()
	var left []string
	for deadline := time.Now().Add(victims.Timeout); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if left = copies(t, v); len(left) == 0 {
			return
		}
	}
	t.Errorf("left of the clone: %s", strings.Join(left, "; "))
}

// readDump reads a core or a minidump.
func readDump(t testing.TB, path string) *snapshot.Process {
	t.Helper()
	if filepath.Ext(path) == ".core" {
		return readAnyCore(t, path)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r, err := minidump.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	p, problems := r.Process()
	for _, err := range problems {
		t.Error(err)
	}
	return p
}

// TestCloneKinds: every kind that is not small, in every format, of 64-bit and
// 32-bit processes, comes from a clone with -r, and is the dump that is written
// without one.
func TestCloneKinds(t *testing.T) {
	sameKinds(t, "1", []string{"threads", "threads@i386", "threads@static", "goroutines", "shm"}, []string{"threads", "shm"}, func(t *testing.T, _ *victims.Victim, got *snapshot.Process) {
		if got.Info.Method != "clone" {
			t.Errorf("method %q", got.Info.Method)
		}
		snapshottest.Run(t, got)
	})
}

// sameKinds compares the dumps that are written with -r method and while the
// process stands: full ones, and of the victims in all those of every kind that
// is not small.
func sameKinds(t *testing.T, method string, names, all []string, check func(*testing.T, *victims.Victim, *snapshot.Process)) {
	need.Root(t)
	for _, name := range names {
		for _, s := range specs() {
			if s.kind == "-mm" || s.kind == "-mt" || s.kind != "-ma" && !slices.Contains(all, name) {
				continue
			}
			t.Run(name+"/"+s.String(), func(t *testing.T) {
				var args []string
				if name == "shm" {
					args = []string{t.TempDir()}
				}
				v := victims.Start(t, name, args...)
				want := readDump(t, dump(t, v.PID, s, "-r", "0"))
				got := readDump(t, dump(t, v.PID, s, "-r", method))
				if want.Info.Method != "stop-and-copy" || len(got.Info.Warnings) > 0 {
					t.Errorf("method %q without -r; %q", want.Info.Method, got.Info.Warnings)
				}
				check(t, v, got)
				if name != "goroutines" { // its scheduler goes on
					sameDump(t, want, got)
				}
				wantAlive(t, v)
				wantNoCopy(t, v)
			})
		}
	}
}

// sameDump compares the memory and threads of two dumps of a process that waits.
// Some threads run a little in between, for the stop ends some calls by EINTR.
func sameDump(t *testing.T, want, got *snapshot.Process) {
	t.Helper()
	if len(want.Threads) != len(got.Threads) || len(want.Modules) != len(got.Modules) || len(want.Regions) != len(got.Regions) {
		t.Fatalf("%d threads, %d modules, %d regions without a clone; %d, %d, %d with one", len(want.Threads), len(want.Modules), len(want.Regions),
			len(got.Threads), len(got.Modules), len(got.Regions))
	}
	for i := range want.Threads {
		a, b := &want.Threads[i], &got.Threads[i]
		if a.TID != b.TID || a.Registers.PC() != b.Registers.PC() || a.Registers.SP() != b.Registers.SP() {
			t.Errorf("thread %d stands at %#x, %#x without a clone, thread %d at %#x, %#x with one", a.TID, a.Registers.PC(), a.Registers.SP(),
				b.TID, b.Registers.PC(), b.Registers.SP())
		}
	}
	for i := range want.Regions {
		g := &want.Regions[i]
		xs, err := want.Memory.Extents(g.Range)
		if err != nil {
			t.Fatal(err)
		}
		different := 0
		for _, x := range xs {
			const piece = 1 << 20
			for at := x.Addr; at < x.End(); at += piece {
				a, b := make([]byte, min(piece, x.End()-at)), make([]byte, min(piece, x.End()-at))
				n, err1 := want.Memory.ReadMemory(a, at)
				k, err2 := got.Memory.ReadMemory(b, at)
				if n != k || (err1 == nil) != (err2 == nil) {
					t.Fatalf("%#x of %s: %d bytes, %v without a clone, %d, %v with one", at, g.Path, n, err1, k, err2)
				}
				for off := 0; off < n; off += 4096 {
					if !bytes.Equal(a[off:min(n, off+4096)], b[off:min(n, off+4096)]) {
						different++
					}
				}
			}
		}
		// A page at most, besides stacks: the processor in a thread's struct rseq.
		stack := slices.ContainsFunc(want.Threads, func(th snapshot.Thread) bool { return g.Contains(th.Registers.SP()) })
		if different > 1 && !stack {
			t.Errorf("%d pages of %s (%v) differ", different, g.Path, g.Range)
		}
	}
}

// TestCloneBySize: without -r it is the size of the dump that decides.
func TestCloneBySize(t *testing.T) {
	need.Root(t)
	v := victims.Start(t, "dirty", "300")
	for _, c := range []struct {
		args   []string
		method string
	}{
		{[]string{"-ma"}, "clone"},
		{[]string{"-mp"}, "clone"},
		{[]string{"-ma", "-z"}, "clone"},
		{[]string{"-mm", "-ma"}, "clone"},
		{[]string{"-ma", "-r", "0"}, "stop-and-copy"},
		{[]string{"-mm"}, "stop-and-copy"},
		{[]string{"-mm", "-r"}, "stop-and-copy"},
	} {
		dir := t.TempDir()
		r := procdump(t, append(c.args, "-json", pidArg(v), dir)...)
		if r.code != 0 || len(r.completed()) == 0 {
			t.Fatalf("%v: %v", c.args, r)
		}
		for _, e := range r.events {
			if e.Event == "complete" && e.Method != c.method {
				t.Errorf("%v: %s: method %s, want %s", c.args, e.Kind, e.Method, c.method)
			}
		}
		os.RemoveAll(dir)
	}
	small := victims.Start(t, "dirty", "16")
	r := procdump(t, "-ma", "-json", pidArg(small), t.TempDir())
	if len(r.events) == 0 || !strings.Contains(r.stdout, `"method":"stop-and-copy"`) {
		t.Errorf("a small process: %v", r)
	}
	if answer := v.Ask(t, "check"); answer["wrong"] != "0" {
		t.Errorf("its memory is %v", answer)
	}
	wantNoCopy(t, v)
}

// TestCloneRefused: where a clone is not safe the process is copied while it
// stands, and the dump says why; with -a there is none.
func TestCloneRefused(t *testing.T) {
	need.Root(t)
	for _, c := range []struct{ victim, why string }{
		{"seccomp", "a seccomp filter watches its system calls"},
		{"seccomp@i386", "a seccomp filter watches its system calls"},
		{"uffd", "memory of it is registered with a userfaultfd"},
		{"stopped", "it is stopped by job control anyway"},
		{"vforker", "a thread of it waits in the kernel, uninterruptibly"},
	} {
		t.Run(c.victim, func(t *testing.T) {
			v := victims.Start(t, c.victim)
			core := readDump(t, dump(t, v.PID, spec{"-ma", "elf"}, "-r"))
			if core.Info.Method != "stop-and-copy" || len(core.Info.Warnings) != 1 || !strings.Contains(core.Info.Warnings[0], c.why) {
				t.Errorf("method %q, warnings %q, want stop-and-copy and %q", core.Info.Method, core.Info.Warnings, c.why)
			}
			dir := t.TempDir()
			r := procdump(t, "-ma", "-r", "-a", pidArg(v), dir)
			if r.code != 5 || !strings.Contains(r.stderr, c.why) || !strings.Contains(r.stderr, "no dump was taken") {
				t.Errorf("with -a: %v", r)
			}
			wantNoFile(t, dir)
			if c.victim == "seccomp" || c.victim == "uffd" {
				wantAlive(t, v)
			}
		})
	}
}

// TestCloneAtSignal: what a trigger finds at a signal is cloned by another
// thread, and the thread of the signal goes on at once.
func TestCloneAtSignal(t *testing.T) {
	need.Root(t)
	for _, c := range []struct {
		threads string
		method  string
	}{{"3", "clone"}, {"0", "stop-and-copy"}} {
		v := victims.Start(t, "trouble")
		w := watch(t, "-n", "2", "-sig", "USR1", "-ma", "-r", pidArg(v), "FOLDER")
		w.await("watching", 1)
		tell(t, v, "handle 10")
		if c.threads != "0" {
			tell(t, v, "threads "+c.threads)
		}
		for n := 1; n <= 2; n++ {
			tell(t, v, "raise 10")
			w.await("complete", n)
		}
		if code := w.end(); code != 0 {
			t.Errorf("exit code %d", code)
		}
		for _, e := range w.events("complete") {
			if e.Method != c.method {
				t.Errorf("%s more threads: method %s, want %s", c.threads, e.Method, c.method)
			}
			p := readDump(t, e.Path)
			if p.Exception == nil || p.Exception.Signal != int(syscall.SIGUSR1) {
				t.Errorf("exception %+v, want SIGUSR1", p.Exception)
			}
		}
		wantAlive(t, v)
		wantNoCopy(t, v)
	}
}

// theCopy waits for the clone of a victim, and returns its PID.
func theCopy(t *testing.T, v *victims.Victim) int {
	t.Helper()
	for deadline := time.Now().Add(victims.Timeout); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if all := copies(t, v); len(all) == 1 {
			pid, _, _ := strings.Cut(all[0], ":")
			n, err := strconv.Atoi(pid)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("there is no clone")
	return 0
}

// TestAvoidedWhileBusy: with -a a signal that comes while the dump of another one
// is written is let pass, and its thread does not wait. That dump takes a minute,
// unless its clone is killed.
func TestAvoidedWhileBusy(t *testing.T) {
	need.Root(t)
	v := victims.Start(t, "trouble")
	v.Ask(t, "alloc 256")
	v.Ask(t, "threads 2")
	v.Ask(t, "handle 10")
	w := watch(t, "-sig", "USR1", "-ma", "-z", "-r", "-a", "-throttle", "4", pidArg(v), "FOLDER")
	w.await("watching", 1)
	v.Ask(t, "raise 10")
	w.await("initiated", 1)
	clone := theCopy(t, v)
	if answer := v.Ask(t, "raise 10"); answer["handled"] != "2" {
		t.Errorf("%s signals were handled, want 2", answer["handled"])
	}
	w.await("warning", 1)
	if n := len(w.events("complete")) + len(w.events("failed")); n > 0 {
		t.Fatal("the dump is done: it was not busy")
	}
	v.Ask(t, "free 256")
	if err := syscall.Kill(clone, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	w.await("failed", 1)
	// The dump is over a moment after that is told.
	deadline := time.Now().Add(victims.Timeout)
	for len(w.events("initiated")) == 1 {
		skipped := len(w.events("warning"))
		v.Ask(t, "raise 10")
		for len(w.events("initiated")) == 1 && len(w.events("warning")) == skipped {
			if time.Now().After(deadline) {
				t.Fatal("nothing comes of another signal")
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	w.await("complete", 1)
	if code := w.end(); code != 1 {
		t.Errorf("exit code %d, want 1 for the dump that failed", code)
	}
	for _, e := range w.events("warning") {
		if !strings.Contains(e.Message, "skipped (-a)") {
			t.Errorf("warning %q", e.Message)
		}
	}
	wantNoCopy(t, v)
}

// container is the command that starts one with a PID namespace of its own.
var container = []string{"unshare", "-pfm", "--mount-proc", "--kill-child"}

// TestCloneOfContainer: the first process of a PID namespace, to which orphans
// go, takes the clone away itself.
func TestCloneOfContainer(t *testing.T) {
	need.Root(t)
	need.Tool(t, "unshare")
	for _, name := range []string{"threads", "threads@i386"} {
		v := victims.StartSpec(t, victims.Spec{Name: name, Args: []string{"2"}, Wrap: container})
		for range 2 {
			p := readDump(t, dump(t, v.PID, spec{"-ma", "elf"}, "-r", "1"))
			if p.Info.Method != "clone" || len(p.Info.NSPID) != 2 || p.Info.NSPID[1] != 1 {
				t.Errorf("%s: method %q %q, PIDs %v", name, p.Info.Method, p.Info.Warnings, p.Info.NSPID)
			}
		}
		wantAlive(t, v)
		wantNoCopy(t, v)
	}
}

// TestCloneOfRuntimes clones processes with collectors, compilers and schedulers
// of their own, and many threads, over and over.
func TestCloneOfRuntimes(t *testing.T) {
	need.Root(t)
	for _, c := range []struct {
		name string
		args []string
	}{{"python", nil}, {"java", nil}, {"node", nil}, {"goroutines", nil}, {"threads", []string{"1000"}}, {"churn", nil}, {"deep", nil}, {"altstack", nil}} {
		t.Run(c.name, func(t *testing.T) {
			v := victims.Start(t, c.name, c.args...)
			path := filepath.Join(t.TempDir(), "x.core")
			for range 3 {
				r := procdump(t, "-ma", "-r", "-o", "-json", pidArg(v), path)
				if r.code != 0 || !strings.Contains(r.stdout, `"method":"clone"`) {
					t.Fatal(r)
				}
			}
			if s := v.State(); s == 'T' || s == 't' || s == 'Z' {
				t.Errorf("it is in state %c", s)
			}
			wantNoCopy(t, v)
		})
	}
}

// TestCloneOfManyThreads holds a thousand threads of a dump against those of the
// process.
func TestCloneOfManyThreads(t *testing.T) {
	need.Root(t)
	v := victims.Start(t, "threads", "1000")
	p := readDump(t, dump(t, v.PID, spec{"-ma", "elf"}, "-r"))
	if p.Info.Method != "clone" || len(p.Threads) != 1001 {
		t.Errorf("method %s, %d threads, want clone and 1001", p.Info.Method, len(p.Threads))
	}
	wantAlive(t, v)
}
