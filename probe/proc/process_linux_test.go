package proc

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"procdump/victims/need"
)

// TestValues compares samples with what the process was told to do.
func TestValues(t *testing.T) {
	v := startVictim(t)
	p := watch(t, "", v.pid, all)
	before := take(t, p)
	if before.Threads != 1 || before.Commit == 0 || before.Files < 3 {
		t.Errorf("before: %+v", before)
	}
	v.do("threads 7")
	v.do("files 20")
	v.do("mem 5000")
	v.do("shared 3000")
	after := take(t, p)
	if after.Threads != 8 || after.Files != before.Files+20 {
		t.Errorf("after: %+v", after)
	}
	// The stacks and the C library's own memory are some pages more; kernels
	// before 6.18 keep up to 64 pages of each CPU's to themselves.
	page := uint64(os.Getpagesize())
	if pages := (after.Commit - before.Commit) / page; pages < 4500 || pages > 5500 {
		t.Errorf("commit grew by %d pages, want about 5000", pages)
	}
}

// TestCommitIsAnonymous compares the difference of two numbers of statm with
// the kernel's exact account of every page, in smaps_rollup.
func TestCommitIsAnonymous(t *testing.T) {
	v := startVictim(t)
	v.do("threads 20")
	v.do("shared 1000")
	p := watch(t, "", v.pid, Commit)
	field := func(file, name string) uint64 {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", v.pid, file))
		if err != nil {
			t.Fatal(err)
		}
		n, ok := parseKB(b, name)
		if !ok {
			t.Fatalf("no %s in %s", name, file)
		}
		return n
	}
	cpus := uint64(len(strings.Split(readFile(t, "/proc/stat"), "\ncpu")))
	for range 5 {
		v.do("mem 777")
		s := take(t, p)
		status := field("status", "RssAnon") + field("status", "VmSwap")
		exact := field("smaps_rollup", "Anonymous") + field("smaps_rollup", "Swap")
		t.Logf("commit %d, status %d, smaps_rollup %d kB", s.Commit>>10, status>>10, exact>>10)
		// A counter may be off by 32 pages a CPU, or more on many CPUs
		// (percpu_counter_batch), and two are subtracted.
		slack := 2 * max(64, 2*cpus) * cpus * uint64(os.Getpagesize())
		if d := math.Abs(float64(s.Commit) - float64(exact)); d > float64(slack) {
			t.Errorf("commit is %d, smaps_rollup says %d", s.Commit, exact)
		}
		if d := math.Abs(float64(s.Commit) - float64(status)); d > float64(slack) {
			t.Errorf("commit is %d, status says %d", s.Commit, status)
		}
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestCPU has a process that spins, seen by its clock and by stat.
func TestCPU(t *testing.T) {
	for _, clock := range []bool{true, false} {
		t.Run(fmt.Sprintf("clock=%v", clock), func(t *testing.T) {
			v := startVictim(t)
			p := watch(t, "", v.pid, CPU)
			if !p.clock {
				t.Fatal("the clock of a process of this PID namespace is not used")
			}
			p.clock = clock
			if s := take(t, p); !math.IsNaN(s.CPU) {
				t.Errorf("first sample %+v", s)
			}
			time.Sleep(50 * time.Millisecond)
			if s := take(t, p); !(s.CPU < 0.3) {
				t.Errorf("idle: %+v", s)
			}
			v.do("spin 1")
			// Whatever the load of the machine, it gets a tenth of a core, and
			// not much more than one.
			eventually(t, "CPU use", func() bool {
				time.Sleep(50 * time.Millisecond)
				s := take(t, p)
				if s.CPU > 1.5 {
					t.Fatalf("%+v of one spinning thread", s)
				}
				return s.CPUSpan >= windowNear && s.CPU > 0.1
			})
			v.end()
			isGone(t, p)
		})
	}
}

// TestIdle reads nothing of a process that has not run, for a while.
func TestIdle(t *testing.T) {
	v := startVictim(t)
	p := watch(t, "", v.pid, all)
	first := take(t, p)
	eventually(t, "idle process", func() bool { // it goes back to sleep after its answer
		read := p.read
		first = take(t, p)
		return p.read == read
	})
	read := p.read
	var s Sample
	if err := p.Sample(time.Now().Add(idleRefresh), &s); err != nil {
		t.Fatal(err)
	}
	if p.read == read {
		t.Error("an idle process is never read again")
	}
	v.do("files 1")
	if s := take(t, p); s.Files != first.Files+1 {
		t.Errorf("%+v, was %+v", s, first)
	}
}

// modes are the ways to sample a process.
var modes = map[string]func(t *testing.T, pid int, want Want) *Process{
	"kept": func(t *testing.T, pid int, want Want) *Process {
		p := watch(t, "", pid, want)
		if p.statm < 0 {
			t.Fatal("no descriptor is kept")
		}
		return p
	},
	"stat for CPU": func(t *testing.T, pid int, want Want) *Process {
		p := watch(t, "", pid, want)
		p.clock = false
		return p
	},
	"nothing kept": func(t *testing.T, pid int, want Want) *Process {
		setLimit(t, 64)
		for watch(t, "", os.Getpid(), Commit).statm >= 0 {
		}
		p := watch(t, "", pid, want)
		if p.statm >= 0 || p.task >= 0 || p.fd >= 0 {
			t.Fatal("descriptors are kept")
		}
		return p
	},
}

func TestGone(t *testing.T) {
	for name, open := range modes {
		for _, want := range []Want{CPU, Commit, Threads, Files, all} {
			t.Run(fmt.Sprintf("%s/%b", name, want), func(t *testing.T) {
				v := startVictim(t)
				child := v.do("sleepers 1")[0]
				p := open(t, child, want)
				take(t, p)
				syscall.Kill(child, syscall.SIGKILL)
				isGone(t, p) // a zombie
				v.do("reap")
				isGone(t, p)
				if _, err := Root("").Open(child, want); !errors.Is(err, ErrGone) {
					t.Errorf("open: %v", err)
				}
			})
		}
	}
}

// TestReused has another process with the same PID.
func TestReused(t *testing.T) {
	need.Root(t)
	for name, open := range modes {
		for _, want := range []Want{CPU, all} {
			t.Run(fmt.Sprintf("%s/%b", name, want), func(t *testing.T) {
				v := startVictim(t)
				child := v.do("sleepers 1")[0]
				p := open(t, child, want)
				take(t, p)
				syscall.Kill(child, syscall.SIGKILL)
				v.do("reap")
				time.Sleep(20 * time.Millisecond) // the start is counted in 1/100 s
				v.do(fmt.Sprint("reborn ", child))
				var s Sample
				if err := p.Sample(time.Now(), &s); !errors.Is(err, ErrGone) {
					t.Errorf("sample of another process %+v, %v", s, err)
				}
				take(t, watch(t, "", child, want))
			})
		}
	}
}

// TestLeaderless has a process whose first thread has ended.
func TestLeaderless(t *testing.T) {
	for name, open := range modes {
		t.Run(name, func(t *testing.T) {
			v := startVictim(t)
			v.do("threads 2")
			v.do("mem 1000")
			p := open(t, v.pid, all)
			before := take(t, p)
			v.do("leave")
			eventually(t, "first thread has ended", func() bool {
				s := stat{}
				return p.readStat(&s) == nil && s.state == 'Z'
			})
			v.do("files 3")
			s := take(t, p)
			if s.Threads != 4 || s.Files != before.Files+3 || s.Commit < 1000*uint64(os.Getpagesize()) {
				t.Errorf("%+v, with its first thread %+v", s, before)
			}
			again := open(t, v.pid, all)
			if got := take(t, again); got.Threads != s.Threads || got.Files != s.Files {
				t.Errorf("opened anew: %+v, want %+v", got, s)
			}
			v.end()
			isGone(t, p)
		})
	}
}

// TestLimit samples more processes than there may be descriptors.
func TestLimit(t *testing.T) {
	v := startVictim(t)
	pids := v.do("sleepers 100")
	setLimit(t, 80)
	var ps []*Process
	keeping := 0
	for _, pid := range pids {
		p := watch(t, "", pid, all)
		ps = append(ps, p)
		if p.statm >= 0 {
			keeping++
		}
	}
	if keeping == 0 || keeping == len(ps) {
		t.Errorf("%d of %d processes have descriptors", keeping, len(ps))
	}
	if n := kept.Load(); n > 48 {
		t.Errorf("%d descriptors are kept, of 80, and the last 32 are for dumps", n)
	}
	// Now somebody uses up what was left.
	var files []*os.File
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	for {
		f, err := os.Open("/dev/null")
		if err != nil {
			if !errors.Is(err, syscall.EMFILE) {
				t.Fatal(err)
			}
			break
		}
		files = append(files, f)
	}
	want := take(t, ps[0])
	for i, p := range ps {
		p.read = 0
		s := take(t, p)
		if s.Threads != 1 || s.Files != want.Files || s.Commit == 0 {
			t.Errorf("process %d: %+v, want about %+v", i, s, want)
		}
	}
	extra := watch(t, "", pids[0], all)
	take(t, extra)
	for _, p := range ps {
		p.Close()
		p.Close()
	}
	extra.Close()
	if n := kept.Load(); n != 0 {
		t.Errorf("%d descriptors are kept when all are closed", n)
	}
}

func TestNoAllocations(t *testing.T) {
	v := startVictim(t)
	p := watch(t, "", v.pid, all)
	var s Sample
	if n := testing.AllocsPerRun(100, func() {
		p.read = 0
		if err := p.Sample(time.Now(), &s); err != nil {
			t.Fatal(err)
		}
	}); n >= 1 {
		t.Errorf("a sample makes %v allocations", n)
	}
}

// TestOtherNamespace samples the first process of another PID namespace, by
// the proc file system that is mounted there: its PID means another process to
// the kernel.
func TestOtherNamespace(t *testing.T) {
	need.Root(t)
	unshare := need.Tool(t, "unshare")
	v := startVictim(t, unshare, "-fp", "--mount-proc")
	children := strings.Fields(readFile(t, fmt.Sprintf("/proc/%d/task/%d/children", v.pid, v.pid)))
	if len(children) != 1 {
		t.Fatalf("unshare has children %v", children)
	}
	root := Root(filepath.Join("/proc", children[0], "root/proc"))
	p := watch(t, root, 1, all)
	if p.clock {
		t.Fatal("the clock of our own process 1 is used")
	}
	v.do("threads 2")
	v.do("spin 1")
	take(t, p)
	eventually(t, "CPU use", func() bool {
		time.Sleep(100 * time.Millisecond)
		return take(t, p).CPU > 0.1
	})
	if s := take(t, p); s.Threads != 4 {
		t.Errorf("%+v", s)
	}
	v.end()
}

func TestThisMachine(t *testing.T) {
	m := Root("").machine()
	if !m.procfs || !m.clocks {
		t.Errorf("/proc is not taken for the proc file system of this PID namespace: %+v", m)
	}
	if same := Root("/proc").machine(); same.root != m.root || same.procfs != m.procfs {
		t.Error(`"" and "/proc" differ`)
	}
	release := readFile(t, "/proc/sys/kernel/osrelease")
	var major, minor int
	fmt.Fscanf(bytes.NewReader([]byte(release)), "%d.%d", &major, &minor)
	if modern := major > 6 || major == 6 && minor >= 2; m.fdSize != modern {
		t.Errorf("Linux %d.%d: fd folders have sizes: %v", major, minor, m.fdSize)
	}
}

// TestUnprivileged samples another user's process.
func TestUnprivileged(t *testing.T) {
	need.Root(t)
	v := startVictim(t)
	v.do("threads 3")
	v.do("files 5")
	want := take(t, watch(t, "", v.pid, all))
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "proc")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "helper")
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(program, self, 0o755)); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(program)
	c.Env = append(os.Environ(), fmt.Sprint(helperVariable, "=", v.pid))
	c.Dir = dir
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprint(want.Threads, " ", want.Files, " ")
	if !Root("").machine().fdSize {
		text = "permission denied (before Linux 6.2 only a process's own user and root may"
	}
	if !strings.Contains(string(out), text) || Root("").machine().fdSize && !strings.HasSuffix(string(out), " true <nil>\n") {
		t.Errorf("%s, want %s", out, text)
	}
}
