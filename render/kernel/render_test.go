package kernel

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"procdump/inspect/kernel"
	"procdump/inspect/kernel/kerneltest"
)

var update = flag.Bool("update", false, "write the golden files")

// many is a report that has more of everything than is shown.
func many() *kernel.Report {
	at := time.Date(2026, 11, 22, 3, 4, 5, 0, time.UTC)
	address := kernel.Hex(0x10)
	frame := func(i int) kernel.Frame {
		return kernel.Frame{PC: kernel.Hex(0xffffffff81000000 + uint64(i)), Symbol: fmt.Sprintf("function_%d", i), Offset: uint64(i), SP: 0xffffc90000001000}
	}
	r := &kernel.Report{
		Format: "kdump-compressed v6", System: "Linux", Kind: "kernel", Crash: true, Incomplete: true, Release: "6.1.0", Version: "#1 SMP", Machine: "x86_64", Host: "host",
		Reason: "Null pointer dereference at address 0x10 in function function_1 of module first, called by function_2; process worker (PID 4711), CPU 1.",
		Time:   &at, UptimeSeconds: 90061, CPUs: 200, MemoryBytes: 3 << 40, Taints: []kernel.Taint{{Letter: "P", Meaning: "a proprietary module was loaded"}, {Letter: "W", Meaning: "the kernel issued a warning"}},
		Incident:        &kernel.Incident{Type: "nullDereference", Message: "BUG: kernel NULL pointer dereference, address: 0000000000000010", Panic: "Fatal exception", Address: &address, CPU: 1, PID: 4711, Process: "worker"},
		Tasks:           &kernel.Tasks{Total: 5000, States: map[string]int{"D": 400, "S": 4500, "R": 100}},
		Memory:          &kernel.Memory{Classes: []kernel.MemoryClass{{Name: "free", Bytes: 2 << 40}, {Name: "slab", Bytes: 3 << 20, InDump: 3 << 20}, {Name: "kernel", Bytes: 1 << 40, InDump: 1 << 39}}},
		VirtualMachines: []kernel.VirtualMachine{{PID: 99, Bytes: 8 << 30}},
		Log:             &kernel.Log{Messages: 2000, Incident: 101},
	}
	where := frame(1)
	where.Module = "first"
	r.Incident.Where, r.Incident.Callers = &where, []kernel.Frame{frame(2), frame(3)}
	for i := range 200 {
		p := kernel.Processor{Number: i, Doing: "kernel", Task: &kernel.TaskRef{PID: i, Comm: fmt.Sprintf("task%d", i)}}
		switch {
		case i == 1:
			p.Crashed = true
			for n := range 60 {
				f := frame(n)
				if f.Exact = n == 3; f.Exact {
					f.Registers = []kernel.Register{{Name: "orig_rax", Value: 1}, {Name: "rip", Value: 2}, {Name: "rsp", Value: 3}, {Name: "ss", Value: 4}}
				}
				if n < 3 {
					f.Stack = "irq"
				}
				p.Frames = append(p.Frames, f)
			}
			p.UserPC = 0x401000
		case i < 4:
			p.Doing, p.UserPC = "user mode", 0x400000
		case i < 30:
			p.Frames = []kernel.Frame{frame(7), {PC: 0xffffffff81001234, Unreliable: true}}
			p.Broken = "the kernel has no unwind data for function_7+0x7"
		case i < 150:
			p.Doing = "idle"
		default:
			p.Doing, p.Task = "unknown", nil
		}
		r.Processors = append(r.Processors, p)
	}
	for i := range 90 {
		g := kernel.TaskGroup{State: string("DDRSS"[i/18])}
		for n := range i%12 + 1 {
			g.Tasks = append(g.Tasks, kernel.TaskRef{PID: 1000*i + n, Comm: fmt.Sprintf("group%d", i), State: g.State})
		}
		for n := range i % 15 {
			g.Frames = append(g.Frames, frame(n))
		}
		r.Tasks.Groups = append(r.Tasks.Groups, g)
	}
	for i := range 300 {
		m := kernel.Module{Name: fmt.Sprintf("module%d", i), Addr: kernel.Hex(i << 12), Size: 4096}
		if i%9 == 0 {
			m.Taints, m.Version = r.Taints, "1.0"
		}
		r.Modules = append(r.Modules, m)
	}
	for i := range 40 {
		r.Unloaded = append(r.Unloaded, kernel.Unloaded{Name: fmt.Sprintf("gone%d", i), Count: uint64(i), Taints: r.Taints[:1]})
	}
	for i := range 400 {
		r.Log.Lines = append(r.Log.Lines, fmt.Sprintf("[%5d.000000] message %d %s\nsecond line", i, i, strings.Repeat("word ", i%40)))
	}
	for i := range 30 {
		r.Warnings = append(r.Warnings, fmt.Sprintf("part %d: a page of it was left out of the dump, and so the rest of what hangs on it cannot be found", i))
	}
	return r
}

