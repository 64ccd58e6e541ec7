package kdump

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"procdump/arch"
)

func TestNotesRoundTrip(t *testing.T) {
	d := &Dump{
		CPUs:       []CPU{{0, []byte{1, 2, 3}}, {1, []byte{4, 5, 6, 7, 8}}},
		VMCoreInfo: []byte("OSRELEASE=6.1.0\nPAGESIZE=4096\n"),
		Notes:      []Note{{"QEMU", 0, []byte{9}}, {"longer name", 77, []byte{}}},
	}
	b := d.EncodeNotes()
	var got Dump
	got.SetNotes(ParseNotes(b))
	if !reflect.DeepEqual(&got, d) {
		t.Errorf("got %+v, want %+v", &got, d)
	}
	// A cut note ends the list, whatever is left of it.
	for n := range b {
		if k := len(ParseNotes(b[:n])); k > 5 || n < 12 && k > 0 {
			t.Errorf("%d notes in the first %d bytes", k, n)
		}
	}
	huge := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 1}
	if n := ParseNotes(huge); n != nil {
		t.Errorf("notes of a damaged header: %v", n)
	}
}

func TestNormalizeRuns(t *testing.T) {
	for _, c := range []struct{ in, want []Run }{
		{nil, []Run{}},
		{[]Run{{5, 0}}, []Run{}},
		{[]Run{{30, 5}, {10, 5}}, []Run{{10, 5}, {30, 5}}},
		{[]Run{{10, 5}, {15, 5}, {18, 10}}, []Run{{10, 18}}},
		{[]Run{{10, 50}, {20, 5}, {61, 1}}, []Run{{10, 50}, {61, 1}}},
		{[]Run{{^uint64(0) - 9, 100}, {0, 1}}, []Run{{0, 1}, {^uint64(0) - 9, 10}}},
	} {
		if got := NormalizeRuns(c.in); !slices.Equal(got, c.want) {
			t.Errorf("NormalizeRuns(%v) = %v, want %v", c.in, got, c.want)
		}
	}
}

// TestHeldPageRuns compares it with states that are found page by page.
func TestHeldPageRuns(t *testing.T) {
	const page, pages = 10, 50
	r := rand.New(rand.NewPCG(3, 4))
	random := func() []Run {
		var runs []Run
		for range r.IntN(6) {
			runs = append(runs, Run{r.Uint64N(pages * page), r.Uint64N(60)})
		}
		return NormalizeRuns(runs)
	}
	touch := func(runs []Run, pfn uint64) bool {
		return slices.ContainsFunc(runs, func(r Run) bool { return r.Addr < (pfn+1)*page && r.End() > pfn*page })
	}
	for range 2000 {
		ram, held := random(), random()
		from, to := r.Uint64N(pages+10), r.Uint64N(pages+10)
		next := from
		for run := range HeldPageRuns(ram, held, page, from, to) {
			if run.PFN < next || run.Count == 0 || run.PFN+run.Count > max(from, to) {
				t.Fatalf("RAM %v, held %v: run %v in [%d, %d) behind %d", ram, held, run, from, to, next)
			}
			for pfn := next; pfn < run.PFN; pfn++ {
				if touch(ram, pfn) {
					t.Fatalf("RAM %v, held %v: page %d is absent", ram, held, pfn)
				}
			}
			next = run.PFN + run.Count
			for pfn := run.PFN; pfn < next; pfn++ {
				if !touch(ram, pfn) || touch(held, pfn) != (run.State == PagePresent) {
					t.Fatalf("RAM %v, held %v: page %d is %v", ram, held, pfn, run.State)
				}
			}
		}
		for pfn := next; pfn < to; pfn++ {
			if touch(ram, pfn) {
				t.Fatalf("RAM %v, held %v: page %d is absent", ram, held, pfn)
			}
		}
	}
}

