package dumpkind

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"procdump/arch"
	"procdump/snapshot"
)

const (
	rw   = snapshot.Read | snapshot.Write
	rx   = snapshot.Read | snapshot.Execute
	anon = snapshot.ExtentPresent
	file = snapshot.ExtentPresent | snapshot.ExtentFile
	disk = snapshot.ExtentFile // a page of a file that is not in memory
	zero = snapshot.ExtentPresent | snapshot.ExtentZero | snapshot.ExtentFile
)

// mapping is a region of a test, and what of it each kind takes, in pages from
// its start.
type mapping struct {
	name   string
	g      snapshot.Region
	exists map[snapshot.ExtentKind][]snapshot.Range // in pages
	full   []snapshot.Range
	plus   []snapshot.Range // MiniPlus
	why    string           // of all that MiniPlus leaves out
}

func mappings() []mapping {
	type kinds = map[snapshot.ExtentKind][]snapshot.Range
	rs := func(r ...snapshot.Range) []snapshot.Range { return r }
	pages := func(n uint64) snapshot.Range { return span(0, n*page) }
	image := snapshot.Region{Range: pages(5), Perm: rx, Path: "/lib/x.so", Inode: 5, Flags: snapshot.Image}
	const clean = "unchanged page"
	return []mapping{
		{"image", image, kinds{disk: rs(span(0, 1), span(4, 1)), file: rs(span(1, 1)), anon: rs(span(2, 2))},
			rs(span(0, 5)), rs(span(0, 1), span(2, 2)), clean},
		{"image's first page changed", image, kinds{anon: rs(span(0, 2)), disk: rs(span(2, 3))}, rs(span(0, 5)), rs(span(0, 2)), clean},
		{"image's first page not to be had", image, kinds{disk: rs(span(3, 1))}, rs(span(3, 1)), nil, ""},
		{"data file", snapshot.Region{Range: pages(4), Perm: rw, Path: "/d", Inode: 6}, kinds{disk: rs(span(0, 2)), anon: rs(span(2, 1))},
			rs(span(0, 3)), rs(span(2, 1)), clean},
		{"deleted file", snapshot.Region{Range: pages(4), Perm: rx, Path: "/d", Inode: 6, Deleted: true}, kinds{disk: rs(span(0, 3)), anon: rs(span(3, 1))},
			rs(span(0, 4)), rs(span(0, 4)), ""},
		{"anonymous", snapshot.Region{Range: pages(9), Perm: rw}, kinds{anon: rs(span(4, 1))}, rs(span(0, 9)), rs(span(0, 9)), ""},
		{"PROT_NONE", snapshot.Region{Range: pages(9)}, kinds{anon: rs(span(4, 1), span(8, 1))}, rs(span(4, 1), span(8, 1)), rs(span(4, 1), span(8, 1)), "never touched"},
		{"Go arena", snapshot.Region{Range: pages(16384)}, nil, nil, nil, "never touched"},
		{"64 GiB with few pages", snapshot.Region{Range: pages(16 << 20), Perm: rw}, kinds{anon: rs(span(3, 1), span(1000, 1), span(10<<18, 1), span(16<<20-1, 1))},
			rs(span(0, 1001), span(10<<18, 1), span(16<<20-1, 1)), rs(span(0, 1001), span(10<<18, 1), span(16<<20-1, 1)), "never touched"},
		{"64 GiB untouched", snapshot.Region{Range: pages(16 << 20), Perm: rw}, nil, nil, nil, "never touched"},
		{"1 GiB and a page apart", snapshot.Region{Range: pages(3 << 18), Perm: rw}, kinds{anon: rs(span(0, 1), span(1<<18, 1))},
			rs(span(0, 1<<18+1)), rs(span(0, 1<<18+1)), "never touched"},
		{"MADV_DONTDUMP", snapshot.Region{Range: pages(4), Perm: rw, Flags: snapshot.DontDump}, kinds{anon: rs(span(0, 4))}, nil, nil, "-dontdump"},
		{"userfaultfd", snapshot.Region{Range: pages(9), Perm: rw, Flags: snapshot.Userfault}, kinds{anon: rs(span(2, 1), span(5, 2))},
			rs(span(2, 1), span(5, 2)), rs(span(2, 1), span(5, 2)), "userfaultfd"},
		{"memfd", snapshot.Region{Range: pages(6), Perm: rw | snapshot.Shared, Path: "/memfd:x", Inode: 7, Deleted: true}, kinds{file: rs(span(0, 1)), zero: rs(span(1, 2)), disk: rs(span(4, 1))},
			rs(span(0, 3), span(4, 1)), rs(span(0, 3), span(4, 1)), "not readable"},
		{"named shared memory, read-only", snapshot.Region{Range: pages(2), Perm: snapshot.Read | snapshot.Shared, Path: "[anon_shmem:x]", Inode: 7, Dev: 1}, kinds{file: rs(span(0, 2))},
			rs(span(0, 2)), rs(span(0, 2)), ""},
		{"shm file", snapshot.Region{Range: pages(2), Perm: snapshot.Read | snapshot.Shared, Path: "/dev/shm/x", Inode: 7}, kinds{file: rs(span(0, 2))},
			rs(span(0, 2)), rs(span(0, 2)), ""},
		{"shared file, written", snapshot.Region{Range: pages(2), Perm: rw | snapshot.Shared, Path: "/db", Inode: 7}, kinds{disk: rs(span(0, 2))},
			rs(span(0, 2)), rs(span(0, 2)), ""},
		{"shared file, read", snapshot.Region{Range: pages(2), Perm: snapshot.Read | snapshot.Shared, Path: "/db", Inode: 7}, kinds{disk: rs(span(0, 2))},
			rs(span(0, 2)), nil, clean},
		{"device", snapshot.Region{Range: pages(2), Perm: rw | snapshot.Shared, Path: "/dev/dri", Inode: 7, Flags: snapshot.IO | snapshot.PFNMap | snapshot.DontDump}, kinds{file: rs(span(0, 2))},
			nil, nil, "device memory"},
		{"vvar", snapshot.Region{Range: pages(4), Perm: snapshot.Read, Path: "[vvar]", Flags: snapshot.IO | snapshot.PFNMap | snapshot.DontDump}, nil, nil, nil, "device memory"},
		{"vsyscall", snapshot.Region{Range: pages(1), Perm: snapshot.Execute, Path: "[vsyscall]"}, nil, nil, nil, "kernel page"},
		{"vdso", snapshot.Region{Range: pages(2), Perm: rx, Path: "[vdso]", Flags: snapshot.DontDump | snapshot.PFNMap}, kinds{file: rs(span(0, 2))},
			rs(span(0, 2)), rs(span(0, 2)), ""},
	}
}