// inspected is the report on a small dump.
func inspected(t *testing.T) *kernel.Report {
	t.Helper()
	b := kerneltest.Small(t)
	r, err := kernel.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// windows is a report on a dump of Windows.
func windows() *kernel.Report {
	address := kernel.Hex(0x28)
	r := &kernel.Report{
		Format: "Windows crash dump (small memory dump)", System: "Windows", Kind: "small memory dump", Crash: true, Release: "10.0.19041", Machine: "amd64", CPUs: 3,
		Reason:     "Windows stopped with bug check DRIVER_IRQL_NOT_LESS_OR_EQUAL (0xd1): access violation (read of address 0x28) in broken.sys+0x1234; process System (PID 4), CPU 0.",
		Incident:   &kernel.Incident{Type: "bugCheck", Message: "0x000000d1 DRIVER_IRQL_NOT_LESS_OR_EQUAL", Address: &address},
		Processors: []kernel.Processor{{Doing: "kernel", Crashed: true, Trace: kernel.Trace{Frames: []kernel.Frame{{PC: 1, Module: "ntoskrnl.exe", Offset: 0x3f5a80}}}}, {Number: 1, Doing: "unknown"}, {Number: 2, Doing: "unknown"}},
		Modules:    []kernel.Module{{Name: "ntoskrnl.exe"}, {Name: "broken.sys"}, {Addr: 0xfffff80000000000}},
		Unloaded:   []kernel.Unloaded{{Name: "old.sys"}},
		Windows: &kernel.Windows{Build: "19041.1.amd64fre.vb_release.191206-1406", Product: "workstation",
			BugCheck:  &kernel.BugCheck{Code: 0xd1, Name: "DRIVER_IRQL_NOT_LESS_OR_EQUAL", Parameters: []kernel.BugParameter{{Value: 0x28, Meaning: "address that was accessed"}, {Value: 2}}},
			Exception: &kernel.Exception{Code: 0xc0000005, Name: "access violation", Address: 0xfffff80500001234, Information: []kernel.Hex{0, 0x28}},
			Registers: []kernel.Register{{Name: "rip", Value: 0xfffff80500001234}}, At: &kernel.Frame{PC: 0xfffff80500001234, Module: "broken.sys", Offset: 0x1234},
		},
	}
	for i := range 40 {
		r.Windows.Stack = append(r.Windows.Stack, kernel.Frame{SP: kernel.Hex(0xffffb00000001000 + uint64(8*i)), Module: "broken.sys", Offset: uint64(0x100 + i), Unreliable: true})
	}
	return r
}

func TestGolden(t *testing.T) {
	for name, r := range map[string]*kernel.Report{"many": many(), "small": inspected(t), "windows": windows(), "nothing": {}} {
		var b bytes.Buffer
		if err := Text(&b, r); err != nil {
			t.Fatal(err)
		}
		check(t, filepath.Join("testdata", name+".golden"), b.Bytes())
		for _, line := range strings.Split(b.String(), "\n") {
			if n := len([]rune(line)); n > width || strings.TrimRight(line, " ") != line {
				t.Errorf("%s: line of %d characters: %q", name, n, line)
			}
		}
		if n := strings.Count(b.String(), "\n"); n > 700 {
			t.Errorf("%s: %d lines", name, n)
		}
	}
	var b bytes.Buffer
	if err := JSON(&b, windows()); err != nil {
		t.Fatal(err)
	}
	check(t, "testdata/windows.json", b.Bytes())
}

// TestText has reports of which lines are looked for.
func TestText(t *testing.T) {
	for _, c := range []struct {
		r    kernel.Report
		want string
	}{
		{kernel.Report{System: "Linux", Host: "a\x1b[31mb\u009bc\x7f"}, "Machine     a?[31mb?c?\n"},
		{kernel.Report{Log: &kernel.Log{Messages: 1, Lines: []string{"[    0.1] a\tb\x07\r"}}}, "  [    0.1] a b??\n"},
		{kernel.Report{System: "Linux", Kind: "small", CrashUnknown: true, Incomplete: true, Format: "ELF"}, "Dump        kind small, incomplete: its writer ran"},
		{kernel.Report{System: "Linux", Crash: true, Incomplete: true}, "Dump        of a crash; incomplete: its writer ran"},
		{kernel.Report{System: "Windows", Windows: &kernel.Windows{Exception: &kernel.Exception{Code: 1, Name: "odd", Address: 2}}}, "\nException 0x1 odd at 0x2\n"},
	} {
		var b bytes.Buffer
		if err := Text(&b, &c.r); err != nil || !strings.Contains(b.String(), c.want) {
			t.Errorf("%v: text is\n%s\nwant in it\n%s", err, &b, c.want)
		}
	}
}

func check(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is\n%s\nwant\n%s", file, got, want)
	}
}
