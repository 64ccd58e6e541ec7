package target

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// expectReasons lets another procdump explain why it may not trace pid.
func expectReasons(t *testing.T, pid int, prepare func(*exec.Cmd), want []Reason, words ...string) {
	t.Helper()
	r, out := ask(t, "explain", prepare, strconv.Itoa(pid))
	if !r.Denied || !slices.Equal(r.Reasons, want) {
		t.Errorf("reasons %v, want %v: %s", r.Reasons, want, out)
	}
	for _, w := range words {
		if !strings.Contains(r.Text, w) {
			t.Errorf("%q is not in: %s", w, r.Text)
		}
	}
	t.Log(r.Text)
}

// mayTrace tells what the kernel says to a program that prepare changes.
func mayTrace(t *testing.T, pid int, prepare func(*exec.Cmd)) bool {
	t.Helper()
	c := exec.Command(program(t, "tracer"), strconv.Itoa(pid))
	c.Env = append(os.Environ(), helperVariable+"=trace")
	if prepare != nil {
		prepare(c)
	}
	out, err := c.CombinedOutput()
	if err != nil && !strings.Contains(string(out), "not permitted") {
		t.Fatalf("%v: %s", err, out)
	}
	return err == nil
}

// expectRefusal has both: an explanation counts only where the kernel refuses.
func expectRefusal(t *testing.T, pid int, prepare func(*exec.Cmd), want []Reason, words ...string) {
	t.Helper()
	if mayTrace(t, pid, prepare) {
		t.Fatal("the kernel allows it")
	}
	expectReasons(t, pid, prepare, want, words...)
}

func yamaScope() string { return readText("/proc/sys/kernel/yama/ptrace_scope") }

// plain skips where Yama or a container adds reasons of its own.
func plain(t *testing.T) {
	t.Helper()
	needRoot(t)
	if s := yamaScope(); s != "" && s != "0" {
		t.Skip("kernel.yama.ptrace_scope is " + s)
	}
	if s, _ := Proc.status(os.Getpid()); s.seccomp != 0 || s.capBnd&capSysPtrace == 0 {
		t.Skip("in a container with restrictions")
	}
}

func TestDeniedUser(t *testing.T) {
	plain(t)
	v := start(t, "wait", nil)
	expectRefusal(t, v.pid(), asNobody, []Reason{ReasonUser}, "victim ("+strconv.Itoa(v.pid())+")", "it runs as root (uid 0)", "nobody (uid 65534)", "sudo")
}

func TestDeniedGroup(t *testing.T) {
	plain(t)
	v := start(t, "wait", func(c *exec.Cmd) {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: 12}}
	})
	expectRefusal(t, v.pid(), asNobody, []Reason{ReasonUser}, "group ids are real 12", "procdump's is 65534")
}

func TestDeniedSetuid(t *testing.T) {
	plain(t)
	path := program(t, "setuid")
	// A copy: a link would make the test binary setuid.
	suid := filepath.Join(filepath.Dir(path), "suid")
	copyFile(t, path, suid)
	if err := os.Chown(suid, 12, 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(suid, 0o755|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	v := startProgram(t, suid, "wait", asNobody)
	if get(t, v.pid()).UID != 12 {
		t.Skip("setuid programs do not work in /tmp")
	}
	expectRefusal(t, v.pid(), asNobody, []Reason{ReasonUser, ReasonDumpable}, "it runs as", "uid 12")
}

func TestDeniedDumpable(t *testing.T) {
	plain(t)
	v := start(t, "undumpable", asNobody)
	expectRefusal(t, v.pid(), asNobody, []Reason{ReasonDumpable}, "not dumpable", "sudo")
}

// An image that its own user may execute but not read makes a process
// undumpable too.
func TestDeniedUnreadable(t *testing.T) {
	plain(t)
	path := filepath.Join(filepath.Dir(program(t, "x")), "unreadable")
	copyFile(t, "/bin/sleep", path)
	if err := os.Chmod(path, 0o711); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(path, "1000")
	asNobody(c)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		c.Process.Kill()
		c.Wait()
	}()
	expectRefusal(t, c.Process.Pid, asNobody, []Reason{ReasonDumpable}, "unreadable image")
}

func TestDeniedTargetCapabilities(t *testing.T) {
	plain(t)
	const netBind = 10
	v := start(t, "wait", func(c *exec.Cmd) {
		asNobody(c)
		c.SysProcAttr.AmbientCaps = []uintptr{netBind}
	})
	expectRefusal(t, v.pid(), asNobody, []Reason{ReasonTargetCapabilities}, "0x400")
}

// Root in a container is root without most capabilities.
func TestDeniedRootWithoutCapability(t *testing.T) {
	plain(t)
	setpriv, err := exec.LookPath("setpriv")
	if err != nil {
		t.Skip(err)
	}
	dropped := func(c *exec.Cmd) {
		c.Args = append([]string{setpriv, "--bounding-set", "-sys_ptrace", "--inh-caps", "-sys_ptrace", c.Path}, c.Args[1:]...)
		c.Path = setpriv
	}
	v := start(t, "wait", asNobody)
	expectRefusal(t, v.pid(), dropped, []Reason{ReasonCapability}, "procdump is root without CAP_SYS_PTRACE", "--cap-add SYS_PTRACE")
	// Same ids, but the target has a capability more.
	root := start(t, "wait", nil)
	expectRefusal(t, root.pid(), dropped, []Reason{ReasonTargetCapabilities}, "0x80000", "--cap-add SYS_PTRACE")
}

// A process in a namespace that root made for nobody: nobody's ids are the
// same, but the capabilities over the namespace are root's.
func TestDeniedUserNamespace(t *testing.T) {
	plain(t)
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		t.Skip(err)
	}
	v := start(t, "wait", func(c *exec.Cmd) {
		c.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 5, HostID: nobody, Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 5, HostID: nobody, Size: 1}},
			Credential:  &syscall.Credential{Uid: 5, Gid: 5, NoSetGroups: true},
		}
	})
	expectRefusal(t, v.pid(), asNobody, []Reason{ReasonUserNamespace}, "uid map 5 65534 1", "nsenter -U -t")

	// The other way round: procdump within, the target outside.
	outside := start(t, "wait", asNobody)
	within := func(c *exec.Cmd) {
		c.Args = append([]string{unshare, "-Ur", c.Path}, c.Args[1:]...)
		c.Path = unshare
		asNobody(c)
	}
	expectRefusal(t, outside.pid(), within, []Reason{ReasonUserNamespace}, "outside of procdump's")
}

