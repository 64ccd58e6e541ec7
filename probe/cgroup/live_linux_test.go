package cgroup

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"procdump/internal/sys/cpuclock"
	"procdump/victims/need"
)

// As a helper the test binary says what its own limits are.
const helperVariable = "CGROUP_HELPER"

func TestMain(m *testing.M) {
	if os.Getenv(helperVariable) != "" {
		cores, why := Root("").CPULimit(os.Getpid())
		fmt.Printf("%v cores, %s\n", cores, why)
		return
	}
	os.Exit(m.Run())
}

// group makes a cgroup for a controller, below another one, until the test
// ends. It returns both folders and whether they are of version 2.
func group(t *testing.T, controller string) (outer, inner string, v2 bool) {
	t.Helper()
	need.Root(t)
	g, err := Root("").Find(os.Getpid())
	if err != nil {
		need.Missing(t, "cgroup", err.Error())
	}
	hs := g.with(controller)
	if len(hs) == 0 {
		need.Missing(t, "cgroup", "controller "+controller+" is not mounted")
	}
	// At the top: a cgroup of version 2 that has processes may not have
	// controlled cgroups below it.
	outer = filepath.Join(hs[0].top, fmt.Sprintf("procdump-test-%d", os.Getpid()))
	inner = filepath.Join(outer, "inner")
	for _, dir := range []string{outer, inner} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			need.Missing(t, "cgroup", err.Error())
		}
		t.Cleanup(func() {
			// A cgroup can be removed some time after its last process ended.
			for deadline := time.Now().Add(10 * time.Second); syscall.Rmdir(dir) == syscall.EBUSY && time.Now().Before(deadline); {
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	if hs[0].v2 {
		set(t, filepath.Join(outer, "cgroup.subtree_control"), "+"+controller)
	}
	return outer, inner, hs[0].v2
}

func set(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0); err != nil {
		need.Missing(t, "cgroup", err.Error())
	}
}

// run starts a program in a cgroup; it is killed when the test ends.
func run(t *testing.T, dir string, argv ...string) *exec.Cmd {
	t.Helper()
	c := exec.Command("/bin/sh", append([]string{"-c", `echo $$ > "$0"/cgroup.procs && echo in && exec "$@"`, dir}, argv...)...)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.Stderr = os.Stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Process.Kill()
		c.Wait()
	})
	if n, err := out.Read(make([]byte, 3)); n != 3 {
		t.Fatalf("program is not in its cgroup: %v", err)
	}
	return c
}

// TestLiveQuota has a program that would like a whole core and gets less.
func TestLiveQuota(t *testing.T) {
	outer, inner, v2 := group(t, "cpu")
	if v2 {
		set(t, filepath.Join(outer, "cpu.max"), "30000 100000")
	} else {
		set(t, filepath.Join(outer, "cpu.cfs_period_us"), "100000")
		set(t, filepath.Join(outer, "cpu.cfs_quota_us"), "30000")
	}
	pid := run(t, inner, "/bin/sh", "-c", "while :; do :; done").Process.Pid
	cores, why := Root("").CPULimit(pid)
	if cores != 0.3 || !strings.Contains(why, filepath.Base(outer)) || strings.Contains(why, "inner") {
		t.Errorf("%v cores, %s", cores, why)
	}
	t.Logf("%v cores, %s", cores, why)
	// The time is taken outside of the readings of the clock, so that delays of
	// this program make it longer.
	begin := time.Now()
	before, err := cpuclock.Process(pid)
	if err != nil {
		t.Fatal(err)
	}
	var used, passed time.Duration
	for throttled := 0.0; throttled == 0 || passed < 2*time.Second; time.Sleep(100 * time.Millisecond) {
		after, err := cpuclock.Process(pid)
		used, passed = after-before, time.Since(begin)
		if err != nil || passed > 30*time.Second {
			t.Fatalf("throttled %v times in %v, %v", throttled, passed, err)
		}
		if throttled, err = readNumber(filepath.Join(outer, "cpu.stat"), "nr_throttled"); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("it used %v in %v", used, passed)
	// A period of 100 ms at each end may be cut, and its quota is given out in
	// slices to each CPU.
	if most := time.Duration(cores*float64(passed)) + 150*time.Millisecond; used > most {
		t.Errorf("it used %v in %v, want at most %v", used, passed, most)
	}
	if _, err := Root("").Value(pid, "cpu.stat:nr_periods"); err != nil {
		t.Error(err)
	}

	taskset := need.Tool(t, "taskset")
	if msg, err := exec.Command(taskset, "-pc", "0", fmt.Sprint(pid)).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, msg)
	}
	if v2 {
		set(t, filepath.Join(outer, "cpu.max"), "max 100000")
	} else {
		set(t, filepath.Join(outer, "cpu.cfs_quota_us"), "-1")
	}
	if cores, why := Root("").CPULimit(pid); cores != 1 {
		t.Errorf("on one CPU: %v cores, %s", cores, why)
	}
}

