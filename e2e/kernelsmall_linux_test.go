package e2e

import (
	le "encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"procdump/kdump"
	"procdump/kernel/small"
	"procdump/victims/guest"
	"procdump/victims/need"
)

// TestKernelSmall takes small dumps of a running kernel and compares them with
// what the kernel says of itself. Gdb, drgn and crash judge them where the
// image with debug information is there.
func TestKernelSmall(t *testing.T) { testKernelSmall(t, "default") }

// TestKernelSmallNewest does the same with the newest kernel that there is.
func TestKernelSmallNewest(t *testing.T) { testKernelSmall(t, "newest") }

func testKernelSmall(t *testing.T, kernel string) {
	t.Parallel()
	for _, tool := range []string{"gdb", "drgn", "python3"} {
		need.Tool(t, tool)
	}
	g := bootGuest(t, guest.Options{Kernel: kernel, MemoryMiB: 448}, "threads")
	p := g.Start(guest.Command{Args: []string{"sleep", "1000"}})
	t.Cleanup(p.Kill)
	asleep := fmt.Sprintf("until grep -q nanosleep /proc/%d/stack; do :; done; cat /proc/%[1]d/stack", p.PID)
	s := &smallTest{stack: kernelFrames(t, g.Shell(asleep)), pid: p.PID}
	s.symbols = kernelSymbols(t, g.Shell("cat /proc/kallsyms"))

	file := filepath.Join(g.Dir, "small.elf")
	g.run("sleeping", func(g *guestTest) {
		e := g.dumpSmall(file, "-pid", strconv.Itoa(p.PID))
		if e.Path != file || len(e.Missing) > 0 || e.Messages < 50 || e.Messages > e.Logged {
			g.t.Errorf("%+v", e)
		}
		n := s.want(g.t, file)
		if got, want := strings.Fields(g.Shell("cut -d' ' -f1 /proc/modules")), moduleNames(n); len(got) == 0 || !slices.Equal(got, want) {
			g.t.Errorf("modules %v, want %v", want, got)
		}
		wantLogTail(g.t, file, g.Shell("dmesg"))
	})
	if image := vmlinux(g.Kernel.Release); image == "" {
		t.Logf("not judged with symbols: no vmlinux-%s in /usr/lib/debug/boot or $PROCDUMP_VMLINUX", g.Kernel.Release)
	} else if !t.Failed() {
		g.run("judges", func(g *guestTest) { s.judge(g.t, file, image, g.Shell("dmesg")) })
	}
	g.run("threads", func(g *guestTest) {
		v := g.victim("", "threads", "8")
		g.dumpSmall(filepath.Join(g.Dir, "threads.elf"), "-pid", v.pid())
		n := smallNote(g.t, filepath.Join(g.Dir, "threads.elf"))
		tasks := strings.Fields(g.Shell("ls /proc/" + v.pid() + "/task"))
		if len(n.Tasks) != len(tasks) || n.Tasks[0].PID != v.PID {
			g.t.Errorf("tasks %+v, want %v", n.Tasks, tasks)
		}
		for _, x := range n.Tasks {
			said := slices.ContainsFunc(n.Missing, func(m string) bool { return strings.Contains(m, strconv.Itoa(x.PID)) })
			if x.Stack == 0 && !said || x.TGID != v.PID {
				g.t.Errorf("thread %+v; missing %q", x, n.Missing)
			}
		}
	})
	g.run("machine", func(g *guestTest) {
		file := filepath.Join(g.Dir, "machine.elf")
		r := g.Run("sh", "-c", `exec "$0" kernel -type small - >"$1"`, binary(g.t), file)
		if r.Code != 0 {
			g.t.Fatalf("%v", r)
		}
		if n := smallNote(g.t, file); !n.Live || len(n.Tasks) == 0 || n.Registers != 0 {
			g.t.Errorf("%+v", n)
		}
		wantLogTail(g.t, file, g.Shell("dmesg"))
	})
	g.run("beside", func(g *guestTest) {
		r := g.procdump("-mk", "-mm", strconv.Itoa(p.PID), g.folder()+"/x.core")
		for _, e := range r.events {
			if e.Event != "complete" {
				continue
			}
			g.t.Logf("process stopped for %d µs", e.PauseMicros)
			if e.KernelDump != strings.TrimSuffix(e.Path, ".core")+".kernel.elf" || e.KernelPath == "" {
				g.t.Errorf("%+v", e)
			}
			s.want(g.t, e.KernelDump)
			return
		}
		g.t.Errorf("no dump: %v", r)
	})
	g.run("refused", func(g *guestTest) {
		folder := g.folder()
		for want, args := range map[string][]string{
			"-z: a small dump is not compressed": {"-type", "small", "-z", "zstd"},
			"-pid: only a small dump":            {"-pid", "1"},
			"no such process":                    {"-type", "small", "-pid", "4000000"},
		} {
			r := g.Run(append(append([]string{binary(g.t), "kernel"}, args...), folder)...)
			if r.Code == 0 || !strings.Contains(r.Stderr, want) {
				g.t.Errorf("%v: want %q in %v", args, want, r)
			}
		}
		if left, err := os.ReadDir(folder); err != nil || len(left) > 0 {
			g.t.Errorf("left behind: %v, %v", left, err)
		}
	})
}