// process maps the regions one after the other, with gaps.
func process(ms []mapping) *fake {
	f := newFake(arch.AMD64)
	at := uint64(0x400000)
	for i := range ms {
		m := &ms[i]
		m.g.Addr = at
		f.region(m.g)
		for kind, rs := range m.exists {
			for _, r := range rs {
				f.exists(kind, span(at+r.Addr*page, r.Size*page))
			}
		}
		if m.g.Flags&snapshot.Image != 0 {
			f.p.Modules = append(f.p.Modules, snapshot.Module{Range: m.g.Range, Path: m.g.Path})
		}
		at = m.g.End() + 16*page
	}
	return f
}

func TestSelectRegions(t *testing.T) {
	ms := mappings()
	f := process(ms)
	for _, kind := range []Kind{Full, MiniPlus} {
		sel := mustSelect(t, f.p, Options{Kind: kind})
		if sel.Buffered || sel.Process.Memory != snapshot.Memory(f) {
			t.Errorf("%v: memory is a copy", kind)
		}
		for _, m := range ms {
			want := m.full
			if kind == MiniPlus {
				want = m.plus
			}
			if got := within(sel.Ranges, m.g.Range); !slices.Equal(got, want) {
				t.Errorf("%v: %s: takes pages %v, want %v", kind, m.name, got, want)
			}
			for _, l := range sel.Process.Info.LeftOut {
				if kind == MiniPlus && l.Range.Intersect(m.g.Range).Size > 0 && (!strings.Contains(l.Why, m.why) || l.What != m.g.Path) {
					t.Errorf("%s: left out %v of %q as %q, want %q", m.name, l.Range, l.What, l.Why, m.why)
				}
			}
		}
	}
	if len(f.p.Info.LeftOut) != 0 || f.p.Info.Kind != "" {
		t.Error("Select changes the process it is given")
	}
}

func TestSelectDontDump(t *testing.T) {
	ms := mappings()
	f := process(ms)
	for _, kind := range []Kind{Full, MiniPlus, Custom} {
		sel := mustSelect(t, f.p, Options{Kind: kind, Mask: 0x1ff, DontDump: true})
		for _, m := range ms {
			if m.name == "MADV_DONTDUMP" && !sel.holds(m.g.Range) {
				t.Errorf("%v: -dontdump leaves it out", kind)
			}
			if m.name == "device" && len(within(sel.Ranges, m.g.Range)) > 0 {
				t.Errorf("%v: -dontdump takes device memory", kind)
			}
		}
	}
}

