package e2e

import (
	"debug/elf"
	le "encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"procdump/victims/need"
)

// testCPU: all of half a core is 100 % for a process in a group that may have
// no more, and the same of two processors is little for one without a limit.
func (g *guestTest) testCPU(half string) {
	v := g.victim(half, "trouble")
	p := g.watch("watching", "-c", "80", "-s", "1", v.pid(), g.folder())
	v.Input("burn 120000\n")
	if got := v.state(g.t, g.wantDump(p, `CPU: \d+(\.\d+)?% >= 80% of 0\.5 core`)); got != "burn 120000" {
		g.t.Errorf("the dump shows state %q", got)
	}
	v.Kill()

	v = g.victim("", "trouble")
	all := g.watch("watching", "-c", "80", "-s", "1", v.pid(), g.folder())
	one := g.watch("watching", "-c", "80", "-u", "-s", "1", v.pid(), g.folder())
	v.Input("burn 120000\n")
	g.wantDump(one, "CPU: ")
	g.wantNothing(all)
}

// testMemory: a limit in percent is that of the group; the group's own use is a
// counter.
func (g *guestTest) testMemory(group, use string) {
	v := g.victim(group, "trouble")
	high := g.watch("watching", "-m", "97%", "-s", "0", v.pid(), g.folder())
	both := g.watch("watching", "-m", "70%", "-p", "cgroup:"+use, "200000000", "-s", "0", "-n", "2", v.pid(), g.folder())
	v.Input("alloc 240\n")
	g.wantDump(both, "Commit: .*70% of ", "cgroup:"+use+": 2[0-9]{8}")
	g.wantNothing(high)
}

// testPressure holds a process back for memory.
func (g *guestTest) testPressure() {
	const group = "/sys/fs/cgroup/tight"
	g.Shell("mkdir " + group + "; echo 30M >" + group + "/memory.high")
	v := g.victim(group, "trouble")
	all := g.watch("watching", "-p", "psi:memory.some.avg10", "5", "-s", "0", v.pid(), g.folder())
	other := g.victim("", "trouble")
	never := g.watch("watching", "-p", "psi:cgroup.cpu.full.avg10", "99", "-s", "0", other.pid(), g.folder())
	v.Input("alloc 200\n")
	g.wantDump(all, `psi:memory\.some\.avg10: `)
	// One after the other: the kernel averages them at different times, and the
	// process, which waits for memory, is slow to stop for two.
	own := g.watch("watching", "-p", "psi:cgroup.memory.some.avg10", "5", "-s", "0", v.pid(), g.folder())
	g.wantDump(own, `psi:cgroup\.memory\.some\.avg10: `)
	g.wantNothing(never)
}

// testUnhandled: newcomers that crash at once.
func (g *guestTest) testUnhandled(brief string) {
	const crashes = 3
	p := g.watch("note", "-w", "-all", "-e", "-mm", "brief", g.folder())
	out := g.Shell(fmt.Sprintf("for i in $(seq %d); do (%s live 50 crash null) >/dev/null 2>&1 || echo code $?; %s live 20 exit 7 || echo code $?; done",
		crashes, brief, brief))
	if want := strings.Repeat("code 139\ncode 7\n", crashes); out != want {
		g.t.Errorf("the processes ended with\n%swant\n%s", out, want)
	}
	p.Signal(syscall.SIGINT)
	r := ended(p)
	if n := strings.Count(r.reasons(), "Unhandled: SIGSEGV.SEGV_MAPERR at 0x10"); len(r.completed()) != crashes || n != crashes {
		g.t.Fatalf("%d dumps for %q, want %d; %v", len(r.completed()), r.reasons(), crashes, r)
	}
	for _, core := range r.completed() {
		wantCrash(g.t, brief, core)
	}
}

// instantSource is a program whose first instruction is an invalid one, and
// which nothing is loaded for before.
const instantSource = `
#if defined(__x86_64__)
__asm__(".globl _start\n_start: ud2");
#else
__asm__(".globl _start\n_start: udf #0");
#endif
`

// buildInstant makes it.
func buildInstant(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	source, exe := filepath.Join(dir, "instant.c"), filepath.Join(dir, "instant")
	if err := os.WriteFile(source, []byte(instantSource), 0o600); err != nil {
		t.Fatal(err)
	}
	if msg, err := exec.Command(need.Tool(t, "gcc"), "-static", "-nostdlib", "-o", exe, source).CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, msg)
	}
	return exe
}

