package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	inspect "procdump/inspect/kernel"
	"procdump/victims/guest"
	"procdump/victims/need"
)

// stoppedGuest is a guest whose kernel has crashed and stands still.
type stoppedGuest struct {
	file string // QEMU's dump of its memory
	guest.Kernel
	// What the guest said of itself shortly before it crashed:
	modules string            // /proc/modules
	stacks  map[string]string // /proc/PID/task/TID/stack by TID
}

// crashWays are how the guests crash. gdb is where QEMU lets a debugger in.
var crashWays = map[string]func(g *guestTest, gdb string){
	"sysrq": func(g *guestTest, gdb string) { g.Crash() },
	"null": func(g *guestTest, gdb string) {
		// No module of Debian's has a fault on demand, so one gets it from
		// outside: xor %eax,%eax; mov (%rax),%rax.
		at := strings.Fields(g.Shell(`grep ' msr_read.*\[msr\]' /proc/kallsyms`))[0]
		out, err := exec.Command(need.Tool(g.t, "gdb"), "-nx", "-batch", "-ex", "set architecture i386:x86-64", "-ex", "target remote "+gdb,
			"-ex", "set {char[5]}0x"+at+" = {0x31,0xc0,0x48,0x8b,0x00}").CombinedOutput()
		if err != nil {
			g.t.Fatalf("%v\n%s", err, out)
		}
		g.Shell("echo 1 >/proc/sys/kernel/panic_on_oops")
		g.Start(guest.Command{Args: []string{"head", "-c8", "/dev/cpu/0/msr"}})
	},
	"hung": func(g *guestTest, gdb string) {
		g.Shell("cd /proc/sys/kernel; echo 1 >hung_task_panic; echo 1 >hung_task_check_interval_secs; echo 2 >hung_task_timeout_secs")
		g.Start(guest.Command{Args: []string{"touch", "/run/frozen/file"}})
	},
	"memory": func(g *guestTest, gdb string) {
		g.Shell("echo 1 >/proc/sys/vm/panic_on_oom")
		g.Start(guest.Command{Args: []string{"tail", "/dev/zero"}})
	},
}

// crashGuest boots a guest, has it crash in a way, and dumps its memory.
func crashGuest(t *testing.T, kernel, way string) *stoppedGuest {
	t.Helper()
	need.Tool(t, "gdb")
	gdb := filepath.Join(t.TempDir(), "gdb")
	o := guest.Options{
		Kernel: kernel, MemoryMiB: 512, CommandLine: []string{"panic=0"}, Modules: []string{"qemu_fw_cfg"},
		Args: []string{"-device", "vmcoreinfo", "-chardev", "socket,id=gdb,server=on,wait=off,path=" + gdb, "-gdb", "chardev:gdb"},
	}
	if way == "hung" {
		o.Modules = append(o.Modules, "ext4")
		o.Drives = []guest.Drive{{File: filepath.Join(t.TempDir(), "disk"), MiB: 16}}
	}
	g := bootGuest(t, o)
	switch way {
	case "hung":
		g.Shell("mkfs.ext4 -q /dev/vda && mkdir /run/frozen && mount /dev/vda /run/frozen && fsfreeze -f /run/frozen")
	case "null":
		g.LoadModule("msr")
	}
	s := &stoppedGuest{file: filepath.Join(t.TempDir(), "vmcore"), Kernel: g.Kernel, stacks: make(map[string]string)}
	s.modules = g.Shell("cat /proc/modules")
	// One program: each costs the guest much. It fails if a task ends meanwhile.
	for line := range strings.Lines(g.Run("sh", "-c", "grep '' /proc/[0-9]*/task/[0-9]*/stack").Stdout) {
		file, frame, _ := strings.Cut(line, ":")
		tid := filepath.Base(filepath.Dir(file))
		s.stacks[tid] += frame
	}
	crashWays[way](g, gdb)
	g.AwaitConsole("---[ end Kernel panic")
	g.DumpMemory(s.file)
	return s
}

