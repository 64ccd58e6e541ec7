package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"procdump/victims"
	"procdump/victims/guest"
	"procdump/victims/need"
)

// guestTest is a test of procdump in a guest: its programs are those of the
// host, and what it writes to the guest's Dir is there for the host to judge.
type guestTest struct {
	*guest.Guest
	t *testing.T
}

// bootGuest boots a guest once everything that is to run in it is built: the
// guest may not see files of the host that are newer than its boot.
func bootGuest(t *testing.T, o guest.Options, programs ...string) *guestTest {
	t.Helper()
	if !need.Long() {
		t.Skip("a guest takes seconds to boot: only with PROCDUMP_LONG=1")
	}
	need.Root(t)
	binary(t)
	for _, p := range programs {
		for _, tool := range victims.Tools(p) {
			need.Tool(t, tool)
		}
		if _, err := victims.Build(p); err != nil {
			t.Fatal(err)
		}
	}
	return &guestTest{guest.Boot(t, o), t}
}

// run runs a subtest.
func (g *guestTest) run(name string, f func(g *guestTest)) {
	g.t.Run(name, func(t *testing.T) { f(&guestTest{g.With(t), t}) })
}

// guestVictim is a victim in a guest.
type guestVictim struct {
	*guest.Process
	exe   string
	ready map[string]string
}

// victim starts a victim, in the control group if one is named, and waits until
// it is ready. It is killed at the test's end.
func (g *guestTest) victim(group, name string, args ...string) *guestVictim {
	g.t.Helper()
	exe, err := victims.Build(name)
	if err != nil {
		g.t.Fatal(err)
	}
	argv := append([]string{exe}, args...)
	if group != "" {
		argv = append([]string{"sh", "-c", `echo $$ >"$0"/cgroup.procs && exec "$@"`, group}, argv...)
	}
	p := g.Start(guest.Command{Args: argv})
	g.t.Cleanup(p.Kill)
	v := &guestVictim{Process: p, exe: exe, ready: map[string]string{}}
	for _, f := range strings.Fields(p.Await("ready")) {
		key, value, _ := strings.Cut(f, "=")
		v.ready[key] = value
	}
	return v
}

func (v *guestVictim) pid() string { return strconv.Itoa(v.PID) }

// number is a number of the victim's ready line.
func (v *guestVictim) number(t testing.TB, key string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(v.ready[key], 0, 64)
	if err != nil {
		t.Fatalf("victim's %s: %v", key, err)
	}
	return n
}

// folder makes a folder of the guest's Dir.
func (g *guestTest) folder() string {
	g.t.Helper()
	dir, err := os.MkdirTemp(g.Dir, "dumps")
	if err != nil {
		g.t.Fatal(err)
	}
	return dir
}

// watch starts procdump, and waits for the word that says that it watches.
func (g *guestTest) watch(ready string, args ...string) *guest.Process {
	g.t.Helper()
	p := g.Start(guest.Command{Args: append([]string{binary(g.t), "-json"}, args...)})
	g.t.Cleanup(p.Kill)
	p.Await(`"event":"` + ready + `"`)
	return p
}

// procdump runs procdump to its end.
func (g *guestTest) procdump(args ...string) result {
	g.t.Helper()
	return ended(g.Start(guest.Command{Args: append([]string{binary(g.t), "-json"}, args...)}))
}

// ended is what a procdump leaves when it ends.
func ended(p *guest.Process) result {
	r := p.Wait()
	return result{code: r.Code, stdout: r.Stdout, stderr: r.Stderr, events: eventsOf(r.Stdout)}
}

func eventsOf(text string) []event {
	var all []event
	for line := range strings.Lines(text) {
		var e event
		if json.Unmarshal([]byte(line), &e) == nil && e.Event != "" {
			all = append(all, e)
		}
	}
	return all
}

// reasons lists why dumps were taken.
func (r result) reasons() string {
	var all []string
	for _, e := range r.events {
		if e.Event == "trigger" {
			all = append(all, e.Reason)
		}
	}
	return strings.Join(all, "\n")
}

// wantDump checks that a procdump wrote a dump for each of the reasons, and
// returns the path of the first, which is the same here.
func (g *guestTest) wantDump(p *guest.Process, reasons ...string) string {
	g.t.Helper()
	r := ended(p)
	if c := r.completed(); r.code != 0 || len(c) != len(reasons) {
		g.t.Fatalf("dumps %q, want %d; %v", c, len(reasons), r)
	}
	for _, want := range reasons {
		if !regexp.MustCompile(want).MatchString(r.reasons()) {
			g.t.Errorf("dumps for %q, want one for %q; %v", r.reasons(), want, r)
		}
	}
	return r.completed()[0]
}

// wantNothing cancels a procdump that must not have had a reason for a dump.
func (g *guestTest) wantNothing(p *guest.Process) {
	g.t.Helper()
	p.Signal(syscall.SIGINT)
	if r := ended(p); r.code != 130 || r.reasons() != "" {
		g.t.Errorf("cancelled without a dump: %v", r)
	}
}

// state is what a dump of the victim "trouble" shows that it was doing.
func (v *guestVictim) state(t testing.TB, core string) string {
	t.Helper()
	return stateIn(t, &victims.Victim{Exe: v.exe}, core)
}

