package target

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"procdump/internal/printable"
)

// capSysPtrace is the bit of CAP_SYS_PTRACE (capabilities(7)).
const capSysPtrace = 1 << 19

// ExplainDenied finds out why the kernel refused (EPERM, EACCES) to let
// procdump trace or read a process that exists: a *DeniedError, or the error of
// Check if that explains it.
func ExplainDenied(pid int) error { return Proc.ExplainDenied(pid) }

// ExplainDenied explains a refusal by what fs tells.
//
// It retraces what the kernel does (ptrace(2), "Ptrace access mode checking";
// __ptrace_may_access in kernel/ptrace.c): user and group ids, dumpable, then
// the security modules: commoncap, which compares capabilities and user
// namespaces, Yama, and the others.
func (fs FS) ExplainDenied(pid int) error {
	p, err := fs.Get(pid)
	if err != nil {
		return err
	}
	if err := fs.Check(p); err != nil {
		return err
	}
	a, ok := fs.access(pid)
	if !ok {
		return &NotFoundError{Selector: fmt.Sprintf("PID %d", pid)}
	}
	var causes []Cause
	for _, rule := range []func(*access) (Cause, bool){
		(*access).ids, (*access).namespaces, (*access).dumpable, (*access).capabilities,
		(*access).yama, (*access).modules, (*access).seccomp,
	} {
		if c, forbids := rule(a); forbids {
			causes = append(causes, c)
		}
	}
	if len(causes) == 0 {
		causes = []Cause{a.unknown()}
	}
	return &DeniedError{PID: pid, Name: p.Name, Causes: causes}
}

// access is what the kernel's decision depends on.
type access struct {
	fs           FS
	pid, selfPID int
	self, target status
	relation     relation
	privileged   bool // CAP_SYS_PTRACE over the target's user namespace
}

// relation is how the target's user namespace lies to procdump's.
type relation int

const (
	sameNamespace relation = iota
	below                  // the target's is a descendant of ours: capabilities reach it
	elsewhere              // an ancestor or a cousin: they do not
)

func (fs FS) access(pid int) (*access, bool) {
	a := &access{fs: fs, pid: pid, selfPID: fs.self()}
	var ok, okSelf bool
	a.target, ok = fs.status(pid)
	a.self, okSelf = fs.status(a.selfPID)
	if !ok || !okSelf {
		return nil, false
	}
	a.relation = fs.relation(a.selfPID, pid)
	a.privileged = a.self.capEff&capSysPtrace != 0 && a.relation != elsewhere
	return a, true
}

// relation compares two user namespaces. The link ns/user tells whether they
// are one, but only to who may trace the target; uid_map can be read by all and
// shows the outer ids as the reader's namespace sees them: 4294967295 where it
// does not, which is so for namespaces that are not below it
// (user_namespaces(7)).
func (fs FS) relation(self, pid int) relation {
	mine, errMine := os.Readlink(fs.of(self, "ns", "user"))
	other, errOther := os.Readlink(fs.of(pid, "ns", "user"))
	ownMap, otherMap := readText(fs.of(self, "uid_map")), readText(fs.of(pid, "uid_map"))
	if errMine == nil && errOther == nil && mine == other {
		return sameNamespace
	}
	if (errMine != nil || errOther != nil) && ownMap == otherMap {
		return sameNamespace
	}
	for line := range strings.Lines(otherMap) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[1] == "4294967295" {
			return elsewhere
		}
	}
	// Different namespaces, and the target's maps to ids of ours. Seen from
	// within a namespace that is below none of the others can be.
	return below
}

func has(set, capability uint64) bool { return set&capability != 0 }

func (a *access) root() bool { return a.self.uid[1] == 0 }

// privilege is how procdump gets CAP_SYS_PTRACE.
func (a *access) privilege() string {
	switch {
	case !has(a.self.capBnd, capSysPtrace):
		return "procdump's container or service withholds CAP_SYS_PTRACE: start it with --cap-add SYS_PTRACE (docker, podman), " +
			"securityContext.capabilities.add: [SYS_PTRACE] (Kubernetes) or CapabilityBoundingSet=CAP_SYS_PTRACE (systemd)"
	case a.root():
		return "give procdump CAP_SYS_PTRACE (it is root without it)"
	default:
		return "run procdump as root (sudo)"
	}
}

