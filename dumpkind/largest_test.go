package dumpkind

import (
	"slices"
	"strings"
	"testing"

	"procdump/arch"
	"procdump/snapshot"
)

const mib = 1 << 20

// area adds a mapping all of which exists.
func (f *fake) area(r snapshot.Range, g snapshot.Region) snapshot.Range {
	g.Range, g.Perm, g.Resident = r, rw, r.Size
	f.region(g)
	f.exists(anon, r)
	return r
}

func TestDropLargest(t *testing.T) {
	f := newFake(arch.AMD64)
	var equal []snapshot.Range
	for i := range uint64(3) { // 768 MiB in equal pieces, larger than the 600 MiB in one
		equal = append(equal, f.area(span(1<<40+i<<32+mib, 256*mib), snapshot.Region{}))
	}
	keep := map[string]snapshot.Range{
		"one area":   f.area(span(1<<41, 600*mib), snapshot.Region{}),
		"heap":       f.area(span(1<<42, 1600*mib), snapshot.Region{Path: "[heap]"}),
		"main stack": f.area(span(1<<43, 1700*mib), snapshot.Region{Path: "[stack]", Flags: snapshot.GrowsDown}),
		"stack":      f.area(span(1<<44, 1500*mib), snapshot.Region{}),
		"left stack": f.area(span(1<<45, 256*mib), snapshot.Region{}), // of the same size as the area
		"file":       f.area(span(1<<46, 1800*mib), snapshot.Region{Path: "/d", Inode: 1, Deleted: true}),
	}
	alt := f.area(span(1<<39, 4*page), snapshot.Region{})
	dontDump := f.area(span(1<<38, 2048*mib), snapshot.Region{Flags: snapshot.DontDump})
	sp := keep["stack"].End() - 2*page
	inArea, byRegister := equal[1].Addr+100*mib, equal[2].Addr+10*mib
	f.words(sp+64, inArea)
	f.thread(1, map[string]uint64{"rsp": sp, "rbx": byRegister, "rip": keep["one area"].Addr}, keep["stack"].End())
	p := &program{fake: f}
	signalFrame(p, alt, alt.Addr+0x500, keep["left stack"].Addr+mib, 0)
	f.thread(2, map[string]uint64{"rsp": alt.Addr + 0x400, "cs": 0x33}, alt.End())

	whole := mustSelect(t, f.p, Options{Kind: MiniPlus})
	sel := mustSelect(t, f.p, Options{Kind: MiniPlus, DropLargest: true})
	for what, r := range keep {
		if !sel.holds(r) {
			t.Errorf("%s is dropped, at least in part", what)
		}
	}
	const chunk = 4 * mib
	for what, v := range map[string]uint64{"a stack word": inArea, "a register": byRegister} {
		if !sel.holds(span(v&^(chunk-1), chunk)) {
			t.Errorf("the chunk that %s points into is dropped", what)
		}
	}
	if got := total(whole.Ranges) - total(sel.Ranges); got != 768*mib-2*chunk {
		t.Errorf("%d MiB dropped, want %d", got>>20, 768-8)
	}
	var said uint64
	for _, l := range sel.Process.Info.LeftOut {
		if strings.Contains(l.Why, "-mpx") {
			said += l.Range.Size
		}
	}
	if said != 768*mib-2*chunk {
		t.Errorf("the dump says that %d MiB were dropped", said>>20)
	}
	if len(within(sel.Ranges, dontDump)) > 0 {
		t.Error("DONTDUMP memory is in")
	}
	full := mustSelect(t, f.p, Options{Kind: Full, DropLargest: true})
	if !full.holds(equal[0]) {
		t.Error("a full dump lacks an area")
	}
	if a, b := Estimate(f.p, Options{Kind: MiniPlus}), Estimate(f.p, Options{Kind: MiniPlus, DropLargest: true}); a-b < 768*mib {
		t.Errorf("the estimate falls by %d MiB", (a-b)>>20)
	}
}

// TestDropLargestBound keeps an area of 512 MiB, counts what exists, not what
// is reserved, and joins what mprotect has split.
func TestDropLargestBound(t *testing.T) {
	for _, tt := range []struct {
		size, resident uint64
		dropped        bool
	}{{512 * mib, 512 * mib, false}, {512*mib + page, 512*mib + page, true}, {4096 * mib, 500 * mib, false}, {4096 * mib, 600 * mib, true}} {
		f := newFake(arch.AMD64)
		half := tt.size / 2 &^ (page - 1)
		f.region(snapshot.Region{Range: span(1<<40, half), Perm: rw, Resident: tt.resident})
		f.region(snapshot.Region{Range: span(1<<40+half, tt.size-half), Perm: snapshot.Read})
		f.exists(anon, span(1<<40, tt.resident))
		sel := mustSelect(t, f.p, Options{Kind: MiniPlus, DropLargest: true})
		if got := total(sel.Ranges) == 0; got != tt.dropped {
			t.Errorf("%d of %d MiB: dropped is %v", tt.resident>>20, tt.size>>20, got)
		}
	}
}

// TestDropLargestTie always drops the same of two equal areas.
func TestDropLargestTie(t *testing.T) {
	f := newFake(arch.AMD64)
	f.area(span(1<<40, 600*mib), snapshot.Region{})
	f.region(snapshot.Region{Range: span(1<<41, 700*mib), Perm: rw, Resident: 600 * mib})
	first := mustSelect(t, f.p, Options{Kind: MiniPlus, DropLargest: true})
	for range 20 {
		if sel := mustSelect(t, f.p, Options{Kind: MiniPlus, DropLargest: true}); !slices.Equal(sel.Ranges, first.Ranges) {
			t.Fatal("the choice varies")
		}
	}
}

func TestSubtract(t *testing.T) {
	rs := func(v ...uint64) (out []snapshot.Range) {
		for i := 0; i < len(v); i += 2 {
			out = append(out, span(v[i], v[i+1]))
		}
		return out
	}
	for _, tt := range []struct{ a, b, want []snapshot.Range }{
		{rs(0, 10), rs(), rs(0, 10)},
		{rs(0, 10), rs(0, 10), nil},
		{rs(0, 10), rs(3, 2), rs(0, 3, 5, 5)},
		{rs(0, 10, 20, 10), rs(5, 20), rs(0, 5, 25, 5)},
		{rs(0, 10, 20, 10), rs(0, 1, 9, 1, 20, 1, 29, 1), rs(1, 8, 21, 8)},
		{rs(10, 10), rs(0, 10, 20, 10), rs(10, 10)},
		{nil, rs(0, 10), nil},
	} {
		if got := subtract(tt.a, tt.b); !slices.Equal(got, tt.want) {
			t.Errorf("%v - %v = %v, want %v", tt.a, tt.b, got, tt.want)
		}
	}
}