// smallComplete is the event of that name.
type smallComplete struct {
	Event    string   `json:"event"`
	Path     string   `json:"path"`
	Messages int      `json:"messages"`
	Logged   int      `json:"logged"`
	Missing  []string `json:"missing"`
	Size     int64    `json:"sizeBytes"`
	Micros   int64    `json:"elapsedMicros"`
}

// dumpSmall takes a small dump and leaves it in the guest's folder.
func (g *guestTest) dumpSmall(file string, args ...string) smallComplete {
	g.t.Helper()
	rss := filepath.Join(g.Dir, "resident")
	r := g.Run(append(append([]string{"python3", "-c", measured, rss, binary(g.t), "kernel", "-json", "-type", "small"}, args...), file)...)
	var e smallComplete
	for line := range strings.Lines(r.Stdout) {
		if json.Unmarshal([]byte(line), &e) == nil && e.Event == "smallComplete" {
			break
		}
	}
	st, err := os.Stat(file)
	if r.Code != 0 || e.Event != "smallComplete" || err != nil {
		g.t.Fatalf("%v: %v", err, r)
	}
	if st.Size() != e.Size || st.Size() > small.MaxSize || st.Mode().Perm() != 0o600 {
		g.t.Errorf("file of %d bytes, mode %v; event %+v", st.Size(), st.Mode(), e)
	}
	b, err := os.ReadFile(rss)
	if err != nil {
		g.t.Fatal(err)
	}
	if resident, err := strconv.Atoi(string(b)); err != nil || resident > maxResident {
		g.t.Errorf("%s KiB resident: %v", b, err)
	}
	g.t.Logf("%d bytes in %d ms, the last %d of %d messages, %s KiB resident", e.Size, e.Micros/1000, e.Messages, e.Logged, b)
	return e
}

// smallTest is a sleeping process that small dumps are about.
type smallTest struct {
	pid     int
	stack   []kernelFrame
	symbols map[string]uint64
}

// kernelFrame is a line of /proc/PID/stack: "[<0>] hrtimer_nanosleep+0xc5/0x1a0".
type kernelFrame struct {
	function string
	offset   uint64
}

func kernelFrames(t testing.TB, text string) []kernelFrame {
	t.Helper()
	var all []kernelFrame
	for _, m := range regexp.MustCompile(`\[<0>\] (\w+)\+0x(\w+)/`).FindAllStringSubmatch(text, -1) {
		off, err := strconv.ParseUint(m[2], 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, kernelFrame{m[1], off})
	}
	if len(all) < 4 {
		t.Fatalf("stack %s", text)
	}
	return all
}

// kernelSymbols reads /proc/kallsyms.
func kernelSymbols(t testing.TB, text string) map[string]uint64 {
	t.Helper()
	all := make(map[string]uint64)
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) == 3 && all[f[2]] == 0 {
			addr, err := strconv.ParseUint(f[0], 16, 64)
			if err != nil {
				t.Fatal(err)
			}
			all[f[2]] = addr
		}
	}
	return all
}

// smallNote reads what a small dump says about itself.
func smallNote(t testing.TB, file string) *small.Note {
	t.Helper()
	n, ok := small.ParseNote(openKernelDump(t, file))
	if !ok {
		t.Fatalf("%s is no small dump", file)
	}
	return n
}

func moduleNames(n *small.Note) []string {
	var all []string
	for line := range strings.Lines(n.Modules) {
		all = append(all, strings.Fields(line)[0])
	}
	return all
}