// TestSelectHole32 has a 32-bit dump, whose file offsets have 32 bits, keep
// less of what does not exist.
func TestSelectHole32(t *testing.T) {
	f := newFake(arch.I386)
	f.region(snapshot.Region{Range: span(0x10000000, 1<<30), Perm: rw})
	f.exists(anon, span(0x10000000, page))
	f.exists(anon, span(0x10000000+512<<10, page))
	f.exists(anon, span(0xf0000000-0xa0000000-page, page))
	sel := mustSelect(t, f.p, Options{Kind: Full})
	if got := total(sel.Ranges); got != 512<<10+2*page {
		t.Errorf("%d bytes of a 1 GiB region with three pages", got)
	}
}

func TestSelectGone(t *testing.T) {
	gone := errors.New("gone")
	for kind := Triage; kind <= Full; kind++ {
		f := process(mappings())
		f.thread(1, map[string]uint64{"rsp": f.p.Regions[5].Addr + 64}, f.p.Regions[5].End())
		f.err = gone
		if _, err := Select(f.p, Options{Kind: kind, Mask: 0x1ff}); !errors.Is(err, gone) {
			t.Errorf("%v: %v", kind, err)
		}
	}
	if _, err := Select(newFake(arch.AMD64).p, Options{}); err == nil {
		t.Error("no kind: no error")
	}
}

// TestSelectManyPieces has 300,000 mappings and a mapping of which every other
// page is changed: the lists must neither be sorted again and again nor grow
// without end.
func TestSelectManyPieces(t *testing.T) {
	f := newFake(arch.AMD64)
	const n = 300_000
	for i := range uint64(n) {
		f.p.Regions = append(f.p.Regions, snapshot.Region{Range: span(1<<30+i*3*page, page), Perm: rw})
	}
	g := snapshot.Region{Range: span(1<<40, 40_000*page), Path: "/d", Inode: 1}
	f.p.Regions = append(f.p.Regions, g)
	for i := uint64(0); i < 40_000; i += 2 {
		f.runs = append(f.runs, snapshot.Extent{Range: span(g.Addr+i*page, page), Kind: anon})
	}
	f.p.Regions = append(f.p.Regions, snapshot.Region{Range: span(1<<41, 5*page), Path: "/large", Inode: 2})
	done := make(chan *Selection, 1)
	go func() {
		sel, _ := Select(f.p, Options{Kind: MiniPlus})
		done <- sel
	}()
	select {
	case sel := <-done:
		info := sel.Process.Info
		if len(sel.Ranges) != n+20_000 || len(info.LeftOut) != maxLeftOut || !info.Truncated || info.LeftOutBytes != 20_005*page {
			t.Errorf("%d ranges; %d pieces left out (truncated: %v), %d bytes", len(sel.Ranges), len(info.LeftOut), info.Truncated, info.LeftOutBytes)
		}
		if last := info.LeftOut[len(info.LeftOut)-1]; last.What != "/large" {
			t.Errorf("the largest piece is not listed: the last is %v of %s", last.Range, last.What)
		}
	case <-time.After(time.Minute): // it takes some 100 ms
		t.Fatal("no end of the selection")
	}
}

// TestSelectShares has two kinds of one process report on their own.
func TestSelectShares(t *testing.T) {
	f := process(mappings())
	f.p.Info.Unreadable = make([]snapshot.Range, 0, 8)
	f.p.Info.LeftOut = make([]snapshot.LeftOut, 0, 8)
	a, b := mustSelect(t, f.p, Options{Kind: Full}), mustSelect(t, f.p, Options{Kind: MiniPlus})
	_ = append(a.Process.Info.Unreadable, span(1, 1))
	_ = append(b.Process.Info.Unreadable, span(2, 2))
	if got := append(f.p.Info.Unreadable, snapshot.Range{})[:1]; got[0] != (snapshot.Range{}) {
		t.Error("two selections share a list")
	}
	if u := a.Process.Info.Unreadable[:cap(a.Process.Info.Unreadable)]; len(u) > 0 && u[0] == span(2, 2) {
		t.Error("two selections share a list")
	}
}

// kernelDumps is vma_dump_size of fs/coredump.c: the region's size, or a page.
func kernelDumps(v kernelVMA, mask uint32) string {
	filter := func(bit int) bool { return mask>>bit&1 != 0 }
	pick := func(b bool) string {
		if b {
			return "whole"
		}
		return ""
	}
	switch {
	case v.vdso:
		return "whole"
	case v.dontDump:
		return ""
	case v.hugetlb && v.shared:
		return pick(filter(6))
	case v.hugetlb:
		return pick(filter(5))
	case v.io:
		return ""
	case v.shared && v.nlink == 0:
		return pick(filter(1))
	case v.shared:
		return pick(filter(3))
	case v.anonVMA && filter(0):
		return "whole"
	case !v.file:
		return ""
	case filter(2):
		return "whole"
	case filter(4) && v.pgoff == 0 && v.read && v.elf:
		return "page"
	}
	return ""
}

