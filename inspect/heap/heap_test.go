package heap

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"procdump/arch"
	"procdump/snapshot"
)

// Where the parts of a made-up process lie. The heap of the second arena is
// aligned as its allocator wants it.
const (
	dataAddr  = 0x10000000
	mainArena = dataAddr + 0x800
	params    = dataAddr + 0x1400
	heapAddr  = 0x20000000
	otherHeap = 0x40000000
	partSize  = 0x3000
	taken     = 0x9000 // bytes that each arena says it has
)

// builder makes the memory of a process with two arenas, one of which has a block
// in each kind of list.
type builder struct {
	layout
	memory  map[uint64][]byte // by address, partSize bytes each
	process *snapshot.Process
	other   uint64 // arena
	mangled bool
	// Blocks of the main arena.
	fast, fast2, unsorted, small, large, top uint64
}

func (b *builder) ReadMemory(p []byte, addr uint64) (int, error) {
	for at, part := range b.memory {
		if addr >= at && addr < at+uint64(len(part)) {
			return copy(p, part[addr-at:]), nil
		}
	}
	return 0, snapshot.ErrNotMapped
}

// put writes numbers.
func (b *builder) put(addr uint64, numbers ...uint64) {
	for i, n := range numbers {
		at := addr + uint64(i)*b.word
		for base, part := range b.memory {
			if at < base || at >= base+uint64(len(part)) {
				continue
			}
			if b.word == 4 {
				binary.LittleEndian.PutUint32(part[at-base:], uint32(n))
			} else {
				binary.LittleEndian.PutUint64(part[at-base:], n)
			}
		}
	}
}

// arena writes an arena without blocks.
func (b *builder) arena(addr, next, top, bytes uint64, counts bool) {
	for i := uint64(1); i <= bins; i++ {
		b.link(addr, i)
	}
	b.put(addr+b.layout.top(), top, 0)
	b.put(addr+b.next(), next, 0)
	if counts {
		b.put(addr+b.next()+2*b.word, 1, bytes, bytes+0x1000)
	} else {
		b.put(addr+b.next()+2*b.word, bytes, bytes+0x1000)
	}
}

// link makes a list of blocks of a bin, whose first is the bin's own address.
func (b *builder) link(arena, bin uint64, blocks ...uint64) {
	self := b.self(arena, bin)
	all := append([]uint64{self}, blocks...)
	for i, at := range all {
		next, previous := all[(i+1)%len(all)], all[(i+len(all)-1)%len(all)]
		b.put(at+2*b.word, next, previous)
	}
}

// block writes the head of a free block, and what the one behind it knows of it.
func (b *builder) block(addr, size uint64) {
	b.put(addr, 0, size|inUse)
	b.put(addr+size, size, 4*b.word)
}

// fastLink is how a link of a fast bin is stored.
func (b *builder) fastLink(at, to uint64) uint64 {
	if b.mangled {
		return to ^ at>>12
	}
	return to
}