// TestGuestCgroup2 runs procdump on the kernel of Debian, which has pressure
// information and cgroup v2, older interfaces than the newest kernel's, and BPF
// trampolines.
func TestGuestCgroup2(t *testing.T) {
	brief := filepath.Join(t.TempDir(), "brief")
	exe, err := victims.Build("trouble")
	if err != nil {
		t.Fatal(err)
	}
	copyFile(t, exe, brief)
	if err := os.Chmod(brief, 0o755); err != nil {
		t.Fatal(err)
	}
	instant := buildInstant(t)
	packages := packageTests(t, "probe/cgroup", "probe/psi", "internal/sys/procconn")
	g := bootGuest(t, guest.Options{CommandLine: []string{"psi=1"}, MemoryMiB: 1536}, "trouble", "threads", "sparse")

	g.run("cpu", func(g *guestTest) {
		const half = "/sys/fs/cgroup/half"
		g.Shell("mkdir " + half + "; echo 50000 100000 >" + half + "/cpu.max")
		g.testCPU(half)
	})
	g.run("memory", func(g *guestTest) {
		const group = "/sys/fs/cgroup/small"
		g.Shell("mkdir " + group + "; echo 300M >" + group + "/memory.max")
		g.testMemory(group, "memory.current")
	})
	g.run("pressure", func(g *guestTest) { g.testPressure() })
	g.run("unhandled", func(g *guestTest) { g.testUnhandled(brief) })
	g.run("instant", func(g *guestTest) { g.testInstant(instant) })
	g.run("handler", func(g *guestTest) { g.testHandler(brief) })
	g.run("output", func(g *guestTest) { g.testOutput() })
	g.run("threads", func(g *guestTest) { g.testThreads() })
	g.run("sparse", func(g *guestTest) { g.testSparse() })
	g.runPackages(packages)
}

// TestGuestCgroup1 runs procdump where control groups are those of version 1
// and there is no pressure information.
func TestGuestCgroup1(t *testing.T) {
	packages := packageTests(t, "probe/cgroup", "probe/psi")
	g := bootGuest(t, guest.Options{CommandLine: []string{"psi=0"}, CgroupV1: true}, "trouble")

	g.run("cpu", func(g *guestTest) {
		const half = "/sys/fs/cgroup/cpu/half"
		g.Shell("mkdir " + half + "; echo 100000 >" + half + "/cpu.cfs_period_us; echo 50000 >" + half + "/cpu.cfs_quota_us")
		g.testCPU(half)
	})
	g.run("memory", func(g *guestTest) {
		const group = "/sys/fs/cgroup/memory/small"
		g.Shell("mkdir " + group + "; echo 300M >" + group + "/memory.limit_in_bytes")
		g.testMemory(group, "memory.usage_in_bytes")
	})
	g.run("no pressure", func(g *guestTest) {
		v := g.victim("", "trouble")
		for _, counter := range []string{"psi:memory.some.avg10", "psi:cgroup.memory.some.avg10"} {
			r := g.procdump("-p", counter, "5", v.pid(), g.folder())
			if r.code == 0 || !strings.Contains(r.String(), "psi=1") {
				t.Errorf("-p %s: no remedy in %v", counter, r)
			}
		}
		r := g.Run(binary(t), "-counters", v.pid())
		if r.Code != 0 || strings.Contains(r.Stdout, "psi:") && !strings.Contains(r.Stdout, "psi=1") {
			t.Errorf("list of counters: %v", r)
		}
	})
	g.runPackages(packages)
}

// TestGuestNewestKernel looks whether the product works at all on the newest
// kernel that there is.
func TestGuestNewestKernel(t *testing.T) {
	g := bootGuest(t, guest.Options{Kernel: "newest"}, "trouble", "threads", "sparse")
	g.run("output", func(g *guestTest) { g.testOutput() })
	g.run("threads", func(g *guestTest) { g.testThreads() })
	g.run("sparse", func(g *guestTest) { g.testSparse() })
}

// packageTest is the test program of one of the module's packages.
type packageTest struct{ folder, exe string }

// packageTests builds them.
func packageTests(t *testing.T, folders ...string) []packageTest {
	t.Helper()
	if !need.Long() {
		return nil
	}
	root, err := victims.ModuleDir()
	if err != nil {
		t.Fatal(err)
	}
	var all []packageTest
	for _, f := range folders {
		p := packageTest{filepath.Join(root, f), filepath.Join(t.TempDir(), filepath.Base(f)+".test")}
		cmd := exec.Command(need.Tool(t, "go"), "test", "-c", "-o", p.exe, ".")
		cmd.Dir, cmd.Env = p.folder, append(os.Environ(), "CGO_ENABLED=0")
		if msg, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build tests of %s: %v\n%s", f, err, msg)
		}
		all = append(all, p)
	}
	return all
}

// runPackages runs packages' own tests in the guest.
func (g *guestTest) runPackages(all []packageTest) {
	for _, p := range all {
		g.run(filepath.Base(p.folder), func(g *guestTest) {
			r := g.Start(guest.Command{Args: []string{p.exe, "-test.v", "-test.timeout=100s"}, Dir: p.folder, Env: []string{"PROCDUMP_LONG=0"}}).Wait()
			if r.Code != 0 || !strings.Contains(r.Stdout, "--- PASS") {
				g.t.Errorf("%v", r)
			}
			for line := range strings.Lines(r.Stdout) {
				if strings.Contains(line, "--- SKIP") {
					g.t.Logf("%s", line)
				}
			}
		})
	}
}
