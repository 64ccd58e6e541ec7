package pages

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"procdump/kdump"
)

// flagTable is a table of flags, as /proc/kpageflags holds it.
func flagTable(flags ...uint64) *bytes.Reader {
	var b []byte
	for _, v := range flags {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return bytes.NewReader(b)
}

func TestFlags(t *testing.T) {
	const uptodate, lru, mmap = 1 << 3, 1 << 5, 1 << 11
	cases := []struct {
		name  string
		flags uint64
		want  Page
	}{
		{"hole", 1 << 20, page(Hole)},
		{"poison wins over all", 1<<19 | lru | 1<<12, page(Poison)},
		{"offline", 1 << 23, page(Offline)},
		{"buddy", 1 << 10, page(Free)},
		{"zero page", 1<<24 | 1<<32, page(Zero)},
		{"hugetlb head in use", 1<<17 | 1<<15 | mmap, page(HugeUsed)},
		{"its tail", 1<<17 | 1<<16, page(HugeUsed)},
		{"hugetlb head in the pool", 1<<17 | 1<<15, page(HugeFree)},
		{"its tail, without its own flags", 1 << 16, page(HugeFree)},
		{"slab head", 1<<7 | 1<<15, page(Slab)},
		{"slab tail", 1 << 16, page(Slab)},
		{"page table", 1<<26 | mmap, page(PageTable)},
		{"anonymous", 1<<12 | lru | mmap | 1<<14, page(Anon)},
		{"anonymous, not on a list", 1<<12 | mmap | 1<<14 | uptodate, page(Anon)},
		{"huge anonymous", 1<<12 | 1<<15 | lru | 1<<22, page(Anon)},
		{"its tail", 1 << 16, page(Anon)},
		{"ksm", 1<<21 | 1<<12 | lru, page(KSM)},
		{"tmpfs", lru | 1<<14 | 1<<4, page(Shmem)},
		{"tmpfs in the swap cache", 1<<13 | 1<<14, page(Shmem)},
		{"mapped file", lru | mmap | uptodate | 1<<4, page(MappedFile)},
		{"mapped file on its way to the list", mmap | uptodate, page(MappedFile)},
		{"ring buffer that a process has mapped", mmap, page(Kernel)},
		{"kernel image that a process has mapped", mmap | 1<<32 | uptodate, page(Reserved)},
		{"dirty file", lru | 1<<4, page(DirtyFile)},
		{"file under writeback with buffers", lru | 1<<8 | 1<<35, page(DirtyFile) | privateFlag},
		{"clean file", lru | uptodate, page(CleanCache)},
		{"locked file", 1<<18 | uptodate, page(CleanCache)},
		{"reserved", 1 << 32, page(Reserved)},
		{"kernel", 0, page(Kernel)},
		{"kernel with data of its own", 1 << 35, page(Kernel)},
		{"compound page of the kernel", 1 << 15, page(Kernel)},
		{"its tail", 1 << 16, page(Kernel)},
	}
	var flags []uint64
	for _, c := range cases {
		flags = append(flags, c.flags)
	}
	f := NewFlags(flagTable(flags...))
	got := make([]Page, len(cases)+3)
	if err := f.Classify(0, got); err != nil {
		t.Fatal(err)
	}
	for i, c := range cases {
		if got[i] != c.want {
			t.Errorf("%s is %v/%v, want %v/%v", c.name, got[i].Class(), got[i].Private(), c.want.Class(), c.want.Private())
		}
	}
	for _, p := range got[len(cases):] {
		if p != page(Hole) {
			t.Errorf("a page behind the table is %v", p.Class())
		}
	}
	one := make([]Page, 1)
	for i := len(cases) - 1; i >= 0; i-- {
		if err := f.Classify(uint64(i), one); err != nil || one[0] != cases[i].want {
			t.Errorf("%s alone is %v (%v), want %v", cases[i].name, one[0].Class(), err, cases[i].want.Class())
		}
	}
}

// TestFlagsSpan classifies a compound page that is longer than what is read at
// once.
func TestFlagsSpan(t *testing.T) {
	const n = 3 * flagBatch / 8
	flags := make([]uint64, n)
	flags[7] = 1<<15 | 1<<12 | 1<<5
	for i := 8; i < n-1; i++ {
		flags[i] = 1 << 16
	}
	f := NewFlags(flagTable(flags...))
	got := make([]Page, n)
	if err := f.Classify(0, got); err != nil {
		t.Fatal(err)
	}
	for i, p := range got {
		want := Anon
		if i < 7 || i == n-1 {
			want = Kernel
		}
		if p.Class() != want {
			t.Fatalf("page %d is %v, want %v", i, p.Class(), want)
		}
	}
	if err := f.Classify(n-2, got[:1]); err != nil || got[0].Class() != Anon {
		t.Errorf("last tail alone is %v (%v)", got[0].Class(), err)
	}
}

type failing struct{}

func (failing) ReadAt([]byte, int64) (int, error) { return 0, errors.New("broken") }

func TestScan(t *testing.T) {
	if err := NewFlags(failing{}).Classify(0, make([]Page, 1)); err == nil {
		t.Error("a table that cannot be read gives no error")
	}
	flags := make([]uint64, 100_000)
	for i := range flags {
		if i%10 == 0 {
			flags[i] = 1 << 10
		}
	}
	f := NewFlags(flagTable(flags...))
	runs := []kdump.Run{{Addr: 0x1000, Size: 50_000 * 4096}, {Addr: 60_000 * 4096, Size: 40_000 * 4096}}
	var next, seen uint64
	if err := Scan(f, runs, 4096, func(pfn uint64, ps []Page) error {
		if pfn < next {
			t.Errorf("page %d after %d", pfn, next)
		}
		next, seen = pfn+uint64(len(ps)), seen+uint64(len(ps))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	c, err := Count(f, runs, 4096)
	if err != nil || seen != 90_000 || c.RAM() != 90_000 || c.Pages[Free] != 9_000 {
		t.Errorf("%d pages seen, %d RAM, %d free (%v)", seen, c.RAM(), c.Pages[Free], err)
	}
	stop := errors.New("stop")
	if err := Scan(f, runs, 4096, func(uint64, []Page) error { return stop }); err != stop {
		t.Errorf("scan does not stop: %v", err)
	}
	if err := Scan(f, runs, 0, nil); err == nil {
		t.Error("scan without a page size")
	}
}

func TestKinds(t *testing.T) {
	// Which kind takes what: complete, kernel, active.
	table := map[Class][3]bool{
		Hole: {}, Poison: {}, Offline: {},
		Free: {true, false, false}, HugeFree: {true, false, false}, CleanCache: {true, false, false}, Guest: {true, false, false},
		Zero: {true, true, true}, Slab: {true, true, true}, PageTable: {true, true, true}, Reserved: {true, true, true},
		Kernel: {true, true, true}, Unknown: {true, true, true},
		Anon: {true, false, true}, KSM: {true, false, true}, Shmem: {true, false, true}, HugeUsed: {true, false, true},
		MappedFile: {true, false, true}, DirtyFile: {true, false, true},
	}
	var c Counts
	for class := range Classes {
		want, ok := table[class]
		if !ok {
			t.Fatalf("no rule for %v", class)
		}
		for i, m := range []Mask{CompleteKind, KernelKind, ActiveKind} {
			if m.Has(class) != want[i] || m.Takes(page(class)|privateFlag) != want[i] {
				t.Errorf("kind %d takes %v: %v, want %v", i, class, m.Has(class), want[i])
			}
		}
		c.Add([]Page{page(class), page(class) | privateFlag})
	}
	if AutomaticKind != KernelKind || c.Kept(KernelKind) != 12 || c.RAM() != 36 || c.PrivateCache != 19 {
		t.Errorf("counts %+v", c)
	}
}

func TestSet(t *testing.T) {
	var s Set
	if s.Has(5) || s.Len() != 0 {
		t.Error("the zero set is not empty")
	}
	s.Add(5, 1)
	s.Add(60, 10)
	s.Add(65, 3) // again
	s.Add(setChunk-2, setChunk+4)
	if s.Len() != 1+10+setChunk+4 {
		t.Errorf("%d pages in the set", s.Len())
	}
	for pfn, want := range map[uint64]bool{4: false, 5: true, 6: false, 59: false, 60: true, 64: true, 69: true, 70: false,
		setChunk - 3: false, setChunk - 2: true, 2*setChunk + 1: true, 2*setChunk + 2: false, 1 << 50: false} {
		if s.Has(pfn) != want {
			t.Errorf("page %d in the set: %v", pfn, s.Has(pfn))
		}
	}
	flags := make([]uint64, setChunk+100)
	for i := range flags {
		flags[i] = 1<<12 | 1<<5
	}
	flags[60], flags[61] = 1<<24|1<<32, 1<<10
	o := &Overlay{Source: NewFlags(flagTable(flags...)), Guests: &s}
	got := make([]Page, len(flags)-3)
	if err := o.Classify(3, got); err != nil {
		t.Fatal(err)
	}
	for i, p := range got {
		pfn := uint64(i + 3)
		want := Anon
		switch {
		case pfn == 60:
			want = Zero
		case pfn == 61:
			want = Free
		case s.Has(pfn):
			want = Guest
		}
		if p.Class() != want {
			t.Fatalf("page %d is %v, want %v", pfn, p.Class(), want)
		}
	}
}