// testInstant: newcomers that crash with their first instruction, several at
// once; a process whose execve(2) fails, which goes on; and a program that a
// script only names by a link.
func (g *guestTest) testInstant(instant string) {
	// The files of the host are on a network file system for the guest.
	const folder, crashes = "/var/instants", 20
	g.Shell("mkdir " + folder + "; cp " + instant + " " + folder + "/instant; echo exit 5 >" + folder + "/instant-text; " +
		"ln -s " + folder + "/instant " + folder + "/link; echo '#!" + folder + "/link' >" + folder + "/script; chmod 755 " + folder + "/*")
	p := g.watch("note", "-w", "-all", "-e", "-mm", "-ntotal", "1000", "instant", g.folder())
	out := g.Shell(fmt.Sprintf("cd %s; for i in $(seq %d); do (sh -c ./instant >/dev/null 2>&1 || echo code $?) & test $((i %% 5)) != 0 || wait; done; wait; "+
		"sh -c ./instant-text || echo code $?; sh -c ./script >/dev/null 2>&1 || echo code $?", folder, crashes))
	if want := strings.Repeat("code 132\n", crashes) + "code 5\ncode 132\n"; out != want {
		g.t.Errorf("the processes ended with\n%swant\n%s", out, want)
	}
	p.Signal(syscall.SIGINT)
	r := ended(p)
	if n := strings.Count(r.reasons(), "Unhandled: SIGILL."); len(r.completed()) != crashes+1 || n != crashes+1 {
		g.t.Errorf("%d dumps for %q, want %d; %v", len(r.completed()), r.reasons(), crashes+1, r)
	}
	if strings.Contains(r.stdout, "from their first instruction") {
		g.t.Errorf("programs are not held: %v", r)
	}
}

// wantCrash checks a dump of a process that followed a null pointer.
func wantCrash(t testing.TB, exe, core string) {
	t.Helper()
	c := readCore(t, core)
	if c.Exception.Signal != int(syscall.SIGSEGV) || c.Exception.Addr != 0x10 {
		t.Errorf("%s: exception %+v", core, c.Exception)
	}
	got := gdbCore(t, exe, core)
	if calls := chain(got[c.Exception.TID]); !strings.HasPrefix(calls, "<crash_null<crash<main<") {
		t.Errorf("%s: gdb sees the calls %s", core, calls)
	}
}

// testHandler: the machine's crash handler, in and out.
func (g *guestTest) testHandler(brief string) {
	const pattern = "  /var/core.%p of before"
	// A folder of the guest's own: the handler's dumps belong to those who crash.
	const dumps = "/var/dumps"
	g.Shell("printf '%s\\n' '" + pattern + "' >/proc/sys/kernel/core_pattern")
	before := g.Shell("cat /proc/sys/kernel/core_pattern")
	// It is not installed from a folder that others can write to.
	if r := g.procdump("-i", "-o", "-mm", "-ma", dumps); r.code != 1 || !strings.Contains(r.String(), "make install") {
		g.t.Errorf("install from /tmp: %v", r)
	}
	const installed = "/usr/local/bin/procdump"
	g.Shell("cp " + binary(g.t) + " " + installed + "; chmod 755 " + installed)
	if r := g.Run(installed, "-i", "-o", "-mm", "-ma", dumps); r.Code != 0 {
		g.t.Fatalf("install: %v", r)
	}
	if now := g.Shell("cat /proc/sys/kernel/core_pattern"); !strings.HasPrefix(now, "|") {
		g.t.Fatalf("core_pattern is %q after the installation", now)
	}
	g.Shell(brief + " crash null >/dev/null 2>&1 || test $? = 139")
	// A parent sees the end once the handler has done its work.
	if r := g.Run(installed, "-u"); r.Code != 0 {
		g.t.Errorf("uninstall: %v", r)
	}
	if after := g.Shell("cat /proc/sys/kernel/core_pattern; ls /etc/sysctl.d | grep procdump || true"); after != before {
		g.t.Errorf("core_pattern is %q, was %q", after, before)
	}
	to := g.folder()
	g.Shell("cp " + dumps + "/brief* " + to + "; chmod a+r " + to + "/*")
	cores, err := filepath.Glob(filepath.Join(to, "brief*.core"))
	if err != nil || len(cores) != 2 {
		g.t.Fatalf("dumps %q, want a mini and a full one: %v", cores, err)
	}
	for _, core := range cores {
		wantCrash(g.t, brief, core)
	}
}