// want checks a dump of the process without symbols: the return addresses that
// /proc/PID/stack shows are on the stack in the dump, in that order, and the
// registers are those of a task that sleeps.
func (s *smallTest) want(t testing.TB, file string) *small.Note {
	t.Helper()
	n := smallNote(t, file)
	if len(n.Tasks) != 1 || n.Tasks[0].PID != s.pid || n.Tasks[0].Comm != "sleep" || n.Tasks[0].State != "S" || n.Tasks[0].Stack == 0 || n.Registers != 1 {
		t.Fatalf("note %+v", n)
	}
	d := openKernelDump(t, file)
	const registers, rip, rsp, pid = 112, 16, 19, 32
	regs := d.CPUs[0].PRStatus
	word := func(b []byte, i int) uint64 { return le.LittleEndian.Uint64(b[i*8:]) }
	if got := int(le.LittleEndian.Uint32(regs[pid:])); got != s.pid {
		t.Errorf("registers of %d", got)
	}
	if at := word(regs[registers:], rip) - s.symbols["__schedule"]; at > 0x2000 {
		t.Errorf("RIP is %#x behind __schedule", at)
	}
	// __schedule is not shown; what called it is, from the top of the stack on.
	sp := word(regs[registers:], rsp)
	stack := virtual(t, d, sp, n.Tasks[0].Stack-64)
	at := 0
	for _, f := range s.stack {
		want := s.symbols[f.function] + f.offset
		for at < len(stack)/8 && word(stack, at) != want {
			at++
		}
		if at == len(stack)/8 {
			t.Errorf("%s+%#x is not on the stack", f.function, f.offset)
			break
		}
	}
	return n
}

// virtual reads up to n bytes of a dump by its segments' virtual addresses.
func virtual(t testing.TB, d *kdump.Dump, va uint64, n int) []byte {
	t.Helper()
	var out []byte
	for len(out) < n {
		at := va + uint64(len(out))
		i := slices.IndexFunc(d.Segments, func(s kdump.Segment) bool { return at-s.VirtAddr < s.FileSize })
		if i < 0 {
			break
		}
		s := d.Segments[i]
		b := make([]byte, min(s.VirtAddr+s.FileSize-at, uint64(n-len(out))))
		if _, err := d.Memory.ReadPhys(b, s.PhysAddr+(at-s.VirtAddr)); err != nil {
			t.Fatal(err)
		}
		out = append(out, b...)
	}
	return out[:len(out)&^7]
}

// wantLogTail checks that the log in a dump is a part of what dmesg(1) printed
// later, and nearly its end.
func wantLogTail(t testing.TB, file, dmesg string) {
	t.Helper()
	got, all := logLines(ownLog(t, file)), logLines(dmesg)
	if len(got) < 50 {
		t.Fatalf("%d lines of the log", len(got))
	}
	first := slices.Index(all, got[0])
	if first < 0 || len(all)-first-len(got) > 10 || first+len(got) > len(all) {
		t.Fatalf("line %q is number %d of %d, and %d follow", got[0], first, len(all), len(got)-1)
	}
	for i := range got {
		if got[i] != all[first+i] {
			t.Fatalf("line %d of the log is %q, want %q", i, got[i], all[first+i])
		}
	}
}

// smallScript is a script of drgn.
const smallScript = `
import os
from drgn.helpers.linux.list import list_for_each_entry
from drgn.helpers.linux.pid import find_task
from drgn.helpers.linux.printk import get_dmesg
task = find_task(prog, int(os.environ["TASK"]))
print("comm", task.comm.string_().decode())
print(prog.stack_trace(task))
print("modules", *[m.name.string_().decode() for m in list_for_each_entry("struct module", prog["modules"].address_of_(), "list")])
print(get_dmesg(prog).decode())
`

