package target

import (
	"debug/elf"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// unique is a name that no other process has.
func unique(prefix string) string { return fmt.Sprintf("%s%08x", prefix, rand.Uint32()) }

func find(t *testing.T, selector string) []Process {
	t.Helper()
	s, err := ParseSelector(selector)
	if err != nil {
		t.Fatal(err)
	}
	ps, err := Find(s)
	if (err == nil) != (len(ps) > 0) {
		t.Fatalf("%s: %d processes, error %v", selector, len(ps), err)
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		t.Fatalf("%s: %v", selector, err)
	}
	return ps
}

// expectPIDs looks until the answer is right: a process that has just been
// started may not be there yet under its final name.
func expectPIDs(t *testing.T, selector string, want ...int) {
	t.Helper()
	slices.Sort(want)
	var got []int
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		got = nil
		for _, p := range find(t, selector) {
			got = append(got, p.PID)
		}
		if slices.Equal(got, want) {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("%s: found %v, want %v", selector, got, want)
			return
		}
	}
}

// runProgram starts a program until the test ends, and ends its children too.
func runProgram(t *testing.T, path string, args ...string) int {
	t.Helper()
	c := exec.Command(path, args...)
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
		c.Wait()
	})
	return c.Process.Pid
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestFindRealNames(t *testing.T) {
	name := unique("tgt") + "withalongname"
	path := program(t, name+".bin")
	a := startProgram(t, path, "wait", nil, "one")
	b := startProgram(t, path, "wait", nil, "two")
	expectPIDs(t, name+".bin", a.pid(), b.pid())
	expectPIDs(t, name, a.pid(), b.pid())
	expectPIDs(t, strings.ToUpper(name), a.pid(), b.pid())
	expectPIDs(t, name[:15], a.pid(), b.pid())
	expectPIDs(t, name[:14])
	expectPIDs(t, path, a.pid(), b.pid())
	expectPIDs(t, "cmd:"+name+`\.bin two$`, b.pid())
	expectPIDs(t, fmt.Sprintf("name:%s,pid:%d", name, a.pid()), a.pid())
	expectPIDs(t, strconv.Itoa(a.pid()), a.pid())

	p := find(t, strconv.Itoa(a.pid()))[0]
	u, _ := user.Current()
	if p.Name != name+".bin" || p.Exe != path || len(p.Args) != 2 || p.Args[1] != "one" || p.PPID != os.Getpid() ||
		int(p.UID) != os.Geteuid() || p.User != u.Username || p.Class != elf.ELFCLASS64 || p.Threads < 2 || p.RSS == 0 ||
		p.Kernel || p.Zombie || p.TracerPID != 0 || len(p.NSPID) == 0 || time.Since(p.Start).Abs() > time.Hour {
		t.Errorf("process: %+v", p)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	expectPIDs(t, name, a.pid(), b.pid())
	expectPIDs(t, "exe:"+path, a.pid(), b.pid())
	if p := find(t, strconv.Itoa(b.pid()))[0]; !p.ExeDeleted || p.Exe != path {
		t.Errorf("deleted image: %+v", p)
	}
}

func TestFindRenamed(t *testing.T) {
	name := unique("ren")
	v := start(t, "comm", nil, name)
	expectPIDs(t, name, v.pid())
	expectPIDs(t, strings.ToUpper(name), v.pid())
}

func TestFindScripts(t *testing.T) {
	name := unique("script") + "longname"
	dir := t.TempDir()
	script := filepath.Join(dir, name+".py")
	if err := os.WriteFile(script, []byte("#!/bin/sh\nsleep 1000 &\nwait\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	pid := runProgram(t, script)
	expectPIDs(t, name+".py", pid)
	expectPIDs(t, name, pid)
	other := unique("job") + ".py"
	if err := os.WriteFile(filepath.Join(dir, other), []byte("import time\ntime.sleep(1000)\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip(err)
	}
	// The interpreter proper: a wrapper (pyenv) is another process's business.
	if out, err := exec.Command(python, "-c", "import sys; print(sys.executable)").Output(); err == nil {
		python = strings.TrimSpace(string(out))
	} else {
		t.Skip(err)
	}
	job := runProgram(t, python, "-u", filepath.Join(dir, other))
	expectPIDs(t, other, job)
	expectPIDs(t, strings.TrimSuffix(other, ".py"), job)
	runProgram(t, "/bin/sleep", "1000")
	expectPIDs(t, "name:python3,cmd:"+other, job)
}

func TestFindDoesNotFindItself(t *testing.T) {
	self, _ := os.Executable()
	for _, p := range find(t, "exe:"+self) {
		if p.PID == os.Getpid() {
			t.Error("found itself")
		}
	}
	expectPIDs(t, fmt.Sprintf("pgid:%d,cmd:^%s$", syscall.Getpgrp(), "no such"))
	expectPIDs(t, strconv.Itoa(os.Getpid()), os.Getpid())
	expectPIDs(t, "kthreadd")
	for _, p := range find(t, fmt.Sprintf("user:%d", os.Geteuid())) {
		if p.Kernel || p.PID == os.Getpid() {
			t.Errorf("found %v", p)
		}
	}
}

func TestFindTreeAndGroup(t *testing.T) {
	path := filepath.Join(t.TempDir(), unique("slp"))
	copyFile(t, "/bin/sleep", path)
	c := exec.Command("/bin/sh", "-c", fmt.Sprintf("%s 1000 & (%s 1001 & wait) & wait", path, path))
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
		c.Wait()
	})
	eventually(t, "two sleeps", func() bool { return len(find(t, "exe:"+path)) == 2 })
	var sleeps []int
	for _, p := range find(t, "exe:"+path) {
		sleeps = append(sleeps, p.PID)
	}
	expectPIDs(t, fmt.Sprintf("tree:%d,exe:%s", c.Process.Pid, path), sleeps...)
	expectPIDs(t, fmt.Sprintf("pgid:%d,exe:%s", c.Process.Pid, path), sleeps...)
	if n := len(find(t, fmt.Sprintf("tree:%d", c.Process.Pid))); n != 4 {
		t.Errorf("tree has %d processes, want the shell, its child and two sleeps", n)
	}
	expectPIDs(t, fmt.Sprintf("tree:%d", sleeps[0]), sleeps[0])
}

func TestFindPort(t *testing.T) {
	v := start(t, "listen", nil)
	ports := v.numbers(t)
	expectPIDs(t, fmt.Sprintf("port:%d", ports[0]), v.pid())
	expectPIDs(t, fmt.Sprintf("port:%d", ports[1]), v.pid())
	client := runClient(t, ports[0])
	expectPIDs(t, fmt.Sprintf("port:%d", ports[0]), v.pid())
	if client == v.pid() {
		t.Fatal("client is the server")
	}
}

// runClient starts bash with a connection: its descriptor's local port is not the server's.
func runClient(t *testing.T, port int) int {
	t.Helper()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip(err)
	}
	return runProgram(t, bash, "-c", fmt.Sprintf("exec 3<>/dev/tcp/127.0.0.1/%d; sleep 1000; :", port))
}

// What belongs to others cannot be examined; that is said, not hidden.
func TestFindHidden(t *testing.T) {
	needRoot(t)
	v := start(t, "listen", nil)
	r, out := ask(t, "find", asNobody, fmt.Sprintf("port:%d", v.numbers(t)[0]))
	if r.Hidden == 0 || !strings.Contains(r.Text, "run procdump as root") {
		t.Error(out)
	}
	r, out = ask(t, "find", asNobody, unique("nobody"))
	if r.Hidden != 0 || !strings.Contains(r.Text, "no process matches") {
		t.Error(out)
	}
}

func TestFindThreadOfProcess(t *testing.T) {
	v := start(t, "wait", nil)
	var tid int
	eventually(t, "a second thread", func() bool {
		tids, _ := numbers(Proc.of(v.pid(), "task"))
		slices.Sort(tids)
		if len(tids) < 2 {
			return false
		}
		tid = tids[len(tids)-1]
		return tid != v.pid()
	})
	_, err := Get(tid)
	e := (*NotFoundError)(nil)
	if !errors.As(err, &e) || e.Leader.PID != v.pid() || !strings.Contains(err.Error(), fmt.Sprintf("procdump %d", v.pid())) {
		t.Errorf("thread %d of %d: %v", tid, v.pid(), err)
	}
}

// A process whose first thread has ended lives on and is still found by name.
func TestFindLeaderless(t *testing.T) {
	name := unique("nolead")
	v := startProgram(t, program(t, name), "leaderless", nil)
	eventually(t, "state Z", func() bool {
		s, _ := Proc.stat(v.pid())
		return s.state == 'Z'
	})
	expectPIDs(t, name, v.pid())
	p := find(t, name)[0]
	if p.Zombie || p.Class != elf.ELFCLASS64 || len(p.Args) == 0 {
		t.Errorf("process: %+v", p)
	}
	if err := Check(p); err != nil {
		t.Error(err)
	}
}

func TestFindInPIDNamespace(t *testing.T) {
	name := unique("nspid")
	path := program(t, name)
	startUnshared(t, path)
	ps := find(t, name)
	if len(ps) != 1 || len(ps[0].NSPID) != 2 || ps[0].NSPID[1] != 1 {
		t.Fatalf("found %+v", ps)
	}
	r := newReader(Proc)
	found := false
	for _, p := range r.inside(1) {
		found = found || p.PID == ps[0].PID
	}
	if !found {
		t.Error("PID 1 of the container is not offered")
	}
}

// Processes that come and go while they are looked at are no error.
func TestFindChurn(t *testing.T) {
	// Before the churn: a fork would hold the freshly written program open for
	// writing (https://go.dev/issue/22315).
	v := start(t, "wait", nil)
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				exec.Command("/bin/true").Run()
			}
		}
	}()
	for _, selector := range []string{
		fmt.Sprintf("pid:%d,user:%d,name:victim", v.pid(), os.Geteuid()), fmt.Sprintf("tree:%d", v.pid()),
		fmt.Sprintf("cmd:.,pid:%d", v.pid()), fmt.Sprintf("cgroup:/,pid:%d", v.pid()),
	} {
		for range 25 {
			if ps := find(t, selector); len(ps) != 1 || ps[0].PID != v.pid() {
				t.Errorf("%s: %v", selector, ps)
			}
		}
		find(t, "port:1")
		find(t, "container:0123456789")
		find(t, "unit:nosuchunit")
	}
	close(stop)
	<-done
}

func TestParent(t *testing.T) {
	if got := Parent(os.Getpid()); got != os.Getppid() {
		t.Errorf("%d, want %d", got, os.Getppid())
	}
	if got := Parent(-1); got != 0 {
		t.Errorf("of no process: %d", got)
	}
}