// testOutput: what a process writes, wherever that goes.
func (g *guestTest) testOutput() {
	v := g.victim("", "trouble")
	p := g.watch("watching", "-l", "-f", "disaster", v.pid(), g.folder())
	// bpf_attach_type 25 is BPF_TRACE_FEXIT: only functions of the kernel that
	// write are looked at, not every system call of the machine.
	links := g.Shell(fmt.Sprintf("cat /proc/%d/fdinfo/* 2>/dev/null | grep '^attach_type' | sort | uniq -c", p.PID))
	if !regexp.MustCompile(`attach_type:\s+25\n`).MatchString(links) {
		g.t.Errorf("no BPF trampolines are used: links %q", links)
	}
	v.Input("warn all is well\n")
	v.Input("print\n")
	v.Input("warn a DISASTER happened\n")
	g.wantDump(p, "DISASTER")
	out, _ := p.Output()
	if !strings.Contains(out, "all is well") {
		g.t.Errorf("not shown: all is well\n%s", out)
	}
	if strings.Contains(out, `"event":"warning"`) {
		g.t.Errorf("a warning:\n%s", out)
	}
}

// testThreads: the stacks of many threads, in user space and in the kernel.
func (g *guestTest) testThreads() {
	for _, kind := range []string{"-mm", "-ma"} {
		v := g.victim("", "threads", "10")
		r := g.procdump(kind, "-mk", v.pid(), g.folder())
		if r.code != 0 || len(r.completed()) != 1 {
			g.t.Fatalf("%s: %v", kind, r)
		}
		got := gdbCore(g.t, v.exe, r.completed()[0])
		if len(got) != 11 {
			g.t.Errorf("%s: gdb sees %d threads, want 11", kind, len(got))
		}
		var all strings.Builder
		for _, frames := range got {
			all.WriteString(chain(frames) + "\n")
		}
		for i := range 10 {
			if want := threadChain(i); !strings.Contains(all.String(), want) {
				g.t.Errorf("%s: gdb sees no calls %s in\n%s", kind, want, &all)
			}
		}
		for _, e := range r.events {
			if e.Event != "complete" {
				continue
			}
			b, err := os.ReadFile(e.KernelPath)
			if err != nil {
				g.t.Fatal(err)
			}
			// What the ways to wait of the victim's threads are in the kernel.
			for _, f := range []string{"pipe_read", "do_sys_poll", "nanosleep", "futex_wait", "do_epoll_wait", "unix_stream_read_generic", "entry_SYSCALL_64"} {
				if !strings.Contains(string(b), f) {
					g.t.Errorf("%s: no %s in the kernel stacks\n%s", kind, f, b)
				}
			}
		}
	}
}

// testSparse: the pages that are there, and no others, found by the means that
// the kernel has (PAGEMAP_SCAN since Linux 6.7, /proc/PID/pagemap before).
func (g *guestTest) testSparse() {
	v := g.victim("", "sparse", "256", "10")
	// The guest's own file system knows holes.
	const core = "/var/sparse.core"
	if r := g.procdump("-ma", "-o", v.pid(), core); r.code != 0 {
		g.t.Fatal(r)
	}
	disk, err := strconv.ParseInt(strings.TrimSpace(g.Shell("du -k "+core+" | cut -f 1")), 10, 64)
	if err != nil {
		g.t.Fatal(err)
	}
	touched := int64(v.number(g.t, "touched"))
	if disk <<= 10; disk < touched || disk > touched*5/4+16<<20 {
		g.t.Errorf("%d MiB on disk for %d MiB touched", disk>>20, touched>>20)
	}
	here := filepath.Join(g.folder(), "sparse.core")
	g.Shell("cp " + core + " " + here + "; rm " + core)
	addr, size := v.number(g.t, "addr"), v.number(g.t, "size")
	memory := segmentOf(g.t, here, addr, size)
	var full int64
	for i := uint64(0); i < size/4096; i++ {
		switch n := le.LittleEndian.Uint64(memory[i*4096:]); n {
		case 0:
		case i + 1:
			full++
		default:
			g.t.Fatalf("page %d holds %d", i, n)
		}
	}
	if full*4096 != touched {
		g.t.Errorf("the dump holds %d touched pages, want %d", full, touched/4096)
	}
}

// segmentOf reads memory from a core's segments; what no segment's bytes hold
// is zero.
func segmentOf(t testing.TB, core string, addr, size uint64) []byte {
	t.Helper()
	f, err := elf.Open(core)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	memory, covered := make([]byte, size), uint64(0)
	for _, p := range f.Progs {
		from, to := max(p.Vaddr, addr), min(p.Vaddr+p.Memsz, addr+size)
		if p.Type != elf.PT_LOAD || from >= to {
			continue
		}
		covered += to - from
		if n := min(to, p.Vaddr+p.Filesz); n > from {
			if _, err := p.ReadAt(memory[from-addr:n-addr], int64(from-p.Vaddr)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if covered != size {
		t.Fatalf("%s covers %d bytes of the region, want %d", core, covered, size)
	}
	return memory
}
