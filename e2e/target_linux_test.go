package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"procdump/victims"
	"procdump/victims/need"
)

func TestExitCodes(t *testing.T) {
	need.Root(t)
	v := victims.Start(t, "threads", "2")
	pid := strconv.Itoa(v.PID)
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"no argument":      {nil, 2, ""},
		"help":             {[]string{"-?"}, 0, "Usage"},
		"version":          {[]string{"--version"}, 0, "procdump"},
		"unknown switch":   {[]string{"-nosuch", pid}, 2, "nosuch"},
		"later switch":     {[]string{"-wer", pid}, 2, "not available yet"},
		"no such PID":      {[]string{"4194304"}, 3, ""},
		"no such name":     {[]string{"no-such-program-here"}, 3, "no-such-program-here"},
		"kernel thread":    {[]string{"2"}, 1, "kernel"},
		"second path":      {[]string{pid, "a", "b"}, 2, ""},
		"folder not there": {[]string{pid, "/no/such/folder/x.core"}, 2, "/no/such/folder"},
	} {
		t.Run(name, func(t *testing.T) {
			r := procdump(t, c.args...)
			if r.code != c.code || !strings.Contains(strings.ToLower(r.stdout+r.stderr), strings.ToLower(c.says)) {
				t.Errorf("procdump %v: want exit code %d and %q: %v", c.args, c.code, c.says, r)
			}
		})
	}
	wantAlive(t, v)
}

// TestStoppedStaysStopped: what was stopped before the dump is stopped after it,
// and continues with one SIGCONT.
func TestStoppedStaysStopped(t *testing.T) {
	need.Root(t)
	v := victims.Start(t, "stopped")
	awaitState(t, v, 'T')
	for _, d := range specs() {
		dump(t, v.PID, d)
		if s := v.State(); s != 'T' {
			t.Fatalf("%v: state %c after the dump, want T", d, s)
		}
	}
	v.Signal(syscall.SIGCONT)
	if got := v.Ask(t, "state")["continued"]; got != "1" {
		t.Errorf("continued %s times, want 1", got)
	}
}

// TestPendingSignals: signals that wait for the process, and signals that come
// during dumps, arrive once each and in order.
func TestPendingSignals(t *testing.T) {
	need.Root(t)
	v := victims.Start(t, "pending")
	for i := range 20 {
		done := make(chan struct{})
		go func() {
			defer close(done)
			time.Sleep(time.Duration(i) * time.Millisecond / 2)
			v.Signal(syscall.SIGUSR2)
		}()
		dump(t, v.PID, spec{"-mm", "elf"})
		<-done
		want := strconv.Itoa(i + 1)
		if got := v.Ask(t, "count")["usr2"]; got != want {
			t.Fatalf("%s of %s signals arrived", got, want)
		}
	}
	got := v.Ask(t, "open")
	if got["usr1"] != "1" || got["realtime"] != "5" || got["order_errors"] != "0" {
		t.Errorf("received %v, want usr1=1 realtime=5 order_errors=0", got)
	}
}

// TestUninterruptible: a thread in state D is left out, noted, and does not
// keep the dump from being written.
func TestUninterruptible(t *testing.T) {
	needJudges(t)
	v := victims.Start(t, "vforker")
	for _, d := range []spec{{"-mm", "elf"}, {"-ma", "elf"}, {"-mm", "minidump"}} {
		file := dump(t, v.PID, d)
		if !holds(t, file, `"missedThreads"`) || !holds(t, file, v.Ready["tid"]) {
			t.Errorf("%v: the note does not name the missed thread %s", d, v.Ready["tid"])
		}
		if d.format == "elf" && !hasChain(gdbCore(t, v.Exe, file), "<serve<main<") {
			t.Errorf("%v: gdb does not see main", d)
		}
	}
	wantAlive(t, v)
}

func TestZombie(t *testing.T) {
	need.Root(t)
	cmd := exec.Command("true")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	for statusField(t, cmd.Process.Pid, "State")[0] != 'Z' {
		time.Sleep(time.Millisecond)
	}
	r := procdump(t, strconv.Itoa(cmd.Process.Pid), t.TempDir())
	if r.code == 0 || !strings.Contains(strings.ToLower(r.stderr+r.stdout), "zombie") {
		t.Errorf("want an error that says zombie: %v", r)
	}
}

// TestTraced: another tracer is named.
func TestTraced(t *testing.T) {
	need.Root(t)
	gdbPath := need.Tool(t, "gdb")
	v := victims.Start(t, "threads", "2")
	tracer := exec.Command(gdbPath, "--batch", "-nx", "-p", strconv.Itoa(v.PID), "-ex", "shell sleep 1000")
	tracer.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := tracer.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { syscall.Kill(-tracer.Process.Pid, syscall.SIGKILL); tracer.Wait() }()
	for statusField(t, v.PID, "TracerPid") == "0" {
		time.Sleep(time.Millisecond)
	}
	by := statusField(t, v.PID, "TracerPid")
	r := procdump(t, strconv.Itoa(v.PID), t.TempDir())
	if r.code == 0 || !strings.Contains(r.stderr+r.stdout, by) || !strings.Contains(r.stderr+r.stdout, "gdb") {
		t.Errorf("want an error that names the tracer, gdb (%s): %v", by, r)
	}
}