// build makes it all. counts tells whether arenas count their threads.
func build(l layout, mangled, counts bool, machine arch.Machine) *builder {
	b := &builder{layout: l, mangled: mangled, memory: map[uint64][]byte{}, process: &snapshot.Process{System: snapshot.System{Machine: machine, OS: "linux"}}}
	for _, at := range []uint64{dataAddr, heapAddr, otherHeap} {
		b.memory[at] = make([]byte, partSize)
		b.process.Regions = append(b.process.Regions, snapshot.Region{Range: snapshot.Range{Addr: at, Size: partSize}, Perm: snapshot.Read | snapshot.Write})
	}
	w := b.word
	b.other = otherHeap + 4*w
	first := uint64(heapAddr + b.align - 2*w) // blocks begin so that what lies in them is aligned
	b.fast, b.fast2, b.unsorted, b.small, b.large, b.top = first, first+0x80, first+0x200, first+0x400, first+0x600, first+0x2000
	b.arena(mainArena, b.other, b.top, taken, counts)
	b.arena(b.other, mainArena, otherHeap+0x2000+first-heapAddr, taken, counts)
	b.put(otherHeap, b.other, 0, partSize)
	b.put(otherHeap+0x2000+first-heapAddr, 0, (0x1000-(first-heapAddr))|inUse)
	b.put(b.top, 0, (0x1000-(first-heapAddr))|inUse)
	// The fast bin of the third size has two blocks.
	size := 4 * 2 * w
	b.put(mainArena+b.layout.fast+2*w, b.fast)
	b.put(b.fast, 0, size|inUse, b.fastLink(b.fast+2*w, b.fast2))
	b.put(b.fast2, 0, size|inUse, b.fastLink(b.fast2+2*w, 0))
	b.block(b.unsorted, 0x100)
	b.link(mainArena, 1, b.unsorted)
	small := (&reader{layout: l}).smallSize(9)
	b.block(b.small, small)
	b.link(mainArena, 9, b.small)
	b.block(b.large, 0x800)
	b.link(mainArena, 70, b.large)
	return b
}

// parameters writes a struct malloc_par whose counts begin at an offset.
func (b *builder) parameters(at uint64) {
	test := uint64(8)
	if b.word == 4 {
		test = 2
	}
	b.put(params, 256<<10, 128<<10, 128<<10, test, 0)
	for i, n := range []uint32{3, defaultMaps, 5, 0} {
		binary.LittleEndian.PutUint32(b.memory[dataAddr][params-dataAddr+at+uint64(i)*4:], n)
	}
	b.put(params+(at+16+b.word-1)&^(b.word-1), 0x300000, 0x500000)
}

var enough = Limit{Blocks: 1000, Time: time.Minute}