// TestBitmap compares a Bitmap with a slice of bools.
func TestBitmap(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		n := r.Uint64N(400)
		b, want := NewBitmap(n), make([]bool, n)
		for range 20 {
			pfn, count, set := r.Uint64N(420), r.Uint64N(150), r.IntN(2) == 0
			switch {
			case r.IntN(3) == 0:
				count = 1
				if set {
					b.Set(pfn)
				} else {
					b.Clear(pfn)
				}
			case set:
				b.SetRange(pfn, count)
			default:
				b.ClearRange(pfn, count)
			}
			for i := pfn; i < min(pfn+count, n); i++ {
				want[i] = set
			}
		}
		got := make([]bool, n)
		for run := range b.Runs() {
			for i := run.PFN; i < run.PFN+run.Count; i++ {
				got[i] = true
			}
		}
		var count uint64
		for i, w := range want {
			if w {
				count++
			}
			if b.Test(uint64(i)) != w {
				t.Fatalf("bit %d is %v", i, !w)
			}
		}
		from, to := r.Uint64N(420), r.Uint64N(420)
		parts := make([]bool, n)
		for run := range b.RunsIn(from, to) {
			for i := run.PFN; i < run.PFN+run.Count; i++ {
				parts[i] = true
			}
		}
		for run := range b.Gaps(from, to) {
			for i := run.PFN; i < run.PFN+run.Count; i++ {
				if parts[i] || want[i] {
					t.Fatalf("page %d is in a gap", i)
				}
				parts[i] = true
			}
		}
		for i, in := range parts {
			if in != (uint64(i) >= from && uint64(i) < to) {
				t.Fatalf("page %d of [%d, %d): %v", i, from, to, in)
			}
		}
		if !slices.Equal(got, want) || b.Count() != count || b.Test(n) {
			t.Fatalf("runs, count %d (want %d) or the bit behind the end are wrong", b.Count(), count)
		}
	}
	NewBitmap(10).SetRange(5, ^uint64(0)) // must not run over
}

func TestFillFromInfo(t *testing.T) {
	d := &Dump{Arch: arch.AMD64, PhysBase: 5, VMCoreInfo: []byte(
		"OSRELEASE=6.1.0\nPAGESIZE=4096\nNUMBER(phys_base)=-16777216\nCRASHTIME=1700000000\n")}
	d.FillFromInfo()
	if d.PageSize != 4096 || d.PhysBase != -16777216 || !d.Time.Equal(time.Unix(1700000000, 0)) || d.Uname.Release != "6.1.0" {
		t.Errorf("got %+v", d)
	}
	if a, ok := d.VirtToPhys(startKernelMap + 0x3000000); !ok || a != 0x2000000 {
		t.Errorf("image address is %#x, %v", a, ok)
	}
	if _, ok := d.VirtToPhys(0xffff888000000000); ok {
		t.Error("direct map is known without segments")
	}
	d.Segments = []Segment{{VirtAddr: 0xffff888000000000, PhysAddr: NoPhysAddr, MemSize: 1 << 40}, {VirtAddr: 0xffff888000000000, PhysAddr: 0, MemSize: 1 << 30}}
	if a, ok := d.VirtToPhys(0xffff888000001000); !ok || a != 0x1000 {
		t.Errorf("direct map address is %#x, %v", a, ok)
	}
}

func TestPagesAndRuns(t *testing.T) {
	d := &Dump{PageSize: 4096, Runs: []Run{{0x1000, 0x2000}, {0x10000, 0x1800}}}
	if d.Pages() != 3 || d.MaxPFN() != 18 {
		t.Errorf("%d pages up to %d", d.Pages(), d.MaxPFN())
	}
	got := slices.Collect(d.PageRuns(2, 17))
	if want := []PageRun{{2, 1, PagePresent}, {16, 1, PagePresent}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestUnameAndPRStatus(t *testing.T) {
	u := Uname{"Linux", "host", "6.1", "#1 SMP", "aarch64", "(none)"}
	if got := DecodeUname(u.Encode()); got != u {
		t.Errorf("got %+v, want %+v", got, u)
	}
	for m, size := range map[arch.Machine]int{arch.AMD64: 336, arch.I386: 144, arch.ARM64: 392} {
		if n := len(BlankPRStatus(m, 0)); n != size {
			t.Errorf("struct elf_prstatus of %s has %d bytes, want %d", m, n, size)
		}
	}
}