// ids: real, effective and saved ids of the target must be the real ones of
// procdump, or it needs the capability.
func (a *access) ids() (Cause, bool) {
	uid, gid := a.self.uid[0], a.self.gid[0]
	same := func(ids [4]uint32, own uint32) bool { return ids[0] == own && ids[1] == own && ids[2] == own }
	if a.privileged || same(a.target.uid, uid) && same(a.target.gid, gid) {
		return Cause{}, false
	}
	c := Cause{Reason: ReasonUser, Remedy: a.privilege()}
	if a.root() && a.relation != elsewhere {
		c.Reason = ReasonCapability
		c.Text = fmt.Sprintf("it runs as %s and procdump is root without CAP_SYS_PTRACE", a.userText(a.target.uid[1]))
		return c, true
	}
	c.Text = fmt.Sprintf("it runs as %s, procdump as %s", a.userText(a.target.uid[1]), a.userText(uid))
	switch {
	case a.target.uid[1] == uid && !same(a.target.uid, uid):
		c.Text = fmt.Sprintf("its user ids are real %d, effective %d, saved %d (a setuid program), procdump's is %d",
			a.target.uid[0], a.target.uid[1], a.target.uid[2], uid)
	case a.target.uid[1] == uid:
		c.Text = fmt.Sprintf("its group ids are real %d, effective %d, saved %d, procdump's is %d",
			a.target.gid[0], a.target.gid[1], a.target.gid[2], gid)
	}
	return c, true
}

func (a *access) userText(uid uint32) string {
	return userText(newReader(a.fs).userName(uid), uid)
}

// namespaces: in another user namespace the capability over that one is needed.
func (a *access) namespaces() (Cause, bool) {
	if a.relation == sameNamespace || a.privileged {
		return Cause{}, false
	}
	c := Cause{Reason: ReasonUserNamespace}
	if a.relation == elsewhere {
		c.Text = "it is in a user namespace outside of procdump's"
		c.Remedy = "run procdump outside of this container (unshare, rootless podman)"
		return c, true
	}
	c.Text = fmt.Sprintf("it is in a user namespace of its own (uid map %s)", mapText(readText(a.fs.of(a.pid, "uid_map"))))
	c.Remedy = a.privilege()
	if !a.root() && has(a.self.capBnd, capSysPtrace) {
		c.Remedy += fmt.Sprintf(", or as the user who made the namespace, or inside of it (nsenter -U -t %d)", a.pid)
	}
	return c, true
}

func mapText(text string) string {
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		lines[i] = strings.Join(strings.Fields(l), " ")
	}
	return strings.Join(lines, ", ")
}

