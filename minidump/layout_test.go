package minidump

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"procdump/arch"
	"procdump/snapshot"
)

func TestManyRegions(t *testing.T) {
	p, ranges := sample(arch.AMD64)
	for i := range uint64(5000) {
		ranges = append(ranges, snapshot.Range{Addr: 0x7f0000000000 + i*0x2000, Size: 64})
	}
	l, err := NewLayout(p, ranges, Options{})
	if err != nil {
		t.Fatal(err)
	}
	p.Memory = bytesMemory(ranges)
	r := open(t, assemble(t, l))
	list, err := r.MemoryList()
	if err != nil || len(list) != maxRegions {
		t.Fatalf("MemoryList of %d, %v", len(list), err)
	}
	all, err := r.Memory64List()
	if err != nil || len(all) != len(ranges) {
		t.Fatalf("Memory64List of %d, %v", len(all), err)
	}
	m := &memory{r: r.r, segs: segments(list, r.size)}
	for _, th := range p.Threads {
		for _, addr := range []uint64{th.Registers.SP(), th.Stack.Addr} {
			b := []byte{0}
			if _, err := m.ReadMemory(b, addr); err != nil || b[0] != memoryByte(addr) {
				t.Errorf("stack at %#x is not in the MemoryList: %v", addr, err)
			}
		}
	}
	got, _ := r.Process()
	checkMemory(t, got.Memory, ranges[:5], nil)
	checkMemory(t, got.Memory, ranges[len(ranges)-3:], nil)
}

func TestLargeMemory(t *testing.T) {
	p, ranges := sample(arch.AMD64)
	// Adjacent pieces, 5 GiB in all.
	big := []snapshot.Range{{Addr: 0x100000000, Size: 3 << 30}, {Addr: 0x100000000 + 3<<30, Size: 2 << 30}}
	if _, err := NewLayout(p, append(ranges, big...), Options{}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("5 GiB without Full: %v", err)
	}
	l, err := NewLayout(p, append(ranges, big...), Options{Full: true})
	if err != nil {
		t.Fatal(err)
	}
	pls := l.Placements()
	if last := pls[len(pls)-1]; last.Size != 5<<30 || last.Off+5<<30 != l.Size() || l.Size() < 5<<30 {
		t.Errorf("last placement %+v, size %d", last, l.Size())
	}
	// 3 GiB fit, in regions of at most 64 MiB.
	if l, err = NewLayout(p, append(ranges, big[0]), Options{}); err != nil {
		t.Fatal(err)
	}
	h, err := headOf(l)
	if err != nil {
		t.Fatal(err)
	}
	list, err := open(t, h).MemoryList()
	if err != nil || len(list) != 4+48 {
		t.Errorf("%d regions, %v", len(list), err)
	}
	for i, m := range list {
		if m.Size > 64<<20 || i > 4 && m.Off != list[i-1].Off+int64(list[i-1].Size) {
			t.Errorf("region %d: %+v", i, m)
		}
	}
}

// TestDeepStacks: the copies of the stacks in a full dump stay within a budget.
func TestDeepStacks(t *testing.T) {
	p, _ := sample(arch.AMD64)
	p.Threads, p.Linker = nil, nil
	var ranges []snapshot.Range
	for i := range uint64(3000) {
		r := snapshot.Range{Addr: 0x7f0000000000 + i<<30, Size: 512 << 20}
		ranges = append(ranges, r)
		p.Threads = append(p.Threads, snapshot.Thread{TID: int(i + 1), Stack: r, Registers: sampleRegisters(arch.AMD64, 1, r.Addr+128, 1)})
	}
	l, err := NewLayout(p, ranges, Options{Full: true})
	if err != nil {
		t.Fatal(err)
	}
	var copies uint64
	for _, pl := range l.Placements()[:3000] {
		copies += pl.Size
	}
	if copies != 3000*(32<<10) {
		t.Errorf("copies of %d bytes", copies)
	}
	h, err := headOf(l)
	if err != nil {
		t.Fatal(err)
	}
	threads, err := open(t, h).Threads()
	if err != nil || threads[2999].Stack.Range != (snapshot.Range{Addr: ranges[2999].Addr, Size: 32 << 10}) {
		t.Errorf("%v", err)
	}
}