type kernelVMA struct {
	vdso, dontDump, hugetlb, io, shared, anonVMA, file, read, elf bool
	nlink, pgoff                                                  int
}

// TestCustomMask tries every mask on every sort of mapping.
func TestCustomMask(t *testing.T) {
	const n = 4
	tests := []struct {
		name   string
		g      snapshot.Region
		kernel kernelVMA
	}{
		{"vdso", snapshot.Region{Perm: rx, Path: "[vdso]"}, kernelVMA{vdso: true}},
		{"dontdump", snapshot.Region{Perm: rw, Flags: snapshot.DontDump}, kernelVMA{dontDump: true, anonVMA: true}},
		{"hugetlb shared", snapshot.Region{Perm: rw | snapshot.Shared, Path: "/anon_hugepage", Inode: 1, Deleted: true, Flags: snapshot.HugeTLB}, kernelVMA{hugetlb: true, shared: true}},
		{"hugetlb private", snapshot.Region{Perm: rw, Path: "/anon_hugepage", Inode: 1, Deleted: true, Flags: snapshot.HugeTLB}, kernelVMA{hugetlb: true, anonVMA: true}},
		{"io", snapshot.Region{Perm: rw | snapshot.Shared, Path: "/dev/x", Inode: 1, Flags: snapshot.IO}, kernelVMA{io: true, shared: true, nlink: 1}},
		{"memfd", snapshot.Region{Perm: rw | snapshot.Shared, Path: "/memfd:a", Inode: 1, Deleted: true}, kernelVMA{shared: true}},
		{"shared anonymous", snapshot.Region{Perm: rw | snapshot.Shared, Path: "/dev/zero", Inode: 1, Deleted: true}, kernelVMA{shared: true}},
		{"named shared anonymous", snapshot.Region{Perm: rw | snapshot.Shared, Path: "[anon_shmem:a]", Inode: 1}, kernelVMA{shared: true}},
		{"shm file", snapshot.Region{Perm: rw | snapshot.Shared, Path: "/dev/shm/a", Inode: 1}, kernelVMA{shared: true, nlink: 1}},
		{"deleted shm file", snapshot.Region{Perm: rw | snapshot.Shared, Path: "/dev/shm/a", Inode: 1, Deleted: true}, kernelVMA{shared: true}},
		{"shared file", snapshot.Region{Perm: snapshot.Read | snapshot.Shared, Path: "/a", Inode: 1}, kernelVMA{shared: true, nlink: 1}},
		{"anonymous", snapshot.Region{Perm: rw}, kernelVMA{anonVMA: true}},
		{"heap", snapshot.Region{Perm: rw, Path: "[heap]"}, kernelVMA{anonVMA: true}},
		{"private file, changed", snapshot.Region{Perm: rw, Path: "/a", Inode: 1}, kernelVMA{anonVMA: true, file: true, read: true}},
		{"private file", snapshot.Region{Perm: rw, Path: "/a", Inode: 1}, kernelVMA{file: true, read: true}},
		{"deleted private file", snapshot.Region{Perm: rw, Path: "/a", Inode: 1, Deleted: true}, kernelVMA{file: true, read: true}},
		{"program", snapshot.Region{Perm: snapshot.Read, Path: "/a", Inode: 1, Flags: snapshot.Image}, kernelVMA{file: true, read: true, elf: true}},
		{"program's data", snapshot.Region{Perm: snapshot.Read, Path: "/a", Inode: 1, Offset: page, Flags: snapshot.Image}, kernelVMA{file: true, read: true, elf: true, pgoff: 1}},
		{"ELF file that is not loaded", snapshot.Region{Perm: snapshot.Read, Path: "/a.o", Inode: 1}, kernelVMA{file: true, read: true, elf: true}},
		{"unreadable program", snapshot.Region{Path: "/a", Inode: 1, Flags: snapshot.Image}, kernelVMA{file: true, elf: true}},
	}
	for _, tt := range tests {
		f := newFake(arch.AMD64)
		tt.g.Range = span(1<<20, n*page)
		f.region(tt.g)
		kind := snapshot.ExtentKind(file)
		if tt.kernel.anonVMA {
			kind = anon
		}
		f.exists(kind, tt.g.Range)
		f.write(tt.g.Addr, make([]byte, 16))
		if tt.kernel.elf {
			f.write(tt.g.Addr, []byte("\x7fELF"))
		}
		for mask := range uint32(512) {
			want := map[string]string{"whole": fmt.Sprint(n), "page": "1", "": "0"}[kernelDumps(tt.kernel, mask)]
			sel := mustSelect(t, f.p, Options{Kind: Custom, Mask: mask})
			if got := fmt.Sprint(total(sel.Ranges) / page); got != want {
				t.Errorf("%s, mask %#x: %s pages, the kernel dumps %s", tt.name, mask, got, want)
			}
		}
	}
}