// inspectDump runs procdump inspect, and returns the report and its text.
func inspectDump(t *testing.T, file string) (*inspect.Report, string) {
	t.Helper()
	out, err := exec.Command(binary(t), "inspect", "-json", file).Output()
	if err != nil {
		t.Fatalf("procdump inspect -json %s: %v", file, err)
	}
	text, err := exec.Command(binary(t), "inspect", file).Output()
	if err != nil {
		t.Fatalf("procdump inspect %s: %v", file, err)
	}
	r := new(inspect.Report)
	if err := json.Unmarshal(out, r); err != nil {
		t.Fatalf("%v in\n%s", err, cut(string(out)))
	}
	return r, string(text)
}

// TestKernelInspect has kernels crash and compares what procdump says of the
// dump with what the kernel said of itself, and with drgn where the kernel's
// debug information is installed.
func TestKernelInspect(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kernel, way, kind string
		reason            string // regular expression
		crashed           []string
	}{
		{"default", "null", "nullDereference",
			`^Null pointer dereference at address 0x0 in function msr_read of module msr, called by vfs_read; process head \(PID \d+\), CPU \d\.$`,
			[]string{"panic", "page_fault_oops", "asm_exc_page_fault", "msr_read", "vfs_read", "ksys_read", "do_syscall_64"}},
		{"newest", "hung", "hungTask",
			`^A task was blocked for too long, .*: touch \(PID \d+\) waited more than \d+ seconds in function percpu_rwsem_wait, called by __percpu_down_read; found by khungtaskd \(PID \d+\), CPU \d\.$`,
			[]string{"panic", "watchdog", "kthread", "ret_from_fork_asm"}},
		{"default", "memory", "outOfMemory",
			`^Out of memory, and the kernel was set to panic then; process tail \(PID \d+\), CPU \d\.$`,
			[]string{"panic", "out_of_memory", "handle_mm_fault", "asm_exc_page_fault"}},
		{"newest", "sysrq", "sysrq",
			`^A crash was asked for through SysRq; process sh \(PID \d+\), CPU \d\.$`,
			[]string{"panic", "sysrq_handle_crash", "write_sysrq_trigger", "vfs_write", "do_syscall_64"}},
	} {
		t.Run(c.way, func(t *testing.T) {
			s := crashGuest(t, c.kernel, c.way)
			r, text := inspectDump(t, s.file)
			if !regexp.MustCompile(c.reason).MatchString(r.Reason) {
				t.Errorf("reason %q\nwant   %q", r.Reason, c.reason)
			}
			if !r.Crash || r.Incident == nil || r.Incident.Type != c.kind || r.Release != s.Release || r.Machine != "x86_64" || r.CPUs != 2 || r.Kind != "complete" {
				t.Errorf("crash %v, incident %+v, release %s, machine %s, %d processors, kind %s", r.Crash, r.Incident, r.Release, r.Machine, r.CPUs, r.Kind)
			}
			if first := strings.Join(strings.Fields(text), " "); !strings.HasPrefix(first, r.Reason) {
				t.Errorf("the text does not begin with the reason:\n%s", cut(text))
			}
			for _, line := range strings.Split(text, "\n") {
				if n := len([]rune(line)); n > 100 {
					t.Errorf("line of %d characters: %s", n, line)
				}
			}
			checkCrashed(t, r, c.crashed)
			checkLoggedTrace(t, r)
			checkModules(t, r, s.modules)
			checkStacks(t, r, s.stacks)
			if c.way == "hung" && (len(r.Tasks.Groups) == 0 || r.Tasks.Groups[0].State != "D" || r.Tasks.Groups[0].Tasks[0].Comm != "touch") {
				t.Errorf("the task that hangs is not the first: %+v", r.Tasks.Groups[0])
			}
			if len(r.Log.Lines) == 0 || !strings.Contains(r.Log.Lines[len(r.Log.Lines)-1], "---[ end Kernel panic") {
				t.Errorf("the log does not end with the panic: %q", r.Log.Lines)
			}
			judgeStacks(t, r, s.Release, checkSmaller(t, r, s.file))
		})
	}
}