// A namespace of its own is no obstacle to the user who made it.
func TestAllowedUserNamespace(t *testing.T) {
	plain(t)
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		t.Skip(err)
	}
	v := start(t, "wait", func(c *exec.Cmd) {
		c.Args = append([]string{unshare, "-Ur", c.Path}, c.Args[1:]...)
		c.Path = unshare
		asNobody(c)
	})
	if !mayTrace(t, v.pid(), asNobody) {
		t.Error("the kernel refuses")
	}
}

const explained = 100 // the target in explainTests

var explainTests = []struct {
	name  string
	make  func(f *fixture)
	want  []Reason
	words []string
}{
	{"nothing", func(f *fixture) {}, []Reason{ReasonUnknown}, []string{"no rule"}},
	{"yama 1", func(f *fixture) { f.write("proc/sys/kernel/yama/ptrace_scope", "1\n") },
		[]Reason{ReasonYama}, []string{"ptrace_scope is 1", "procdump -x", "PR_SET_PTRACER"}},
	{"yama 1 child", func(f *fixture) {
		f.write("proc/sys/kernel/yama/ptrace_scope", "1\n")
		f.process(90, "shell", "/shell")
		f.status(explained, "PPid:\t90\n")
		f.status(90, "PPid:\t50\n")
	}, []Reason{ReasonUnknown}, nil},
	{"yama 1 privileged", func(f *fixture) {
		f.write("proc/sys/kernel/yama/ptrace_scope", "1\n")
		f.status(ownPID, "CapEff:\t0000000000080000\n")
	}, []Reason{ReasonUnknown}, []string{"dmesg"}},
	{"yama 2", func(f *fixture) { f.write("proc/sys/kernel/yama/ptrace_scope", "2\n") },
		[]Reason{ReasonYama}, []string{"ptrace_scope is 2"}},
	{"yama 3", func(f *fixture) {
		f.write("proc/sys/kernel/yama/ptrace_scope", "3\n")
		f.status(ownPID, "CapEff:\t0000000000080000\n")
	}, []Reason{ReasonYama}, []string{"not even root", "reboot"}},
	{"apparmor", func(f *fixture) {
		f.write("proc/50/attr/current", "docker-default (enforce)\n")
		f.write("proc/100/attr/current", "unconfined\n")
	}, []Reason{ReasonLSM}, []string{"AppArmor", "docker-default (enforce)", "apparmor=unconfined"}},
	{"apparmor together", func(f *fixture) {
		f.write("proc/50/attr/current", "docker-default (enforce)\n")
		f.write("proc/100/attr/current", "docker-default (enforce)\n")
		f.write("sys/kernel/security/lsm", "lockdown,capability,landlock,yama,apparmor")
	}, []Reason{ReasonUnknown}, []string{"security module apparmor"}},
	{"selinux", func(f *fixture) {
		f.write("sys/fs/selinux/enforce", "1")
		f.write("proc/50/attr/current", "system_u:system_r:container_t:s0:c1,c2\x00")
		f.write("proc/100/attr/current", "system_u:system_r:container_t:s0:c3,c4\x00")
	}, []Reason{ReasonLSM}, []string{"SELinux", "c3,c4", "ausearch"}},
	{"selinux permissive", func(f *fixture) {
		f.write("sys/fs/selinux/enforce", "0")
		f.write("proc/50/attr/current", "a:b:c_t:s0")
		f.write("proc/100/attr/current", "a:b:d_t:s0")
	}, []Reason{ReasonUnknown}, nil},
	{"selinux boolean", func(f *fixture) { f.write("sys/fs/selinux/booleans/deny_ptrace", "1 1") },
		[]Reason{ReasonLSM}, []string{"deny_ptrace", "setsebool"}},
	{"seccomp", func(f *fixture) { f.status(ownPID, "Seccomp:\t2\nCapBnd:\t00000000a80425fb\n") },
		[]Reason{ReasonSeccomp}, []string{"system-call filter", "--cap-add SYS_PTRACE"}},
	{"seccomp with capability", func(f *fixture) { f.status(ownPID, "Seccomp:\t2\n") },
		[]Reason{ReasonUnknown}, []string{"seccomp=unconfined"}},
	{"lockdown", func(f *fixture) { f.write("sys/kernel/security/lockdown", "none integrity [confidentiality]\n") },
		[]Reason{ReasonUnknown}, []string{"lockdown"}},
	{"landlock", func(f *fixture) {
		f.write("sys/kernel/security/lsm", "capability,landlock")
		f.status(ownPID, "NoNewPrivs:\t1\n")
	}, []Reason{ReasonUnknown}, []string{"Landlock"}},
	{"setuid", func(f *fixture) {
		u := os.Getuid()
		f.status(explained, fmt.Sprintf("Uid:\t%d\t%d\t4242\t%d\n", u, u, u))
		f.status(ownPID, fmt.Sprintf("Uid:\t%d\t4243\t%d\t%d\n", u, u, u))
	}, []Reason{ReasonUser}, []string{"saved 4242", "setuid program"}},
	{"everything", func(f *fixture) {
		f.write("proc/sys/kernel/yama/ptrace_scope", "1\n")
		f.status(explained, "Gid:\t4242\t4242\t4242\t4242\nCapPrm:\t0000000000000001\n")
		f.write("proc/100/uid_map", "0 1000 1\n")
		os.Remove(filepath.Join(f.root, "proc/100/ns/user"))
		f.status(ownPID, "Uid:\t4241\t4241\t4241\t4241\n")
	}, []Reason{ReasonUser, ReasonUserNamespace, ReasonDumpable, ReasonYama}, []string{"remedy: run procdump as root (sudo)"}},
}