// dumpable: a program that changed its ids, that only root may read, or that
// called prctl(PR_SET_DUMPABLE, 0), is closed to its own user. /proc then shows
// its files (the folder itself not) as owned by root (proc_pid(5)).
func (a *access) dumpable() (Cause, bool) {
	if a.privileged {
		return Cause{}, false
	}
	info, err := os.Stat(a.fs.of(a.pid, "status"))
	if err != nil {
		return Cause{}, false
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || owner.Uid == a.target.uid[1] && owner.Gid == a.target.gid[1] {
		return Cause{}, false
	}
	return Cause{Reason: ReasonDumpable, Remedy: a.privilege(),
		Text: fmt.Sprintf("it is not dumpable (setuid, file capabilities, unreadable image or prctl(PR_SET_DUMPABLE, 0); fs.suid_dumpable is %s)",
			orUnknown(readText(a.fs.path("sys", "fs", "suid_dumpable"))))}, true
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

// capabilities: in one user namespace, all of the target's permitted ones must
// be procdump's too.
func (a *access) capabilities() (Cause, bool) {
	missing := a.target.capPrm &^ a.self.capPrm
	if a.privileged || a.relation != sameNamespace || missing == 0 {
		return Cause{}, false
	}
	// A root process has them because it is root: that is said already.
	if a.target.uid[1] == 0 && !a.root() {
		return Cause{}, false
	}
	return Cause{Reason: ReasonTargetCapabilities, Remedy: a.privilege(),
		Text: fmt.Sprintf("it has capabilities that procdump lacks (%#x)", missing)}, true
}

// yama: kernel.yama.ptrace_scope (Documentation/admin-guide/LSM/Yama.rst).
func (a *access) yama() (Cause, bool) {
	scope, err := strconv.Atoi(readText(a.fs.path("sys", "kernel", "yama", "ptrace_scope")))
	if err != nil {
		return Cause{}, false
	}
	c := Cause{Reason: ReasonYama, Remedy: a.privilege()}
	switch {
	case scope >= 3:
		c.Text = "kernel.yama.ptrace_scope is 3: nobody may trace, not even root, until the next boot"
		c.Remedy = "set kernel.yama.ptrace_scope to 0, 1 or 2 in /etc/sysctl.d and reboot"
	case scope == 2 && !a.privileged:
		c.Text = "kernel.yama.ptrace_scope is 2: only who has CAP_SYS_PTRACE may trace"
	case scope == 1 && !a.privileged && !a.descendant():
		c.Text = "kernel.yama.ptrace_scope is 1: only a process's ancestors may trace it"
		c.Remedy += ", or launch the program with procdump -x, or set it to 0 (sysctl kernel.yama.ptrace_scope=0), " +
			"or let the program call prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY)"
	default:
		return Cause{}, false
	}
	return c, true
}

// descendant tells whether the target descends from procdump.
func (a *access) descendant() bool {
	pid := a.pid
	for range 1000 { // a bound: the tree changes while it is climbed
		s, ok := a.fs.status(pid)
		if !ok || s.ppid == 0 {
			return false
		}
		if s.ppid == a.selfPID {
			return true
		}
		pid = s.ppid
	}
	return false
}

// modules: AppArmor and SELinux show what confines a process in attr/current.
func (a *access) modules() (Cause, bool) {
	self, target := readText(a.fs.of(a.selfPID, "attr", "current")), readText(a.fs.of(a.pid, "attr", "current"))
	c := Cause{Reason: ReasonLSM}
	if deny := readText(a.fs.sys("fs", "selinux", "booleans", "deny_ptrace")); strings.HasPrefix(deny, "1") {
		c.Text = "SELinux forbids tracing (deny_ptrace is on)"
		c.Remedy = "setsebool deny_ptrace 0"
		return c, true
	}
	selinux := readText(a.fs.sys("fs", "selinux", "enforce")) == "1"
	apparmor := strings.HasSuffix(self, "(enforce)") || strings.HasSuffix(target, "(enforce)")
	switch {
	case apparmor && self != target:
		c.Text = fmt.Sprintf("AppArmor confines them apart (it: %s, procdump: %s)", orUnknown(printable.Text(target)), orUnknown(printable.Text(self)))
		c.Remedy = "run procdump unconfined (docker --security-opt apparmor=unconfined) or allow ptrace in the profile; the kernel log names the rule"
	case selinux && self != target && confined(self):
		c.Text = fmt.Sprintf("SELinux keeps the domains apart (it: %s, procdump: %s)", orUnknown(printable.Text(target)), orUnknown(printable.Text(self)))
		c.Remedy = "run procdump as unconfined_t or in a container with --security-opt label=disable; ausearch -m avc shows the rule"
	default:
		return Cause{}, false
	}
	return c, true
}

func confined(label string) bool {
	return label != "" && label != "kernel" && label != "unconfined" && !strings.Contains(label, ":unconfined_t")
}

// seccomp: the filters of container runtimes refuse ptrace and
// process_vm_readv to who lacks the capability.
func (a *access) seccomp() (Cause, bool) {
	if a.self.seccomp != 2 || has(a.self.capBnd, capSysPtrace) {
		return Cause{}, false
	}
	return Cause{Reason: ReasonSeccomp, Remedy: a.privilege(),
		Text: "procdump runs under a system-call filter without CAP_SYS_PTRACE, as in a container with the default profile"}, true
}

// unknown says what was looked at, and what cannot be seen from here.
func (a *access) unknown() Cause {
	c := Cause{Reason: ReasonUnknown, Text: "no rule that /proc shows forbids it"}
	modules := strings.Split(readText(a.fs.sys("kernel", "security", "lsm")), ",")
	var maybe []string
	if a.self.seccomp == 2 {
		maybe = append(maybe, "procdump's seccomp filter (docker: --security-opt seccomp=unconfined)")
	}
	if a.target.uid[1] == 0 && !a.privileged {
		maybe = append(maybe, "a process that is not dumpable")
	}
	if a.self.noNewPrivs && slices.Contains(modules, "landlock") {
		maybe = append(maybe, "a Landlock domain round procdump")
	}
	for _, m := range modules {
		if m != "" && !slices.Contains([]string{"capability", "lockdown", "landlock", "yama", "integrity", "ima", "evm", "loadpin", "safesetid"}, m) {
			maybe = append(maybe, "the security module "+m)
		}
	}
	if lockdown := readText(a.fs.sys("kernel", "security", "lockdown")); strings.Contains(lockdown, "[confidentiality]") {
		maybe = append(maybe, "kernel lockdown (confidentiality)")
	}
	if len(maybe) > 0 {
		c.Text += "; it may be " + strings.Join(maybe, " or ")
	}
	if !a.privileged {
		c.Remedy = a.privilege()
	} else {
		c.Remedy = "the kernel log (dmesg, journalctl -k) may name the rule"
	}
	return c
}