// checkCrashed looks for functions, in this order, on the stack of the
// processor that crashed, all of which is reliable and leads to its end.
func checkCrashed(t *testing.T, r *inspect.Report, want []string) {
	t.Helper()
	for _, p := range r.Processors {
		if !p.Crashed {
			if p.Doing != "idle" || len(p.Frames) < 5 || p.Broken != "" {
				t.Errorf("processor %d: %s, %v, %s", p.Number, p.Doing, p.Frames, p.Broken)
			}
			continue
		}
		var got []string
		at := 0
		for _, f := range p.Frames {
			name, _, _ := strings.Cut(f.Symbol, ".")
			got = append(got, f.String())
			if f.Unreliable || f.Symbol == "" {
				t.Errorf("frame %v", f)
			}
			if at < len(want) && name == want[at] {
				at++
			}
		}
		if at < len(want) || p.Broken != "" {
			t.Errorf("stack %q, want %q, from %d on: %s", got, want, at, p.Broken)
		}
		return
	}
	t.Errorf("no processor crashed: %+v", r.Processors)
}

// callTrace is a line of a stack that the kernel is sure of.
var callTrace = regexp.MustCompile(`\]  ([A-Za-z_][\w.]*\+0x[0-9a-f]+)/0x[0-9a-f]+( \[\w+\])?$`)

// checkLoggedTrace compares the stack of the processor that crashed with the
// one that the kernel itself wrote to its log last.
func checkLoggedTrace(t *testing.T, r *inspect.Report) {
	t.Helper()
	var logged []string
	for _, line := range r.Log.Lines {
		if strings.Contains(line, "Call Trace:") {
			logged = nil
		}
		if m := callTrace.FindStringSubmatch(line); m != nil {
			logged = append(logged, m[1]+m[2])
		}
	}
	for _, p := range r.Processors {
		if !p.Crashed {
			continue
		}
		var own []string
		for _, f := range p.Frames {
			if !f.Exact { // those are in lines of their own, RIP: …
				own = append(own, f.String())
			}
		}
		// The kernel printed its stack before panic() went on to where it stands.
		common := slices.IndexFunc(logged, func(s string) bool { return !strings.HasPrefix(s, "dump_stack") && !strings.HasPrefix(s, "panic+") })
		if common < 0 || len(logged)-common < 3 {
			t.Fatalf("the log has no stack: %q", r.Log.Lines)
		}
		rest := logged[common:]
		if n := len(own) - len(rest); n < 0 || !slices.Equal(own[n:], rest) {
			t.Errorf("stack   %q\nthe log %q", own, rest)
		}
	}
}

func checkModules(t *testing.T, r *inspect.Report, proc string) {
	t.Helper()
	var got, want []string
	for _, m := range r.Modules {
		got = append(got, fmt.Sprintf("%s %d %v", m.Name, m.Size, m.Addr))
	}
	for line := range strings.Lines(proc) {
		f := strings.Fields(line)
		want = append(want, fmt.Sprintf("%s %s %s", f[0], f[1], f[5]))
	}
	if !slices.Equal(got, want) {
		t.Errorf("modules %q\nwant    %q", got, want)
	}
}