func TestExplainFixtures(t *testing.T) {
	for _, tt := range explainTests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			f.process(explained, "web", "/srv/web", "web")
			tt.make(f)
			err := f.ExplainDenied(explained)
			d := (*DeniedError)(nil)
			if !errors.As(err, &d) || !errors.Is(err, ErrDenied) {
				t.Fatalf("error %v", err)
			}
			var got []Reason
			for _, c := range d.Causes {
				got = append(got, c.Reason)
				if !d.Has(c.Reason) {
					t.Error("Has is wrong")
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("reasons %v, want %v: %v", got, tt.want, err)
			}
			for _, w := range tt.words {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q is not in: %v", w, err)
				}
			}
		})
	}
}

// The files of /proc belong to root when a process is not dumpable.
func TestExplainOwner(t *testing.T) {
	needRoot(t)
	f := newFixture(t)
	f.process(100, "web", "/srv/web", "web")
	for _, pid := range []int{100, ownPID} {
		f.status(pid, "Uid:\t4242\t4242\t4242\t4242\nGid:\t4242\t4242\t4242\t4242\n")
	}
	f.write("proc/sys/fs/suid_dumpable", "2\n")
	err := f.ExplainDenied(100)
	d := (*DeniedError)(nil)
	if !errors.As(err, &d) || !d.Has(ReasonDumpable) || len(d.Causes) != 1 || !strings.Contains(err.Error(), "suid_dumpable is 2") {
		t.Error(err)
	}
	if err := os.Chown(filepath.Join(f.root, "proc/100/status"), 4242, 4242); err != nil {
		t.Fatal(err)
	}
	if errors.As(f.ExplainDenied(100), &d); d.Has(ReasonDumpable) {
		t.Error("dumpable, but called not")
	}
}

func TestReasonNames(t *testing.T) {
	seen := map[string]bool{}
	for r := ReasonUnknown; r <= ReasonSeccomp; r++ {
		if s := r.String(); seen[s] || strings.HasPrefix(s, "reason") {
			t.Errorf("name of %d: %s", int(r), s)
		} else {
			seen[s] = true
		}
	}
}