// TestContainer: a target in namespaces of its own, seen from outside.
func TestContainer(t *testing.T) {
	needJudges(t)
	unshare := need.Tool(t, "unshare")
	if out, err := exec.Command(unshare, "-pfmU", "--mount-proc", "--map-root-user", "true").CombinedOutput(); err != nil {
		need.Missing(t, "unshare", fmt.Sprintf("%v: %s", err, out))
	}
	v := victims.StartSpec(t, victims.Spec{Name: "threads", Args: []string{"10"},
		Wrap: []string{unshare, "-pfmU", "--mount-proc", "--map-root-user", "--kill-child"}})
	freeze(t, v)
	live := gdbLive(t, v.PID, v.Exe)
	libraries := images(t, v.PID)
	for _, d := range specs() {
		t.Run(d.String(), func(t *testing.T) {
			file := dump(t, v.PID, d)
			if d.format == "elf" {
				// libthread_db knows threads by the numbers that they have in
				// their namespace and adds them to those of the notes.
				compare(t, "gdb", live, gdbCore(t, v.Exe, file, "-iex", "set libthread-db-search-path /nowhere"), rule{})
				compare(t, "eu-stack", live, euStack(t, file, v.Exe), rule{})
			} else {
				compare(t, "stackwalk", live, stackwalk(t, file, libraries), rule{})
			}
			compare(t, "lldb", live, lldbDump(t, file, v.Exe), rule{})
		})
	}
}

// nobody is an unprivileged user's number.
const nobody = 65534

// TestUnprivileged: a user dumps an own process without any capability, and is
// told why another user's is refused.
func TestUnprivileged(t *testing.T) {
	need.Root(t)
	dir := t.TempDir()
	for p := dir; p != "/" && p != os.TempDir(); p = filepath.Dir(p) {
		os.Chmod(p, 0o755)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	exe, err := victims.Build("threads")
	if err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(dir, "threads")
	copyFile(t, exe, own)
	as := func(pid int, out string) result {
		cmd := exec.Command(binary(t), "-json", "-ma", strconv.Itoa(pid), filepath.Join(dir, out))
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		return finish(t, cmd)
	}
	mine := victims.StartSpec(t, victims.Spec{Name: "threads", Args: []string{"3"}, Exe: own, UID: nobody, GID: nobody})
	if yama, err := os.ReadFile("/proc/sys/kernel/yama/ptrace_scope"); err == nil && strings.TrimSpace(string(yama)) != "0" {
		if r := as(mine.PID, "mine.core"); r.code != 4 || !strings.Contains(r.stdout+r.stderr, "ptrace_scope") {
			t.Errorf("want exit code 4 and a word of yama's ptrace_scope: %v", r)
		}
	} else if r := as(mine.PID, "mine.core"); r.code != 0 || len(r.completed()) != 1 {
		t.Errorf("own process: %v", r)
	}
	roots := victims.StartSpec(t, victims.Spec{Name: "threads", Args: []string{"3"}})
	r := as(roots.PID, "roots.core")
	if r.code != 4 || !strings.Contains(strings.ToLower(r.stdout+r.stderr), "root") {
		t.Errorf("another user's process: want exit code 4 and the remedy: %v", r)
	}
	cmd := exec.Command(binary(t), "inspect", strconv.Itoa(roots.PID))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if r := finish(t, cmd); r.code != 4 || !strings.Contains(r.stderr, "run procdump as root") {
		t.Errorf("report on another user's process: want exit code 4 and the remedy: %v", r)
	}
	wantAlive(t, mine)
	wantAlive(t, roots)
}

// TestKernelStacks: -mk writes every thread's kernel stack beside the dump.
func TestKernelStacks(t *testing.T) {
	need.Root(t)
	v := victims.Start(t, "threads", "3")
	r := procdump(t, "-json", "-mk", strconv.Itoa(v.PID), filepath.Join(t.TempDir(), "k.core"))
	var side string
	for _, e := range r.events {
		if e.Event == "complete" {
			side = e.KernelPath
		}
	}
	b, err := os.ReadFile(side)
	if r.code != 0 || err != nil {
		t.Fatalf("%v; %v", err, r)
	}
	tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", v.PID))
	for _, task := range tasks {
		if !strings.Contains(string(b), task.Name()) {
			t.Errorf("thread %s is not in %s", task.Name(), side)
		}
	}
}