// checkStacks compares the stacks of tasks with those that the kernel showed of
// them before. Most tasks slept all the time.
func checkStacks(t *testing.T, r *inspect.Report, before map[string]string) {
	t.Helper()
	same, all := 0, 0
	for _, g := range r.Tasks.Groups {
		if g.Broken != "" {
			t.Errorf("the stack of %v broke off: %s", g.Tasks[0], g.Broken)
		}
		var own []string
		for _, f := range g.Frames {
			own = append(own, f.String())
		}
		for _, task := range g.Tasks {
			var want []string
			for line := range strings.Lines(before[strconv.Itoa(task.PID)]) {
				place, module, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "[<0>] "), " ")
				if name, _, ok := strings.Cut(place, "/"); ok {
					want = append(want, strings.TrimSpace(name+" "+module))
				}
			}
			if len(want) == 0 {
				continue
			}
			all++
			// The kernel does not show its scheduler there.
			if n := len(own) - len(want); n > 0 && n < 4 && slices.Equal(own[n:], want) {
				same++
			} else {
				t.Logf("%s (%d): %q, before %q", task.Comm, task.PID, own, want)
			}
		}
	}
	if t.Logf("%d of %d stacks as before the crash", same, all); all < 40 || same < all*3/4 {
		t.Errorf("%d of %d stacks are as before", same, all)
	}
}

// allStacks is a script of drgn: the program counters of all tasks' stacks.
const allStacks = `
import json
from drgn.helpers.linux.pid import for_each_task
out = {}
for task in for_each_task(prog):
    try:
        trace = prog.stack_trace(task)
        out[task.pid.value_()] = [f.pc for f in trace if not f.is_inline]
    except (ValueError, LookupError):  # it runs
        continue
print(json.dumps(out))
`

// judgeStacks compares the stacks of all tasks that slept with drgn's, which
// unwinds by the kernel's debug information.
func judgeStacks(t *testing.T, r *inspect.Report, release, file string) {
	t.Helper()
	image := vmlinux(release)
	if image == "" {
		t.Logf("not judged by drgn: no vmlinux-%s in /usr/lib/debug/boot or $PROCDUMP_VMLINUX", release)
		return
	}
	script := filepath.Join(t.TempDir(), "stacks.py")
	if err := os.WriteFile(script, []byte(allStacks), 0o600); err != nil {
		t.Fatal(err)
	}
	var theirs map[int][]uint64
	if err := json.Unmarshal([]byte(command(t, need.Tool(t, "drgn"), "-q", "-c", file, "-s", image, script)), &theirs); err != nil {
		t.Fatal(err)
	}
	compared := 0
	compare := func(pid int, frames []inspect.Frame) {
		want := theirs[pid]
		for len(want) > 0 && want[len(want)-1]>>63 == 0 { // user mode
			want = want[:len(want)-1]
		}
		if len(want) == 0 || pid <= r.CPUs { // QEMU's notes call the processors 1, 2, …
			return
		}
		var own []uint64
		for _, f := range frames {
			own = append(own, uint64(f.PC))
		}
		if compared++; !slices.Equal(own, want) {
			t.Errorf("stack of %d: %#x\ndrgn's     %#x", pid, own, want)
		}
	}
	for _, g := range r.Tasks.Groups {
		for _, task := range g.Tasks {
			compare(task.PID, g.Frames)
		}
	}
	if t.Logf("%d stacks as drgn has them", compared); compared < 40 {
		t.Errorf("%d stacks compared", compared)
	}
}

// checkSmaller inspects dumps of the other kinds of the same crash: all must
// say why. It returns the path of the one of kind kernel: drgn cannot read
// QEMU's, which does not say where the kernel's image is mapped.
func checkSmaller(t *testing.T, r *inspect.Report, file string) string {
	t.Helper()
	dir := t.TempDir()
	for _, kind := range []string{"kernel", "small"} {
		out := filepath.Join(dir, kind+".elf")
		command(t, binary(t), "convert", "-type", kind, "-format", "elf", file, out)
		got, _ := inspectDump(t, out)
		if got.Kind != kind || got.Incident == nil || got.Incident.Type != r.Incident.Type || got.Incident.Message != r.Incident.Message {
			t.Errorf("of kind %s: %q, incident %+v", got.Kind, got.Reason, got.Incident)
		}
		if kind == "kernel" && got.Reason != r.Reason {
			t.Errorf("of kind %s: %q\nwant %q", kind, got.Reason, r.Reason)
		}
	}
	return filepath.Join(dir, "kernel.elf")
}
