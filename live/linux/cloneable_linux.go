package linux

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"procdump/arch"
	"procdump/live/linux/inject"
	"procdump/snapshot"
)

// cloning is what is known of cloning a process before it is stopped.
type cloning struct {
	why     string // what stands against it; "": nothing so far
	machine arch.Machine
	site    inject.Site
	reaped  bool // who takes over orphans waits for them
}

// NoClone tells what stands against cloning the process, as far as is known
// before it is stopped; "": nothing. Options.Clone must have been set.
func (t *Target) NoClone() string {
	if t.clone == nil {
		return "it was not prepared for that"
	}
	return t.clone.why
}

const whySeccomp = "a seccomp filter watches its system calls"

// filtered tells whether a seccomp filter is in force for a thread, which could
// kill the process for a call that it does not know.
func filtered(pid, tid int) bool {
	b, err := os.ReadFile(procPath(pid, "task", strconv.Itoa(tid), "status"))
	n := statusField(b, "Seccomp")
	return err != nil || n != "" && n != "0"
}

const whyUserfault = "memory of it is registered with a userfaultfd"

// prepareClone looks at what a clone needs, while the process runs.
func (t *Target) prepareClone() *cloning {
	c := &cloning{machine: programMachine(t.mm)}
	if filtered(t.PID, t.mm) {
		c.why = whySeccomp
		return c
	}
	if t.base.State == 'T' {
		c.why = "it is stopped by job control anyway"
		return c
	}
	if slices.ContainsFunc(t.smaps, func(g snapshot.Region) bool { return g.Flags&snapshot.Userfault != 0 }) {
		c.why = whyUserfault
		return c
	}
	own, err1 := os.Readlink(procPath(t.PID, "ns", "pid"))
	children, err2 := os.Readlink(procPath(t.PID, "ns", "pid_for_children"))
	if err1 == nil && err2 == nil && own != children {
		c.why = "its children begin another PID namespace"
		return c
	}
	if t.findSite(c); !c.site.Complete() {
		c.why = "the instructions that an injected call needs are in none of its libraries"
	}
	c.reaped = t.orphansReaped()
	t.files.listDescriptors() // the clone will have none
	return c
}

// maxSearched bounds how much of one file is searched for instructions.
const maxSearched = 64 << 20

// findSite searches the process's code, in the files that it comes from.
func (t *Target) findSite(c *cloning) {
	mem, err := openMemory(t.mm, t.smaps, t.base.System.PageSize, t.files)
	if err != nil {
		return
	}
	defer mem.close()
	const step = 1 << 20
	buf := make([]byte, step+inject.MaxPattern)
	search := func(g *snapshot.Region) {
		f := t.files.open(g)
		for off := uint64(0); off < min(g.Size, maxSearched) && !c.site.Complete(); off += step {
			b := buf[:min(uint64(len(buf)), g.Size-off)]
			var n int
			switch {
			case f != nil:
				n, _ = f.f.ReadAt(b, int64(g.Offset+off))
			case g.Path == "[vdso]":
				n, _ = mem.ReadMemory(b, g.Addr+off)
			}
			c.site.Search(c.machine, b[:n], g.Addr+off)
		}
	}
	code := func(g *snapshot.Region) bool {
		return g.Perm&(snapshot.Execute|snapshot.Shared) == snapshot.Execute && g.Path != ""
	}
	// The vdso and the libraries are at the end, the program, which may be
	// large, at the beginning.
	for i := len(t.smaps) - 1; i >= 0 && !c.site.Complete(); i-- {
		if g := &t.smaps[i]; code(g) {
			search(g)
		}
	}
}

// machineNamespace is the PID namespace of the machine itself
// (PROC_PID_INIT_INO, include/linux/proc_ns.h), whose first process waits for
// every orphan.
const machineNamespace = "pid:[4026531836]"

// orphansReaped tells whether the first process of the target's PID namespace
// waits for orphans that it is given. Of a container's one it is known only if
// it handles or ignores SIGCHLD, or blocks it to wait for it.
func (t *Target) orphansReaped() bool {
	if t.base.Info.Namespaces["pid"] == machineNamespace {
		return true
	}
	init := 1
	if ids := t.base.Info.NSPID; len(ids) > 1 {
		if init = t.namespaceInit(); init == 0 {
			return false
		}
	}
	b, err := os.ReadFile(procPath(init, "status"))
	if err != nil {
		return false
	}
	handled := statusSet(b, "SigIgn") | statusSet(b, "SigCgt") | statusSet(b, "SigBlk")
	return SignalSet(handled).Has(int(syscall.SIGCHLD))
}

// namespaceInit finds the first process of the target's PID namespace among its
// ancestors; 0: it is not there.
func (t *Target) namespaceInit() int {
	own, err := os.Readlink(procPath(t.PID, "ns", "pid"))
	for pid := t.base.PPID; err == nil && pid > 1; {
		var b []byte
		var ns string
		if b, err = os.ReadFile(procPath(pid, "status")); err != nil {
			break
		}
		if ns, err = os.Readlink(procPath(pid, "ns", "pid")); err != nil || ns != own {
			break
		}
		if f := strings.Fields(statusField(b, "NSpid")); len(f) > 0 && f[len(f)-1] == "1" {
			return pid
		}
		pid, err = strconv.Atoi(statusField(b, "PPid"))
	}
	return 0
}

// tellsRseq tells whether a kernel of this release has
// PTRACE_GET_RSEQ_CONFIGURATION (Linux 5.13), if it has rseq(2).
func tellsRseq(release string) bool {
	var major, minor int
	_, err := fmt.Sscanf(release, "%d.%d", &major, &minor)
	return err == nil && (major > 5 || major == 5 && minor >= 13)
}

// inService tells whether a text such as "0::/system.slice/web.service/worker", a
// line for each hierarchy (cgroups(7)), is of a process in a service of systemd.
// Its units are services and scopes; the innermost one counts.
func inService(cgroups string) bool {
	for line := range strings.Lines(cgroups) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) < 3 || f[1] != "" && f[1] != "name=systemd" {
			continue
		}
		folders := strings.Split(f[2], "/")
		slices.Reverse(folders)
		unit := func(name string) bool {
			return strings.HasSuffix(name, ".service") || strings.HasSuffix(name, ".scope")
		}
		if i := slices.IndexFunc(folders, unit); i >= 0 && strings.HasSuffix(folders[i], ".service") {
			return true
		}
	}
	return false
}
