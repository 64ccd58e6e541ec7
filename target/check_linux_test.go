package target

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// startUnshared runs a victim in a user and a PID namespace of its own, as
// PID 1 of that, or skips the test where that is forbidden.
func startUnshared(t *testing.T, path string) *victim {
	t.Helper()
	probe := exec.Command("/bin/true")
	probe.SysProcAttr = unshared()
	if err := probe.Run(); err != nil {
		t.Skipf("user namespaces: %v", err)
	}
	return startProgram(t, path, "wait", func(c *exec.Cmd) { c.SysProcAttr = unshared() })
}

func unshared() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWPID,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
	}
}

func get(t *testing.T, pid int) Process {
	t.Helper()
	p, err := Get(pid)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// expectError looks for a sentinel and for what the text must name.
func expectError(t *testing.T, err, kind error, words ...string) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("error %v, want %v", err, kind)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q is not in: %v", w, err)
		}
	}
}

func TestCheckGood(t *testing.T) {
	v := start(t, "wait", nil)
	if err := Check(get(t, v.pid())); err != nil {
		t.Error(err)
	}
	if err := Check(Process{PID: v.pid()}); err != nil {
		t.Error(err)
	}
}

func TestCheckGone(t *testing.T) {
	v := start(t, "wait", nil)
	p := get(t, v.pid())
	v.in.Close()
	v.Wait()
	expectError(t, Check(p), ErrNotFound, "victim ("+strconv.Itoa(p.PID)+") has ended")
	expectError(t, Check(Process{PID: 1<<31 - 1}), ErrNotFound, "PID 2147483647")
	other := get(t, os.Getppid())
	other.ticks++
	expectError(t, Check(other), ErrNotFound, "has ended", "is "+other.Name+" now")
}

// TestClockStep: another time of day is no other process.
func TestClockStep(t *testing.T) {
	f := newFixture(t)
	f.process(60, "app", "/usr/bin/app", "app")
	p, err := f.Get(60)
	if err != nil {
		t.Fatal(err)
	}
	f.write("proc/stat", "btime 1800000000\n")
	now, err := f.Get(60)
	if err != nil {
		t.Fatal(err)
	}
	if now.Start.Equal(p.Start) {
		t.Error("the start does not follow the clock: the test tests nothing")
	}
	if now.ID() != p.ID() || p.ID() == (ID{PID: 60}) {
		t.Errorf("%+v before the step, %+v after it", p.ID(), now.ID())
	}
	if err := f.Check(p); err != nil {
		t.Error(err)
	}
}

// TestNoDescriptors: a process that cannot be looked at has not ended.
func TestNoDescriptors(t *testing.T) {
	v := start(t, "wait", nil)
	p := get(t, v.pid())
	sel, err := ParseSelector(p.Name)
	if err != nil {
		t.Fatal(err)
	}
	exhaust(t)
	_, gerr := Get(p.PID)
	_, ferr := Find(sel)
	for what, err := range map[string]error{"check": Check(p), "get": gerr, "find": ferr} {
		if !errors.Is(err, syscall.EMFILE) || errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v, want EMFILE", what, err)
		}
	}
}

// exhaust uses up all descriptors until the test ends.
func exhaust(t *testing.T) {
	t.Helper()
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 64, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &old) })
	for {
		f, err := os.Open("/dev/null")
		if errors.Is(err, syscall.EMFILE) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
	}
}

func TestCheckSelf(t *testing.T) {
	expectError(t, Check(get(t, os.Getpid())), ErrSelf, "this procdump")
}

func TestCheckKernelThread(t *testing.T) {
	s, ok := Proc.stat(2)
	if !ok || !s.kernel {
		t.Skip("PID 2 is not kthreadd here")
	}
	expectError(t, Check(get(t, 2)), ErrKernelThread, "kthreadd (2)", "no user memory", "/proc/2/stack")
	expectError(t, ExplainDenied(2), ErrKernelThread)
}

func TestCheckZombie(t *testing.T) {
	v := start(t, "zombies", nil)
	pids := v.numbers(t)
	for i, how := range []string{"exit status 3", "killed by signal 10"} {
		eventually(t, "zombie", func() bool {
			s, _ := Proc.stat(pids[i])
			return s.state == 'Z'
		})
		p := get(t, pids[i])
		if !p.Zombie {
			t.Errorf("not a zombie: %+v", p)
		}
		err := Check(p)
		expectError(t, err, ErrZombie, how, fmt.Sprintf("victim (%d)", v.pid()), fmt.Sprintf("procdump %d", v.pid()))
		t.Log(err)
	}
}

func TestCheckTraced(t *testing.T) {
	v := start(t, "wait", nil)
	tracer := start(t, "trace", nil, strconv.Itoa(v.pid()))
	err := Check(get(t, v.pid()))
	expectError(t, err, ErrTraced, fmt.Sprintf("PID %d", tracer.pid()), "by victim", "/victim "+strconv.Itoa(v.pid()), "detach it first")
	t.Log(err)
	if p := get(t, v.pid()); p.TracerPID == 0 {
		t.Error("TracerPID is 0")
	}
	expectError(t, ExplainDenied(v.pid()), ErrTraced)
	tracer.in.Close()
	tracer.Wait()
	if err := Check(get(t, v.pid())); err != nil {
		t.Error(err)
	}
}

func TestCheckTracedThread(t *testing.T) {
	v := start(t, "wait", nil)
	var tids []int
	eventually(t, "a second thread", func() bool {
		tids, _ = numbers(Proc.of(v.pid(), "task"))
		return len(tids) > 1
	})
	slices.Sort(tids)
	tid := tids[len(tids)-1]
	if tid == v.pid() {
		tid = tids[0]
	}
	tracer := start(t, "trace", nil, strconv.Itoa(tid))
	p := get(t, v.pid())
	if p.TracerPID != 0 {
		t.Fatal("the first thread is traced too")
	}
	expectError(t, Check(p), ErrTraced, fmt.Sprintf("thread %d of victim (%d)", tid, v.pid()), fmt.Sprintf("PID %d", tracer.pid()))
}

func TestCheckTracedByGDB(t *testing.T) {
	gdb, err := exec.LookPath("gdb")
	if err != nil {
		t.Skip(err)
	}
	v := start(t, "wait", nil)
	c := exec.Command(gdb, "-nx", "-q", "--pid", strconv.Itoa(v.pid()))
	in, err := c.StdinPipe() // kept open: gdb stays
	if err != nil {
		t.Fatal(err)
	}
	c.Env = append(os.Environ(), "DEBUGINFOD_URLS=", "HOME=/nonexistent")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		c.Wait()
	})
	eventually(t, "gdb's attach", func() bool { return get(t, v.pid()).TracerPID != 0 })
	expectError(t, Check(get(t, v.pid())), ErrTraced, "gdb", fmt.Sprintf("PID %d", c.Process.Pid), "--pid")
}
