package inspect

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"procdump/arch"
	"procdump/image"
	"procdump/snapshot"
	"procdump/symbols"
	"procdump/unwind"
)

const (
	testStack = 0x7ffd0000
	testPC    = 0x401234
)

// crashed is a process with two threads one of which got a signal.
func crashed(sig int, code int32, addr uint64) *snapshot.Process {
	p := &snapshot.Process{
		System: snapshot.System{Machine: arch.AMD64, OS: "linux"}, PID: 100, Name: "victim",
		Regions: []snapshot.Region{
			{Range: snapshot.Range{Addr: 0x400000, Size: 0x1000}, Perm: snapshot.Read, Path: "/bin/victim", Inode: 1, Flags: snapshot.Image},
			{Range: snapshot.Range{Addr: 0x401000, Size: 0x1000}, Perm: snapshot.Read | snapshot.Execute, Path: "/bin/victim", Inode: 1, Flags: snapshot.Image},
			{Range: snapshot.Range{Addr: 0x500000, Size: 0x10000}, Perm: snapshot.Read | snapshot.Write, Path: "[heap]", Resident: 0x8000},
			{Range: snapshot.Range{Addr: 0x600000, Size: 0x1000}},
			{Range: snapshot.Range{Addr: testStack - 0x3000, Size: 0x1000}}, // a guard
			{Range: snapshot.Range{Addr: testStack - 0x2000, Size: 0x4000}, Perm: snapshot.Read | snapshot.Write, Path: "[stack]"},
			{Range: snapshot.Range{Addr: 0x80000000, Size: 0x100000}, Perm: snapshot.Read | snapshot.Write | snapshot.Shared, Path: "/dev/shm/x", Inode: 2},
		},
		Threads: []snapshot.Thread{{TID: 100, Name: "first"}, {TID: 101, Name: "second", UserTime: time.Second}},
	}
	for i := range p.Threads {
		r := &p.Threads[i].Registers
		r.Machine = arch.AMD64
		r.SetGP("rip", testPC)
		r.SetGP("rsp", testStack)
	}
	if sig != 0 {
		p.Exception = &snapshot.Exception{TID: 101, Signal: sig, Code: uint32(code), Addr: addr}
		p.Threads[1].Signal = sig
	}
	return p
}

func report(t testing.TB, p *snapshot.Process) *Report {
	t.Helper()
	set := image.NewSet(p, image.Options{})
	defer set.Close()
	return Collect(p, set, nil).Report()
}

// TestLostException: a process did not run undisturbed because what happened to it
// cannot be read.
func TestLostException(t *testing.T) {
	for _, c := range []struct {
		warning error
		want    string
	}{
		{errors.New("minidump: ThreadNames"), "The process did not crash: it was dumped while it ran, 2 threads"},
		{fmt.Errorf("x: %w", &snapshot.ExceptionError{Err: io.ErrUnexpectedEOF}), "The dump does not tell what happened: it is cut off or damaged, 2 threads"},
	} {
		p := crashed(0, 0, 0)
		set := image.NewSet(p, image.Options{})
		r := Collect(p, set, []error{c.warning}).Report()
		set.Close()
		if !strings.HasPrefix(r.Reason, c.want) || !slices.Contains(r.Warnings, c.warning.Error()) {
			t.Errorf("%s; %q", r.Reason, r.Warnings)
		}
	}
}

