package dumpkind

import (
	"bytes"
	"testing"

	"procdump/arch"
	"procdump/snapshot"
)

// program is a small process: a program at exe, a heap, a stack, the linker's
// list in a page of its own.
type program struct {
	*fake
	exe, heap, stack, linker, vdso snapshot.Range
}

const (
	codePage    = 0x1000 // of the program: executable
	dynamicAt   = 0x3e00 // .dynamic
	stackWords  = 64     // from the stack pointer
	phdrSecret  = 0x400  // of the program's first page
	namesOffset = 0x800  // of the linker's page: its names, each with nameSpace bytes
	nameSpace   = 128
)

func newProgram(m arch.Machine) *program {
	base := uint64(0x55550000)
	p := &program{fake: newFake(m), exe: span(base, 4*page), heap: span(base+0x100000, 64*page), linker: span(base+0x800000, page),
		vdso: span(base+0x900000, 2*page), stack: span(base+0x10000000, 64*page)}
	p.region(snapshot.Region{Range: span(base, page), Perm: snapshot.Read, Path: "/home/bob/prog", Inode: 5, Flags: snapshot.Image})
	p.region(snapshot.Region{Range: span(base+codePage, page), Perm: rx, Path: "/home/bob/prog", Inode: 5, Flags: snapshot.Image})
	p.region(snapshot.Region{Range: span(base+2*page, 2*page), Perm: rw, Path: "/home/bob/prog", Inode: 5, Flags: snapshot.Image})
	p.region(snapshot.Region{Range: p.heap, Perm: rw, Path: "[heap]", Resident: p.heap.Size})
	p.region(snapshot.Region{Range: p.linker, Perm: rw})
	p.region(snapshot.Region{Range: p.vdso, Perm: rx, Path: "[vdso]"})
	p.region(snapshot.Region{Range: p.stack, Perm: rw, Path: "[stack]", Flags: snapshot.GrowsDown, Resident: p.stack.Size})
	p.exists(file, span(base, 2*page))
	p.exists(anon, span(base+2*page, 2*page))
	p.exists(anon, p.heap)
	p.exists(anon, p.linker)
	p.exists(file, p.vdso)
	p.exists(anon, p.stack)
	p.p.Modules = []snapshot.Module{
		{Range: p.exe, Path: "/home/bob/prog", Dynamic: base + dynamicAt, BuildID: []byte{1}},
		{Range: p.vdso, Path: "linux-gate.so"},
	}
	p.elfHeader()
	w := uint64(m.PointerSize())
	p.words(base+dynamicAt, 1, 2, 3, 4, 0, 0) // DT_NEEDED, DT_PLTGOT, DT_NULL
	p.p.Linker = &snapshot.Linker{Dynamic: span(base+dynamicAt, 6*w), Maps: []snapshot.LinkMap{{Name: "/home/bob/lib/libx.so"}, {Name: "libs/home/eve/y.so"}},
		Ranges: []snapshot.Range{span(base+dynamicAt, 6*w), span(p.linker.Addr+0x100, 5*w)}}
	at := p.linker.Addr + namesOffset
	for _, m := range p.p.Linker.Maps {
		name := append([]byte(m.Name), 0)
		p.write(at, name)
		p.p.Linker.Ranges = append(p.p.Linker.Ranges, span(at, uint64(len(name))))
		at += nameSpace
	}
	return p
}

// elfHeader writes an ELF header with one PT_NOTE of 16 bytes at 0x200.
func (p *program) elfHeader() {
	b := make([]byte, 0x210)
	copy(b, "\x7fELF\x02\x01\x01")
	b[32], b[56] = 64, 1 // e_phoff, e_phnum
	ph := b[64:]
	ph[0], ph[9], ph[32] = 4, 2, 16 // p_type, p_offset 0x200, p_filesz
	if p.p.Machine().PointerSize() == 4 {
		clear(b[32:])
		b[4], b[28], b[44] = 1, 52, 1
		ph = b[52:]
		ph[0], ph[5], ph[16] = 4, 2, 16
	}
	copy(b[0x200:], "NOTE0123456789ab")
	p.write(p.exe.Addr, b)
}

// main adds the main thread, stopped in the program's code.
func (p *program) main(regs map[string]uint64) *snapshot.Thread {
	m := p.p.Machine()
	all := map[string]uint64{spName(m): p.sp(), pcName(m): p.exe.Addr + codePage + 0x80}
	for k, v := range regs {
		all[k] = v
	}
	return p.thread(1, all, p.stack.End())
}