// judge has gdb, drgn and crash open the dump with the kernel's image.
func (s *smallTest) judge(t *testing.T, file, image, dmesg string) {
	n := smallNote(t, file)
	info, _ := openKernelDump(t, file).Info("KERNELOFFSET")
	script := filepath.Join(t.TempDir(), "small.py")
	if err := os.WriteFile(script, []byte(smallScript), 0o600); err != nil {
		t.Fatal(err)
	}
	gdb := command(t, "gdb", "-nx", "-q", "-batch", "-ex", "core-file "+file, "-ex", "symbol-file "+image+" -o 0x"+info, "-ex", "info threads", "-ex", "bt")
	drgn := command(t, "env", "TASK="+strconv.Itoa(s.pid), "drgn", "-q", "-c", file, "-s", image, script)
	for tool, out := range map[string]string{"gdb": gdb, "drgn": drgn} {
		at := 0
		for _, f := range s.stack {
			name := f.function + " ("
			if strings.HasPrefix(f.function, "entry_") {
				name = "entry_SYSCALL_64" // symbols within have no debug information
			}
			i := strings.Index(out[at:], name)
			if i < 0 {
				t.Errorf("%s says nothing of %s:\n%s", tool, f.function, cut(out))
				break
			}
			at += i
		}
	}
	if !strings.Contains(drgn, "comm sleep\n") || !strings.Contains(drgn, "\nmodules "+strings.Join(moduleNames(n), " ")+"\n") {
		t.Errorf("drgn: %s", cut(drgn))
	}
	crash, err := crashMinimal(t, image, file, "log\nrd linux_banner 4")
	if err != nil {
		t.Fatal(err)
	}
	all := logLines(dmesg)
	for name, out := range map[string]string{"drgn": drgn, "crash": crash} {
		for _, line := range all[len(all)-20:] {
			// Each indents the lines of a message in its own way.
			if !strings.Contains(out, strings.TrimSpace(line)) {
				t.Errorf("%s says nothing of %q:\n%s", name, line, cut(out))
				break
			}
		}
	}
	// 16 bytes of linux_banner, behind their address; the log may begin so, too.
	if !regexp.MustCompile(`(?m)^[0-9a-f]{16}: .* Linux version`).MatchString(crash) {
		t.Errorf("crash does not read linux_banner: %s", cut(crash))
	}
}

// crashMinimal runs commands of crash(8) on a small dump, which has enough for
// its minimal mode.
func crashMinimal(t testing.TB, image, file, commands string) (string, error) {
	t.Helper()
	input := filepath.Join(t.TempDir(), "commands")
	if err := os.WriteFile(input, []byte(commands+"\nquit\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return output(need.Tool(t, "crash"), "--minimal", "-s", "-i", input, image, file)
}

// crashScript is a script of drgn: the task that panicked, by the dump's own
// word.
const crashScript = `
from drgn.helpers.linux.printk import get_dmesg
task = prog.crashed_thread()
print("comm", task.object.comm.string_().decode())
print(task.stack_trace())
print(get_dmesg(prog).decode())
`

// wantSmallCrash checks the small dump of a crash: what it says of the panic,
// and that gdb, drgn and crash find the functions on the stack of the task that
// panicked, where the kernel's image with debug information is there.
func wantSmallCrash(t testing.TB, file, release, panics, comm string, functions ...string) {
	t.Helper()
	d, n := openKernelDump(t, file), smallNote(t, file)
	if n.Live || !strings.Contains(n.Panic+"\n"+n.NotSyncing, panics) || n.Release != release || n.CPU < 0 || n.RIP == "" || n.Modules == "" ||
		len(n.Tasks) == 0 || n.Tasks[0].Comm != comm || n.Tasks[0].Stack == 0 || n.Registers != n.CPUs || len(d.CPUs) != n.CPUs {
		t.Errorf("note %+v", n)
	}
	if log := ownLog(t, file); !strings.Contains(log, "Kernel panic - not syncing") {
		t.Errorf("log %s", cut(log))
	}
	image := vmlinux(release)
	if image == "" {
		return
	}
	script := filepath.Join(t.TempDir(), "crash.py")
	if err := os.WriteFile(script, []byte(crashScript), 0o600); err != nil {
		t.Fatal(err)
	}
	shift, _ := d.Info("KERNELOFFSET")
	out := map[string]string{
		"drgn": command(t, "drgn", "-q", "-c", file, "-s", image, script),
		"gdb":  command(t, "gdb", "-nx", "-q", "-batch", "-ex", "core-file "+file, "-ex", "symbol-file "+image+" -o 0x"+shift, "-ex", "thread apply all bt"),
	}
	for tool, text := range out {
		for _, f := range functions {
			if !strings.Contains(text, f+" (") {
				t.Errorf("%s says nothing of %s:\n%s", tool, f, cut(text))
			}
		}
	}
	crash, err := crashMinimal(t, image, file, "log")
	if err != nil {
		t.Fatal(err)
	}
	if out["drgn"] += crash; strings.Count(out["drgn"], "Kernel panic - not syncing") < 2 || !strings.Contains(out["drgn"], "comm "+comm+"\n") {
		t.Errorf("drgn and crash: %s", cut(out["drgn"]))
	}
}