func TestLiveMemory(t *testing.T) {
	outer, inner, v2 := group(t, "memory")
	const limit = 64 << 20
	file := "memory.limit_in_bytes"
	if v2 {
		file = "memory.max"
	}
	if limit, why := Root("").MemoryLimit(os.Getpid()); limit == 0 || why == "" {
		t.Errorf("our own limit is %d, %s", limit, why)
	}
	set(t, filepath.Join(outer, file), fmt.Sprint(limit))
	pid := run(t, inner, "/bin/sleep", "1000").Process.Pid
	bytes, why := Root("").MemoryLimit(pid)
	if bytes != limit || !strings.Contains(why, file) {
		t.Errorf("%d bytes, %s", bytes, why)
	}
	t.Logf("%d bytes, %s", bytes, why)
	for _, name := range []string{"memory.current", "memory.stat:anon"} {
		if v, err := Root("").Value(pid, name); err != nil || v < 0 || v > limit {
			t.Errorf("%s is %v, %v", name, v, err)
		} else {
			t.Logf("%s is %v", name, v)
		}
	}
	if v, err := Root("").Value(pid, "memory.max"); err != nil || !math.IsInf(v, 1) {
		t.Errorf("memory.max is %v, %v", v, err)
	}
	g, err := Root("").Find(pid)
	if err != nil {
		t.Fatal(err)
	}
	if names := g.Names(); len(names) < 10 {
		t.Errorf("names %v", names)
	}
}

// TestLiveNamespace asks from within a cgroup namespace, with the mounts of the
// namespace outside, whose roots are above its own.
func TestLiveNamespace(t *testing.T) {
	outer, inner, v2 := group(t, "cpu")
	unshare := need.Tool(t, "unshare")
	if v2 {
		set(t, filepath.Join(inner, "cpu.max"), "30000 100000")
	} else {
		set(t, filepath.Join(inner, "cpu.cfs_period_us"), "100000")
		set(t, filepath.Join(inner, "cpu.cfs_quota_us"), "30000")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command("/bin/sh", "-c", `echo $$ > "$0"/cgroup.procs && exec "$@"`, inner, unshare, "-C", self)
	c.Env = append(os.Environ(), helperVariable+"=1")
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.HasPrefix(string(out), "0.3 cores") || !strings.HasSuffix(string(out), "of cgroup /\n") {
		t.Errorf("within %s: %s", outer, out)
	}
}

func BenchmarkValue(b *testing.B) {
	g, err := Root("").Find(os.Getpid())
	if err != nil {
		b.Fatal(err)
	}
	const name = "memory.current"
	if _, err := g.Value(name); err != nil {
		b.Skip(err)
	}
	b.Run("found", func(b *testing.B) {
		for b.Loop() {
			g.Value(name)
		}
	})
	b.Run("each time", func(b *testing.B) {
		for b.Loop() {
			Root("").Value(os.Getpid(), name)
		}
	})
	b.Run("CPU limit", func(b *testing.B) {
		for b.Loop() {
			g.CPULimit()
		}
	})
}
