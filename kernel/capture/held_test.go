package capture

import (
	"errors"
	"iter"
	"strings"
	"testing"

	"procdump/kdump"
	"procdump/kdump/diskdump"
	"procdump/kernel/pages"
)

// partial is a machine in a dump that lacks pages.
type partial struct {
	*machine
	lacks func(pfn uint64) bool
}

// newPartial is a dump that takes the kind of a machine with a hundred pages of
// each class.
func newPartial(kind Kind, level int) *partial {
	m := newMachine(int(pages.Classes)*100, pages.Kernel)
	for c := range pages.Classes {
		m.set(16+uint64(c)*100, 100, c)
	}
	p := &partial{m, func(pfn uint64) bool { return !kind.Mask().Has(m.classes[pfn]) }}
	m.dump.Memory, m.dump.DumpLevel = p, level
	return p
}

func (p *partial) ReadPhys(b []byte, addr uint64) (n int, err error) {
	for n < len(b) {
		at := addr + uint64(n)
		if p.lacks(at / pageSize) {
			return n, kdump.ErrExcluded
		}
		c, err := p.machine.ReadPhys(b[n:min(len(b), n+pageSize-int(at%pageSize))], at)
		if n += c; err != nil {
			return n, err
		}
	}
	return n, nil
}

// PageRuns implements kdump.PageMap.
func (p *partial) PageRuns(from, to uint64) iter.Seq[kdump.PageRun] {
	return func(yield func(kdump.PageRun) bool) {
		for pfn := max(from, 16); pfn < min(to, uint64(len(p.classes))); pfn++ {
			r := kdump.PageRun{PFN: pfn, Count: 1, State: kdump.PagePresent}
			if p.lacks(pfn) {
				r.State = kdump.PageExcluded
			}
			if !yield(r) {
				return
			}
		}
	}
}

// TestHeld takes each kind of a dump of each kind.
func TestHeld(t *testing.T) {
	for _, from := range []Kind{Complete, Active, Kernel} {
		for _, level := range []int{from.DumpLevel(), 0} { // 0: the format does not tell
			for _, to := range []Kind{Complete, Active, Kernel} {
				p := newPartial(from, level)
				_, res, err := take(t, p, Options{Kind: to, Compression: diskdump.Stored})
				can := from == Complete || to == from || to == Kernel
				switch {
				case can && err != nil, !can && !errors.Is(err, ErrNotHeld):
					t.Errorf("%v of a dump of %v, level %d: %v", to, from, level, err)
				case can:
					d := readFile(t, res.Path)
					wantPages(t, d, p.machine, to)
					if d.DumpLevel != to.DumpLevel()|level || len(res.Warnings) != 0 {
						t.Errorf("%v of %v: level %d, warnings %q", to, from, d.DumpLevel, res.Warnings)
					}
				case !strings.Contains(err.Error(), "it can give") || !strings.Contains(err.Error(), "kernel"):
					t.Error(err)
				}
			}
		}
	}
}

// TestHeldMostly: pages that a running machine had changed while it was dumped
// are no reason to refuse.
func TestHeldMostly(t *testing.T) {
	p := newPartial(Active, 16)
	lacks := p.lacks
	p.lacks = func(pfn uint64) bool { return lacks(pfn) || pfn%10 == 0 }
	j, res, err := take(t, p, Options{Kind: Active})
	if err != nil || len(res.Warnings) != 0 || j.Plan.Missing.Pages[pages.Anon] != 10 {
		t.Errorf("%+v, %v", res, err)
	}
}

// TestHeldZeros: pages of zeros that a dump was made without are no loss.
func TestHeldZeros(t *testing.T) {
	for level, can := range map[int]bool{1: true, 0: false} {
		p := newPartial(Complete, level)
		p.lacks = func(pfn uint64) bool { return pfn%10 < 6 }
		if _, res, err := take(t, p, Options{Kind: Kernel}); (err == nil) != can || err != nil && !errors.Is(err, ErrNotHeld) {
			t.Errorf("level %d: %+v, %v", level, res, err)
		}
	}
}

// TestHeldByLevel: what the level leaves out is not there, even if no page of it
// is known to be missing: some formats do not tell.
func TestHeldByLevel(t *testing.T) {
	for level, lacks := range map[int]string{16: "free memory", 2 | 4: "the page cache", 8: "the memory of processes", 0: ""} {
		p := newPartial(Complete, level)
		_, res, err := take(t, p, Options{Kind: Complete})
		if (err == nil) != (lacks == "") || err != nil && !strings.Contains(err.Error(), lacks) {
			t.Errorf("level %d: %+v, %v", level, res, err)
		}
	}
}

// TestHeldELF: an ELF core does not tell RAM that was left out from none at all,
// but there is no machine without free memory.
func TestHeldELF(t *testing.T) {
	for format, can := range map[string]bool{"ELF": false, "kdump": true} {
		m := newMachine(200, pages.Kernel)
		m.set(16, 100, pages.Anon)
		m.dump.Format = format
		if _, res, err := take(t, m, Options{Kind: Complete}); (err == nil) != can || err != nil && !strings.Contains(err.Error(), "free memory") {
			t.Errorf("%s: %+v, %v", format, res, err)
		}
	}
}

// TestNothingKnown: where no use is known nothing counts as left out.
func TestNothingKnown(t *testing.T) {
	j, res, err := take(t, newMachine(100, pages.Unknown), Options{Kind: Kernel})
	if err != nil || j.Plan.Known || res.Pages != 100 {
		t.Fatalf("%+v, %+v, %v", j.Plan, res, err)
	}
	if d := readFile(t, res.Path); d.DumpLevel != 0 {
		t.Errorf("level %d", d.DumpLevel)
	}
}

// TestAsIs takes what is there, whatever it is used for.
func TestAsIs(t *testing.T) {
	p := newPartial(Complete, 1)
	p.noFlags = errors.New("not asked for")
	p.lacks = func(pfn uint64) bool { return pfn%3 == 0 }
	_, res, err := take(t, p, Options{AsIs: true})
	if err != nil {
		t.Fatal(err)
	}
	d := readFile(t, res.Path)
	b := make([]byte, pageSize)
	for pfn := uint64(16); pfn < uint64(len(p.classes)); pfn++ {
		if _, err := d.Memory.ReadPhys(b, pfn*pageSize); errors.Is(err, kdump.ErrExcluded) != (pfn%3 == 0) {
			t.Fatalf("page %d: %v", pfn, err)
		}
	}
	if d.DumpLevel != 1 {
		t.Errorf("level %d", d.DumpLevel)
	}
}

// TestFarMemory: a damaged header claims memory where no machine has any; what
// would be kept for each page up to there is never made.
func TestFarMemory(t *testing.T) {
	for _, o := range []Options{{Kind: Kernel}, {AsIs: true}} {
		p := newPartial(Complete, 1)
		p.dump.Runs = append(p.dump.Runs, kdump.Run{Addr: kdump.MaxPhysAddr - pageSize, Size: pageSize})
		if _, res, err := take(t, p, o); err == nil || !strings.Contains(err.Error(), "memory up to address 0x10000000000000") {
			t.Errorf("%+v: %+v, %v", o, res, err)
		}
	}
}