// sp is the main thread's stack pointer, in its stack's middle.
func (p *program) sp() uint64 { return p.stack.Addr + 32*page + 0x200 }

func TestMini(t *testing.T) {
	for _, m := range []arch.Machine{arch.AMD64, arch.I386, arch.ARM64} {
		p := newProgram(m)
		p.main(nil)
		pointer := p.heap.Addr + 10*page + 0x10
		p.words(p.sp()+64, pointer)
		sel := mustSelect(t, p.p, Options{Kind: Mini})
		if !sel.Buffered {
			t.Fatalf("%v: not buffered", m)
		}
		red := m.RedZone()
		for what, r := range map[string]snapshot.Range{
			"stack": span(p.sp()-red, p.stack.End()-p.sp()+red), "code": span(p.exe.Addr+codePage, 0x100), "header": span(p.exe.Addr, page),
			"dynamic": span(p.exe.Addr+dynamicAt, 64), "what the stack points at": span(pointer&^(page-1), page),
			"below what the stack points at": span(pointer&^(page-1)-page, page), "linker": p.linker, "vdso": p.vdso,
		} {
			if !sel.holds(r) && (m != arch.I386 || what != "below") {
				t.Errorf("%v: %s at %v is not in", m, what, r)
			}
		}
		if limit := uint64(33+2+1+1+1+1+1+2) * page; total(sel.Ranges) > limit {
			t.Errorf("%v: %d KiB, more than %d", m, total(sel.Ranges)>>10, limit>>10)
		}
		same(t, p.fake, sel)
		if p.p.Memory != snapshot.Memory(p.fake) {
			t.Error("Select changes the process it is given")
		}
	}
}

// same checks that a selection's copy is the process's memory.
func same(t *testing.T, f *fake, sel *Selection) {
	t.Helper()
	for _, r := range sel.Ranges {
		a, b := make([]byte, r.Size), make([]byte, r.Size)
		if _, err := sel.Process.Memory.ReadMemory(a, r.Addr); err != nil {
			t.Fatal(err)
		}
		if _, err := f.ReadMemory(b, r.Addr); err != nil {
			t.Errorf("the dump holds %v, which cannot be read: %v", r, err)
		} else if !bytes.Equal(a, b) {
			t.Errorf("the copy of %v differs", r)
		}
	}
}

// TestMiniLeavesOut has the stack point at what no mini dump may take.
func TestMiniLeavesOut(t *testing.T) {
	p := newProgram(arch.AMD64)
	base := uint64(0x7f0000000000)
	add := func(g snapshot.Region, kind snapshot.ExtentKind) uint64 {
		g.Range = span(base, 4*page)
		base += 64 * page
		p.region(g)
		if kind != 0 {
			p.exists(kind, g.Range)
		}
		return g.Addr + page + 0x400
	}
	out := map[string]uint64{
		"DONTDUMP":    add(snapshot.Region{Perm: rw, Flags: snapshot.DontDump}, anon),
		"device":      add(snapshot.Region{Perm: rw, Flags: snapshot.IO}, anon),
		"userfault":   add(snapshot.Region{Perm: rw, Flags: snapshot.Userfault}, 0),
		"untouched":   add(snapshot.Region{Perm: rw}, 0),
		"zero":        add(snapshot.Region{Perm: rw}, anon|snapshot.ExtentZero),
		"PROT_NONE":   add(snapshot.Region{}, anon),
		"clean file":  add(snapshot.Region{Perm: rw, Path: "/d", Inode: 9}, file),
		"remote file": add(snapshot.Region{Perm: rw, Path: "/nfs/d", Inode: 9, Flags: snapshot.RemoteFile}, anon),
		"vvar":        add(snapshot.Region{Perm: snapshot.Read, Path: "[vvar]"}, anon),
		"unmapped":    base + 1<<30,
		"small":       5000,
		"top":         1<<64 - 1,
	}
	in := map[string]uint64{
		"deleted file": add(snapshot.Region{Perm: rw, Path: "/d", Inode: 9, Deleted: true}, file),
		"shared":       add(snapshot.Region{Perm: rw | snapshot.Shared, Path: "/dev/shm/x", Inode: 9}, file),
		"swapped":      add(snapshot.Region{Perm: rw}, snapshot.ExtentSwapped),
	}
	at := p.sp()
	for _, m := range []map[string]uint64{out, in} {
		for _, v := range m {
			p.words(at, v)
			at += 8
		}
	}
	th := p.main(nil)
	th.Registers.SetGP("rax", 1<<64-1)
	sel := mustSelect(t, p.p, Options{Kind: Mini})
	for what, v := range out {
		if sel.holds(span(v, 1)) && v != 5000 && v+1 != 0 {
			t.Errorf("%s memory is in", what)
		}
	}
	for what, v := range in {
		if !sel.holds(span(v&^(page-1), page)) {
			t.Errorf("%s memory is not in", what)
		}
	}
	if sel = mustSelect(t, p.p, Options{Kind: Mini, DontDump: true}); !sel.holds(span(out["DONTDUMP"], 1)) {
		t.Error("-dontdump leaves memory out")
	}
}