func TestModuleOverlap(t *testing.T) {
	p, ranges := sample(arch.AMD64)
	mod := func(addr, size uint64, path string) snapshot.Module {
		return snapshot.Module{Range: snapshot.Range{Addr: addr, Size: size}, Path: path}
	}
	p.Modules = []snapshot.Module{mod(0x5000, 0x100000, "/main"), mod(0x1000, 0x9000, "/a"), mod(0x8000, 0x10, "/b"),
		mod(0x8000, 0x10, "/twin"), mod(0x9000, 0, "/empty"), mod(1<<40, 1<<33, "/"+strings.Repeat("ü", 2000))}
	var b bytes.Buffer
	if err := Write(&b, p, ranges, Options{}); err != nil {
		t.Fatal(err)
	}
	mods, err := open(t, b.Bytes()).Modules()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range mods[:len(mods)-1] {
		got = append(got, fmt.Sprintf("%s %#x+%#x", m.Name, m.Base, m.Size))
	}
	if want := []string{"/main 0x5000+0x3000", "/a 0x1000+0x4000", "/b 0x8000+0x10"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if m := mods[len(mods)-1]; m.Size != 1<<32-1 || len([]rune(m.Name)) != 1024 {
		t.Errorf("size %#x, name of %d", m.Size, len([]rune(m.Name)))
	}
}

func TestHeadAfterChange(t *testing.T) {
	p, ranges := sample(arch.AMD64)
	l, err := NewLayout(p, ranges, Options{})
	if err != nil {
		t.Fatal(err)
	}
	// Less than before: still the same size, and the last stream still
	// continues in the first placement.
	p.Texts["status"] = nil
	b := assemble(t, l)
	dyn, err := open(t, b).Stream(LinuxDSODebugStream)
	if err != nil || len(dyn) != 40+0x1c0 {
		t.Fatalf("%d bytes, %v", len(dyn), err)
	}
	for i, c := range dyn[40:] {
		if c != memoryByte(p.Linker.Dynamic.Addr+uint64(i)) {
			t.Fatalf("dynamic section: wrong byte %d", i)
		}
	}
	p.Environ = append(p.Environ, strings.Repeat("x", 1<<20))
	if _, err := headOf(l); !errors.Is(err, ErrChanged) {
		t.Errorf("got %v, want ErrChanged", err)
	}
}

func TestBadRanges(t *testing.T) {
	p, _ := sample(arch.AMD64)
	for _, rs := range [][]snapshot.Range{
		{{Addr: 0x2000, Size: 0x1000}, {Addr: 0x1000, Size: 0x1000}},
		{{Addr: 0x1000, Size: 0x1001}, {Addr: 0x2000, Size: 0x1000}},
		{{Addr: 1<<64 - 0x1000, Size: 0x2000}},
	} {
		if _, err := NewLayout(p, rs, Options{}); err == nil {
			t.Errorf("%v: no error", rs)
		}
	}
	// Memory that is not there ends Write, unless the process says so.
	rs := []snapshot.Range{{Addr: 0xf6002000, Size: 0x2000}}
	var me *snapshot.MemoryError
	if err := Write(io.Discard, p, rs, Options{}); !errors.As(err, &me) || me.Addr != 0xf6003000 {
		t.Errorf("got %v", err)
	}
	p.Info.Unreadable = []snapshot.Range{{Addr: 0xf6003000, Size: 0x1000}}
	if err := Write(io.Discard, p, rs, Options{}); err != nil {
		t.Error(err)
	}
}