func TestReasons(t *testing.T) {
	sender := make([]byte, 128)
	binary.LittleEndian.PutUint32(sender[16:], 77)
	binary.LittleEndian.PutUint32(sender[20:], 1000)
	const unknown = ", in unknown code at 0x401234"
	for _, c := range []struct {
		sig    int
		code   int32
		addr   uint64
		change func(p *snapshot.Process)
		want   string
	}{
		{11, 1, 0, nil, "Segmentation fault (SIGSEGV): access to 0x0: a null pointer" + unknown},
		{11, 1, 24, nil, "Segmentation fault (SIGSEGV): access to 0x18: a null pointer plus 24" + unknown},
		{11, 1, 0x700000, nil, "Segmentation fault (SIGSEGV): access to 0x700000, where nothing is mapped" + unknown},
		{11, 2, 0x400010, nil, "Segmentation fault (SIGSEGV): write to 0x400010, memory that is read-only (victim)" + unknown},
		{11, 2, 0x600010, nil, "Segmentation fault (SIGSEGV): access to 0x600010, memory that nobody may access" + unknown},
		{11, 1, 0x500010, nil, "Segmentation fault (SIGSEGV): access to 0x500010, where nothing was mapped when it happened ([heap])" + unknown},
		{11, 4, 0x500010, nil, "Segmentation fault (SIGSEGV): access to 0x500010, memory that a protection key guards ([heap])" + unknown},
		{11, 2, 0x500010, func(p *snapshot.Process) { p.Regions[2].Perm |= snapshot.Execute },
			"Segmentation fault (SIGSEGV): access to 0x500010, memory that may be written and executed ([heap])" + unknown},
		{11, 2, 0x500010, func(p *snapshot.Process) { p.Threads[1].Registers.SetGP("rip", 0x500010) },
			"Segmentation fault (SIGSEGV): call or jump to 0x500010, memory of data ([heap]), in unknown code at 0x500010"},
		{11, 0x80, 0, nil, "Segmentation fault (SIGSEGV): access to an address that no memory can have (not canonical)" + unknown},
		{11, 2, testStack - 0x2008, nil, "Segmentation fault (SIGSEGV): stack overflow: access to 0x7ffcdff8, below the thread's stack of 16 KiB with 1 frame" + unknown},
		{11, 1, testStack - 0x8000, nil, "Segmentation fault (SIGSEGV): stack overflow: access to 0x7ffc8000, below the thread's stack of 16 KiB with 1 frame" + unknown},
		{11, 0, 0, func(p *snapshot.Process) { p.Threads[1].Siginfo = sender },
			"Segmentation fault (SIGSEGV): process 77 of user 1000 sent it" + unknown},
		{6, -6, 0, func(p *snapshot.Process) { p.PID = 77; p.Threads[1].Siginfo = sender },
			"Aborted (SIGABRT): the process sent it to itself" + unknown},
		{7, 2, 0x80000010, nil, "Bus error (SIGBUS): access to 0x80000010, beyond the end of the mapped file (x)" + unknown},
		{7, 4, 0x80000010, nil, "Bus error (SIGBUS): memory error of the machine at 0x80000010" + unknown},
		{8, 1, testPC, nil, "Arithmetic error (SIGFPE): integer division by zero" + unknown},
		{4, 2, testPC, nil, "Illegal instruction (SIGILL): an instruction that the processor does not know" + unknown},
		{0, 0, 0, func(p *snapshot.Process) { p.Info.Reason = "Manual dump" },
			"The process did not crash: it was dumped while it ran (Manual dump), 2 threads with 1 different stack"},
		{0, 0, 0, func(p *snapshot.Process) { p.Info.Kind = KindLive }, "victim (100) is running: 2 threads with 1 different stack"},
	} {
		p := crashed(c.sig, c.code, c.addr)
		if c.change != nil {
			c.change(p)
		}
		if got := report(t, p).Reason; got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

func TestWindows(t *testing.T) {
	for want, e := range map[string]*snapshot.Exception{
		"Exception 0xc0000005: write to 0x10: a null pointer plus 16": {TID: 101, Code: 0xc0000005, Params: []uint64{1, 16}},
		"Exception 0xc0000005: read from 0x12345678":                  {TID: 101, Code: 0xc0000005, Params: []uint64{0, 0x12345678}},
		"Exception 0xc00000fd: stack overflow":                        {TID: 101, Code: 0xc00000fd},
		"Exception 0x12345: exception 0x12345":                        {TID: 101, Code: 0x12345},
	} {
		p := crashed(0, 0, 0)
		p.System.OS, p.Exception = "windows", e
		if got := report(t, p).Reason; !strings.HasPrefix(got, want+", in ") {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestGroups(t *testing.T) {
	p := crashed(11, 1, 0)
	r := report(t, p)
	if len(r.Groups) != 1 || len(r.Groups[0].Threads) != 2 || r.Groups[0].Threads[0].TID != 101 || !r.Groups[0].Threads[0].Blamed {
		t.Errorf("%+v", r.Groups)
	}
	p.Threads[0].Registers.SetGP("rip", testPC+1)
	p.Threads = append(p.Threads, p.Threads[0], p.Threads[0])
	p.Threads[2].TID, p.Threads[2].UserTime = 102, time.Minute
	p.Threads[3] = snapshot.Thread{TID: 103} // without registers
	r = report(t, p)
	var got []int
	for _, g := range r.Groups {
		for _, th := range g.Threads {
			got = append(got, th.TID)
		}
	}
	// The blamed one, then the busiest and who stands as it does, then the others.
	if len(r.Groups) != 3 || got[0] != 101 || got[1] != 102 || got[2] != 100 || got[3] != 103 {
		t.Errorf("%v in %d groups", got, len(r.Groups))
	}
	if g := r.Groups[2]; len(g.Frames) != 0 || g.End != "the dump holds no registers of this thread" {
		t.Errorf("%+v", g)
	}
}

func TestMemory(t *testing.T) {
	m := report(t, crashed(0, 0, 0)).Memory
	want := map[string]uint64{"heap": 0x10000, "image": 0x2000, "stack": 0x4000, "shared": 0x100000, "reserved": 0x2000}
	sum := uint64(0)
	for _, k := range m.Kinds {
		if k.Bytes != want[k.Kind] {
			t.Errorf("%s: %#x bytes, want %#x", k.Kind, k.Bytes, want[k.Kind])
		}
		sum += k.Bytes
	}
	if len(m.Kinds) != len(want) || sum != m.Bytes || m.Resident != 0x8000 || m.Kinds[0].Kind != "heap" {
		t.Errorf("%+v", m)
	}
	if m.Largest[0].Kind != "heap" || m.Largest[1].Bytes != 0x100000 {
		t.Errorf("%+v", m.Largest)
	}
}

// TestGoHeap: Go's stacks lie in its heap, which is no stack as a whole.
func TestGoHeap(t *testing.T) {
	p := crashed(0, 0, 0)
	p.Regions = append(p.Regions, snapshot.Region{Range: snapshot.Range{Addr: 0xc000000000, Size: 4 << 20}, Perm: snapshot.Read | snapshot.Write})
	p.Threads[0].Registers.SetGP("rsp", 0xc000001000)
	for _, k := range report(t, p).Memory.Kinds {
		if k.Kind == "stack" && k.Bytes != 0x4000 || k.Kind == "heap" && k.Bytes != 0x10000+4<<20 {
			t.Errorf("%+v", k)
		}
	}
}

// counting counts the bytes that memory is asked for, and has none of them.
type counting struct{ asked int }

func (c *counting) ReadMemory(p []byte, addr uint64) (int, error) {
	c.asked += min(len(p), 4096)
	return 0, &snapshot.MemoryError{Addr: addr, Err: snapshot.ErrNotMapped}
}

func (*counting) Extents(snapshot.Range) ([]snapshot.Extent, error) { return nil, nil }

// TestManyStacks: a damaged dump may call any number of mappings the stack; the
// environment is looked for in some.
func TestManyStacks(t *testing.T) {
	p := crashed(0, 0, 0)
	memory := &counting{}
	p.Memory, p.Auxv, p.Regions = memory, make([]byte, 64), nil
	for i := range 20 * maxStacks {
		p.Regions = append(p.Regions, snapshot.Region{Range: snapshot.Range{Addr: uint64(i+1) << 32, Size: maxStackTop}, Path: "[stack]"})
	}
	if got := environ(p); got != nil || memory.asked == 0 || memory.asked > maxStacks*maxStackTop {
		t.Errorf("%q, %d bytes asked for", got, memory.asked)
	}
}

// TestNamedFrames: a report has a bounded number of frames, and says so.
func TestNamedFrames(t *testing.T) {
	p := crashed(0, 0, 0)
	set := image.NewSet(p, image.Options{})
	defer set.Close()
	n := &namer{symbols: symbols.New(set), set: set, left: 3}
	s := &unwind.Stack{Frames: make([]unwind.Frame, 2), Complete: true}
	if g := n.group(s); len(g.Frames) != 2 || !g.Complete || g.End != "" {
		t.Errorf("%+v", g)
	}
	if g := n.group(s); len(g.Frames) != 1 || g.Complete || g.End == "" {
		t.Errorf("%+v", g)
	}
	p.Modules = []snapshot.Module{{Range: snapshot.Range{Size: 0x1000}, Path: strings.Repeat("x", 3<<10)}}
	set = image.NewSet(p, image.Options{})
	defer set.Close()
	n = &namer{symbols: symbols.New(set), set: set, left: 8}
	s.Frames = make([]unwind.Frame, 4)
	if g := n.group(s); len(g.Frames) != 2 || g.Complete {
		t.Errorf("%d frames with paths of 3 KiB", len(g.Frames))
	}
}

// TestOtherMachine: of a machine whose stacks are not known all but these is
// reported.
func TestOtherMachine(t *testing.T) {
	p := crashed(11, 1, 0)
	p.System.Machine = arch.Unknown
	r := report(t, p)
	if len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "cannot be walked yet") || r.ThreadCount != 2 || len(r.Memory.Kinds) == 0 {
		t.Errorf("%+v", r)
	}
}

func TestWhere(t *testing.T) {
	f := func(name, module string) Frame { return Frame{Function: name, Module: module} }
	for _, c := range []struct {
		frames []Frame
		gaveUp bool
		want   string
	}{
		{[]Frame{f("__GI_raise", "/lib/libc.so.6"), f("__GI_abort", "/lib/libc.so.6"), f("check", "/bin/x"), f("main", "/bin/x")}, true, "check"},
		{[]Frame{f("", "/lib/libstdc++.so.6"), f("std::terminate", ""), f("__cxa_throw", ""), f("load", "/bin/x")}, true, "load"},
		{[]Frame{f("std::terminate", "/lib/libstdc++.so.6"), f("std::__terminate", "/bin/x"), f("std::thread::~thread", "/bin/x")}, true, "std::thread::~thread"},
		{[]Frame{f("memcpy", "/lib/libc.so.6"), f("copy", "/bin/x")}, false, "memcpy"},
		{[]Frame{f("runtime.raise.abi0", "/bin/g"), f("runtime.fatalpanic", "/bin/g"), f("runtime.gopanic", "/bin/g"), f("main.f", "/bin/g")}, false, "main.f"},
		{[]Frame{f("core::panicking::panic", "/bin/r"), f("app::run", "/bin/r")}, true, "app::run"},
		{[]Frame{f("__rustc::rust_panic", "/bin/r"), {Function: "<alloc::vec::Vec<T,A> as core::ops::index::Index<I>>::index", File: "/rustc/59807616/library/alloc/src/vec/mod.rs"},
			f("app::get", "/bin/r")}, true, "app::get"},
		{[]Frame{f("raise", "/lib/libc.so.6")}, true, "raise"},
	} {
		if got := where(c.frames, c.gaveUp); got == nil || got.Function != c.want {
			t.Errorf("%+v, want %s", got, c.want)
		}
	}
	if where(nil, true) != nil {
		t.Error("a place of no frames")
	}
}