// TestMiniInventsNothing has parts that a mini dump wants and cannot have: they
// must be absent, not zero.
func TestMiniInventsNothing(t *testing.T) {
	p := newProgram(arch.AMD64)
	for i, x := range p.runs {
		if x.Addr == p.exe.Addr {
			p.runs = append(p.runs[:i], p.runs[i+1:]...) // the program's file is gone from this view
			break
		}
	}
	k := p.p.FindRegion(p.stack.Addr)
	p.p.Regions[k].Flags |= snapshot.Userfault
	for i, x := range p.runs {
		if x.Addr == p.stack.Addr {
			p.runs[i].Range = span(p.sp()&^(page-1), 4*page)
		}
	}
	p.main(nil)
	sel := mustSelect(t, p.p, Options{Kind: Mini})
	same(t, p.fake, sel)
	if got := within(sel.Ranges, p.stack); len(got) != 1 || got[0].Size != 4 {
		t.Errorf("stack pages %v, want the four that exist", got)
	}
}

func TestMiniStackAtBorders(t *testing.T) {
	f := newFake(arch.AMD64)
	low, high := span(page, 2*page), span(1<<47-2*page, 2*page)
	for i, r := range []snapshot.Range{low, high} {
		f.region(snapshot.Region{Range: r, Perm: rw})
		f.exists(anon, r)
		f.thread(i+1, map[string]uint64{"rsp": r.Addr, "rip": r.Addr}, r.End())
	}
	f.thread(3, map[string]uint64{"rsp": high.End() - 8, "rip": 1<<64 - 1, "rax": high.End() - 1}, high.End())
	f.thread(4, map[string]uint64{"rsp": 8, "rip": 0}, 0)
	f.p.Threads = append(f.p.Threads, snapshot.Thread{TID: 5}) // without registers
	f.p.Linker = &snapshot.Linker{Ranges: []snapshot.Range{span(1<<63, 1<<62), span(1<<64-8, 7), span(0, 1<<47), span(1<<64-16, 64)}}
	f.p.Modules = []snapshot.Module{{Range: span(1<<64-page, page-1), Dynamic: 1<<64 - 1, Path: "linux-gate.so"}}
	f.p.Auxv = bytes.Repeat([]byte{15, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 3)
	for _, kind := range []Kind{Mini, Triage} {
		sel := mustSelect(t, f.p, Options{Kind: kind})
		if !sel.holds(low) || !sel.holds(high) {
			t.Errorf("%v: ranges %v", kind, sel.Ranges)
		}
	}
}

// TestMiniBudget has 5,000 threads with 1 MiB of stack each, each pointing at
// much memory: the dump stays bounded, and the blamed thread is complete.
func TestMiniBudget(t *testing.T) {
	const threads, used = 5000, 1 << 20
	f := newFake(arch.AMD64)
	heap := span(1<<40, 1<<30)
	f.region(snapshot.Region{Range: heap, Perm: rw})
	f.exists(anon, heap)
	for i := range uint64(threads) {
		st := span(1<<32+i*4<<20, used+64<<10)
		// Not by region and exists, which sort each time.
		f.p.Regions = append(f.p.Regions, snapshot.Region{Range: st, Perm: rw})
		f.runs = append(f.runs, snapshot.Extent{Range: st, Kind: anon})
	}
	f.p.Regions = append(f.p.Regions[1:], f.p.Regions[0])
	f.runs = append(f.runs[1:], f.runs[0])
	var first []uint64
	for i := range threads {
		st := f.p.Regions[i]
		sp := st.End() - used
		if i == threads-1 { // the blamed thread is the last in memory
			for k := range uint64(100) {
				v := heap.End() - 4*page - k*2*page
				first = append(first, v)
				f.words(sp+8*k, v)
			}
		} else {
			f.words(sp, heap.Addr+uint64(i)*4*page, heap.Addr+uint64(i)*4*page+2*page)
		}
		f.thread(i+1, map[string]uint64{"rsp": sp}, st.End())
	}
	n := len(f.p.Threads)
	f.p.Threads[0], f.p.Threads[n-1] = f.p.Threads[n-1], f.p.Threads[0]
	sel := mustSelect(t, f.p, Options{Kind: Mini})
	if got, limit := total(sel.Ranges), uint64(threads*(minStack+2*page)+used+pointedBudget); got > limit {
		t.Errorf("%d MiB, more than %d", got>>20, limit>>20)
	}
	if !sel.holds(f.p.Threads[0].Stack) {
		t.Error("the blamed thread's stack is cut")
	}
	for i := range f.p.Threads {
		if !sel.holds(span(f.p.Threads[i].Stack.Addr, 8<<10)) {
			t.Errorf("thread %d has no stack", i)
			break
		}
	}
	for _, v := range first {
		if !sel.holds(span(v&^(page-1), page)) {
			t.Fatalf("what the blamed thread's stack points at, %#x, is not in", v)
		}
	}
	if in := total(within(sel.Ranges, heap)) * page; in > pointedBudget {
		t.Errorf("%d MiB are pointed at, more than the budget", in>>20)
	} else if in < pointedBudget {
		t.Errorf("%d KiB are pointed at: the budget is not used", in>>10)
	}
}

// TestMiniDeepStack keeps one deep stack whole, and does not spend the budget
// of what is pointed at on the stack itself.
func TestMiniDeepStack(t *testing.T) {
	f := newFake(arch.AMD64)
	st, heap := span(1<<40, 8<<20), span(1<<41, 64<<20)
	f.region(snapshot.Region{Range: st, Perm: rw})
	f.region(snapshot.Region{Range: heap, Perm: rw})
	f.exists(anon, st)
	f.exists(anon, heap)
	sp := st.Addr + page
	for at := sp; at < st.End(); at += 2048 { // frame pointers, and 4,000 pages of the heap
		f.words(at, at+2048, heap.Addr+(at-sp)/2048*page+0x200)
	}
	f.thread(1, map[string]uint64{"rsp": sp}, st.End())
	sel := mustSelect(t, f.p, Options{Kind: Mini})
	if !sel.holds(span(sp, st.End()-sp)) {
		t.Error("the stack is cut")
	}
	if got := total(within(sel.Ranges, heap)); got != (st.End()-sp)/2048 {
		t.Errorf("%d pages of the heap, want %d", got, (st.End()-sp)/2048)
	}
}

func TestEstimateSmall(t *testing.T) {
	p := &snapshot.Process{Threads: make([]snapshot.Thread, 5000)}
	if n := Estimate(p, Options{Kind: Mini}); n > stackBudget+pointedBudget+5000*threadEstimate+headEstimate {
		t.Errorf("estimate %d MiB", n>>20)
	}
	p.Regions = []snapshot.Region{
		{Range: span(0, 1<<40), Perm: rw, Resident: 100 << 20, Swapped: 1 << 20},                     // mostly reserved
		{Range: span(1<<40, 1<<40), Perm: snapshot.Read | snapshot.Shared, Path: "/lmdb", Inode: 1},  // larger than its file
		{Range: span(1<<42, 1<<30), Perm: rw, Flags: snapshot.DontDump, Resident: 1 << 30},           // left out
		{Range: span(1<<43, 1<<20), Perm: rx, Path: "/lib", Inode: 2, Resident: 4096, Private: 4096}, // code
		{Range: span(1<<44, 1<<40), Perm: rw | snapshot.Shared, Path: "/memfd:x", Inode: 3, Resident: 1 << 20, Deleted: true},
	}
	p.Threads = nil
	const head = headEstimate
	for _, tt := range []struct {
		o    Options
		want uint64
	}{
		{Options{Kind: Full}, head + 101<<20 + fileEstimate + 1<<20 + 1<<20},
		{Options{Kind: Full, DontDump: true}, head + 101<<20 + fileEstimate + 1<<20 + 1<<20 + 1<<30},
		{Options{Kind: MiniPlus}, head + 101<<20 + 4096 + 8192 + 1<<20},
		{Options{Kind: Custom, Mask: MaskAnonPrivate}, head + 101<<20 + 1<<20},
		{Options{Kind: Custom, Mask: MaskAnonShared}, head + 1<<20 + 4096},
		{Options{Kind: Custom, Mask: MaskFileShared}, head + fileEstimate + 4096},
		{Options{Kind: Custom, Mask: MaskFilePrivate}, head + 1<<20},
	} {
		if got := Estimate(p, tt.o); got != tt.want {
			t.Errorf("%+v: %d, want %d (differs by %d)", tt.o, got, tt.want, int64(got-tt.want))
		}
	}
}