func (b *builder) read(t testing.TB, arena, parameters uint64, limit Limit) *Heap {
	t.Helper()
	h, err := Read(b, b.process, arena, parameters, []snapshot.Range{{Addr: dataAddr, Size: partSize}}, limit)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// TestVersions reads what each version of the allocator writes, found by symbols
// and without.
func TestVersions(t *testing.T) {
	for _, c := range []struct {
		name            string
		machine         arch.Machine
		layout          int
		mangled, counts bool
		params          uint64
	}{
		{"2.17", arch.AMD64, 1, false, false, 40}, {"2.26", arch.AMD64, 1, false, true, 40}, {"2.31", arch.ARM64, 0, false, true, 40},
		{"2.34", arch.AMD64, 0, true, true, 40}, {"2.36", arch.ARM64, 0, true, true, 60}, {"later", arch.AMD64, 0, true, true, 68},
		{"2.17", arch.I386, 2, false, false, 20}, {"2.26", arch.I386, 1, false, true, 20}, {"2.31", arch.I386, 0, false, true, 20},
		{"2.36", arch.I386, 0, true, true, 32}, {"later", arch.I386, 0, true, true, 36},
	} {
		t.Run(c.name+" "+c.machine.String(), func(t *testing.T) {
			b := build(layouts(uint64(c.machine.PointerSize()))[c.layout], c.mangled, c.counts, c.machine)
			b.parameters(c.params)
			for _, at := range [][2]uint64{{}, {mainArena, params}} {
				h := b.read(t, at[0], at[1], enough)
				if h == nil || len(h.Arenas) != 2 {
					t.Fatalf("found %+v", h)
				}
				a, o := &h.Arenas[0], &h.Arenas[1]
				threads, top := -1, 0x1000-(b.top-heapAddr-0x2000)
				if c.counts {
					threads = 1
				}
				binned := 0x100 + 0x800 + (&reader{layout: b.layout}).smallSize(9)
				if !a.Main || a.Addr != mainArena || a.Bytes != taken || a.Peak != taken+0x1000 || a.Threads != threads || a.Top != top ||
					a.Fast != 16*b.word || a.FastBlocks != 2 || a.Binned != binned || a.BinnedBlocks != 3 || a.Partial || len(a.Damages) > 0 || a.Heaps != 1 {
					t.Errorf("main %+v", a)
				}
				if o.Main || o.Addr != b.other || o.Bytes != taken || o.Heaps != 1 || o.Free() != top || o.Partial || len(o.Damages) > 0 {
					t.Errorf("other %+v", o)
				}
				if !h.MappedKnown || h.Mapped != 3 || h.MappedBytes != 0x300000 || len(h.Damages) > 0 {
					t.Errorf("%+v", h)
				}
			}
		})
	}
}

// TestDamage damages one record after the other.
func TestDamage(t *testing.T) {
	const w = 8
	for name, c := range map[string]struct {
		damage func(b *builder)
		at     func(b *builder) uint64
		want   string
	}{
		"a fast bin's link": {func(b *builder) { b.put(b.fast+2*w, 0x4141414141414141) },
			func(*builder) uint64 { return 0x4141414141414141 ^ uint64(heapAddr+2*w)>>12 }, "a list of free blocks of 64 bytes (fast bin) leads to 0x414141"},
		"a fast bin's size": {func(b *builder) { b.put(b.fast2+w, 0x91) }, func(b *builder) uint64 { return b.fast2 }, "has 0x91 as size"},
		"freed twice":       {func(b *builder) { b.put(b.fast2+2*w, b.fastLink(b.fast2+2*w, b.fast)) }, nil, "is twice in a list of free blocks of 64 bytes"},
		"the last block":    {func(b *builder) { b.put(b.top+w, ^uint64(0)) }, func(b *builder) uint64 { return b.top }, "which is free, cannot have 0xffffffffffffffff as size"},
		"behind the last":   {func(b *builder) { b.put(mainArena+b.layout.top(), heapAddr+partSize) }, func(*builder) uint64 { return heapAddr + partSize }, "where no block can be"},
		"not aligned":       {func(b *builder) { b.put(mainArena+b.layout.top(), b.top+4) }, func(b *builder) uint64 { return b.top + 4 }, "where no block can be"},
		"unsorted's links":  {func(b *builder) { b.put(b.unsorted+2*w, 0x41, 0x41) }, func(b *builder) uint64 { return b.unsorted }, "leads to 0x41, and not to"},
		"a way back":        {func(b *builder) { b.put(b.unsorted+3*w, 0x41) }, func(*builder) uint64 { return 0x41 }, "leads to 0x41, where no block can be"},
		"a small size":      {func(b *builder) { b.put(b.small+w, 0x51) }, func(b *builder) uint64 { return b.small }, "in the list of free blocks of 144 bytes block"},
		"a large size":      {func(b *builder) { b.put(b.large+w, 0x10001) }, func(b *builder) uint64 { return b.large }, "in a list of large free blocks block"},
		"behind a block":    {func(b *builder) { b.put(b.large+0x800, 0x7f0) }, func(b *builder) uint64 { return b.large + 0x800 }, "does not know of it: it says 0x7f0 bytes"},
		"in use":            {func(b *builder) { b.put(b.large+0x800+w, 0x21) }, func(b *builder) uint64 { return b.large + 0x800 }, "it says 0x800 bytes, in use"},
		"a list's begin":    {func(b *builder) { b.put(b.self(mainArena, 1)+2*w, b.small) }, func(b *builder) uint64 { return b.small }, "begins with"},
		"an arena":          {func(b *builder) { b.put(b.other+b.bins(), 0) }, func(b *builder) uint64 { return b.other }, "the list of arenas leads to what is none"},
		"no arena":          {func(b *builder) { b.put(mainArena+b.next(), 0x41) }, func(*builder) uint64 { return 0x41 }, "the list of arenas leads to what is none"},
		"arenas in a ring":  {func(b *builder) { b.put(b.other+b.next(), b.other) }, func(b *builder) uint64 { return b.other }, "a circle without the main arena"},
	} {
		t.Run(name, func(t *testing.T) {
			b := build(layouts(w)[0], true, true, arch.AMD64)
			c.damage(b)
			h := b.read(t, mainArena, 0, enough)
			all := append(h.Damages, h.Arenas[0].Damages...)
			if len(all) != 1 || !strings.Contains(all[0].Text, c.want) || c.at != nil && all[0].Addr != c.at(b) {
				t.Errorf("%+v, want %q", all, c.want)
			}
			if len(h.Damages) == 0 && !h.Arenas[0].Partial {
				t.Error("what is free is counted all the same")
			}
		})
	}
}

// TestLimits: what is left out is said.
func TestLimits(t *testing.T) {
	b := build(layouts(8)[0], true, true, arch.AMD64)
	for n := range 8 {
		h := b.read(t, mainArena, 0, Limit{Blocks: n, Time: time.Minute})
		a, o := &h.Arenas[0], &h.Arenas[1]
		if blocks := a.FastBlocks + a.BinnedBlocks; blocks != min(max(n-2, 0), 5) || a.Partial != (n < 7) || o.Partial != (n < 2) {
			t.Errorf("limit %d: %+v, %+v", n, a, o)
		}
	}
	if h := b.read(t, mainArena, 0, Limit{Blocks: 1000, Time: -time.Second}); h.Arenas[0].BinnedBlocks > 64 {
		t.Errorf("without time: %+v", h.Arenas[0])
	}
	// Memory that the dump does not hold is no damage.
	delete(b.memory, heapAddr)
	delete(b.memory, otherHeap)
	if h := b.read(t, mainArena, 0, enough); h != nil {
		t.Errorf("without the heap: %+v", h)
	}
	b = build(layouts(8)[0], true, true, arch.AMD64)
	delete(b.memory, otherHeap)
	h := b.read(t, mainArena, 0, enough)
	if len(h.Arenas) != 1 || len(h.Damages)+len(h.Arenas[0].Damages) > 0 || h.Arenas[0].Partial {
		t.Errorf("without the second heap: %+v", h)
	}
}

// chain makes blocks of the sizes that follow each other, all in use, up to the
// last one of an arena.
func (b *builder) chain(at, top uint64, sizes ...uint64) {
	for _, size := range append(sizes, 0) {
		if size == 0 {
			size = top - at
		}
		b.put(at, 0, size|inUse)
		at += size
	}
}

// TestWalk goes through used blocks, and finds what was written behind the end of
// one.
func TestWalk(t *testing.T) {
	const w = 8
	walk := enough
	walk.Walk = true
	first := uint64(otherHeap+4*w) + 2200 + 8 // aligned
	for name, c := range map[string]struct {
		damage func(b *builder)
		want   string
	}{
		"sound": {func(*builder) {}, ""},
		"main's": {func(b *builder) { b.put(heapAddr+0x210+w, 0x4242424242424242) },
			`behind the 504 bytes that malloc gave out at 0x20000020 stands 0x4242424242424242 ("BBBBBBBB") where`},
		"another's":     {func(b *builder) { b.put(first+0x40+w, 0x13) }, fmt.Sprintf("behind the 56 bytes that malloc gave out at %#x stands 0x13 where", first+2*w)},
		"a single zero": {func(b *builder) { b.put(first+0x40+w, 0x100) }, "stands 0x0 and 0x100 where"},
		"the first":     {func(b *builder) { b.put(first+w, 0) }, "the first block, "},
		"too large":     {func(b *builder) { b.put(first+w, 0x4001) }, "the first block, "},
		"the end":       {func(b *builder) { b.put(first+0x40+w, 0x10) }, ""},
		"an empty end": {func(b *builder) {
			b.put(otherHeap+0x2000-0x20, 0, 0x1, 0, 0x1001)
			b.put(first+0x160+w, otherHeap+0x2000-0x20-first-0x160+1)
		}, ""},
		"empty": {func(b *builder) { b.put(first+0x40+w, 1) }, "stands 0x1 where"},
	} {
		t.Run(name, func(t *testing.T) {
			b := build(layouts(w)[0], true, true, arch.AMD64)
			for i := uint64(1); i <= bins; i++ {
				b.link(mainArena, i)
			}
			b.put(mainArena+b.layout.fast+2*w, 0)
			b.parameters(60)
			b.put(params+96, heapAddr+4) // sbrk_base
			b.chain(heapAddr+0x10, b.top, 0x200, 0x800)
			b.put(b.top, 0, 0x1001)
			b.chain(first, otherHeap+0x2000, 0x40, 0x120)
			b.put(otherHeap+0x2000, 0, 0x1001)
			c.damage(b)
			h := b.read(t, 0, 0, walk)
			var all []Damage
			for i := range h.Arenas {
				all = append(all, h.Arenas[i].Damages...)
				if h.Arenas[i].Partial {
					t.Errorf("%+v", h.Arenas[i])
				}
			}
			if c.want == "" && len(all) > 0 || c.want != "" && (len(all) != 1 || !strings.Contains(all[0].Text, c.want)) {
				t.Errorf("%+v, want %q", all, c.want)
			}
		})
	}
}

// TestNone: where there is no allocator that is known nothing is said of it.
func TestNone(t *testing.T) {
	b := build(layouts(8)[0], true, true, arch.AMD64)
	b.memory[dataAddr] = make([]byte, partSize)
	for _, arena := range []uint64{0, mainArena, 0x1234} {
		if h := b.read(t, arena, 0, enough); h != nil {
			t.Errorf("%#x: %+v", arena, h)
		}
	}
	b.put(mainArena+b.layout.top(), heapAddr)
	if h, err := Read(b, b.process, mainArena, 0, nil, enough); h != nil || err != ErrUnknown {
		t.Errorf("%+v, %v", h, err)
	}
	b.process.System.Machine = arch.Unknown
	if h, err := Read(b, b.process, mainArena, 0, nil, enough); h != nil || err != nil {
		t.Errorf("%+v, %v", h, err)
	}
}

// FuzzRead: whatever memory holds, looking at it ends, and what is counted is
// no more than the limit.
func FuzzRead(f *testing.F) {
	for _, machine := range []arch.Machine{arch.AMD64, arch.I386} {
		b := build(layouts(uint64(machine.PointerSize()))[0], true, true, machine)
		b.parameters(60)
		f.Add(b.memory[dataAddr], b.memory[heapAddr], b.memory[otherHeap], machine == arch.I386, true)
		f.Add(b.memory[dataAddr], b.memory[heapAddr], b.memory[otherHeap], machine == arch.I386, false)
	}
	f.Fuzz(func(t *testing.T, data, heap, other []byte, narrow, symbol bool) {
		machine := arch.AMD64
		if narrow {
			machine = arch.I386
		}
		b := build(layouts(uint64(machine.PointerSize()))[0], true, true, machine)
		for at, part := range map[uint64][]byte{dataAddr: data, heapAddr: heap, otherHeap: other} {
			b.memory[at] = part[:min(len(part), partSize)]
		}
		arena := uint64(0)
		if symbol {
			arena = mainArena
		}
		h, err := Read(b, b.process, arena, 0, []snapshot.Range{{Addr: dataAddr, Size: partSize}}, Limit{Blocks: enough.Blocks, Time: time.Minute, Walk: true})
		if h == nil {
			return
		}
		if err != nil || len(h.Arenas) == 0 {
			t.Fatalf("%+v, %v", h, err)
		}
		blocks := 0
		for i := range h.Arenas {
			a := &h.Arenas[i]
			blocks += a.FastBlocks + a.BinnedBlocks
			if len(a.Damages) > maxDamages {
				t.Error(fmt.Sprint(a.Damages))
			}
		}
		if blocks > enough.Blocks {
			t.Errorf("%d blocks", blocks)
		}
	})
}
