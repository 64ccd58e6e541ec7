package diskdump

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"reflect"
	"slices"
	"testing"

	"procdump/arch"
	"procdump/kdump"
	"procdump/kdump/internal/sample"
)

// file is a file in memory. It fails to write at or beyond limit, if that is
// not 0, and notes writes that O_DIRECT would refuse.
type file struct {
	b     []byte
	limit int64
	page  int
	crook []string
}

var errFull = errors.New("no space left on device")

func (f *file) WriteAt(b []byte, off int64) (int, error) {
	if page := max(f.page, sample.Page); off%int64(page) != 0 || len(b)%page != 0 {
		f.crook = append(f.crook, fmt.Sprintf("%d bytes at %d", len(b), off))
	}
	if f.limit > 0 && off+int64(len(b)) > f.limit {
		return 0, errFull
	}
	if n := int(off) + len(b); n > len(f.b) {
		f.b = append(f.b, make([]byte, n-len(f.b))...)
	}
	return copy(f.b[off:], b), nil
}

func (f *file) open(t testing.TB) *kdump.Dump {
	t.Helper()
	d, err := Open(bytes.NewReader(f.b), int64(len(f.b)))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// write makes a file of the wanted pages.
func write(t testing.TB, d *kdump.Dump, o Options, wanted iter.Seq[kdump.PageRun]) (*file, Stats) {
	t.Helper()
	f := &file{page: d.PageSize}
	k, err := NewWriter(f, d, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Write(context.Background(), wanted); err != nil {
		t.Fatal(err)
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	if f.crook != nil {
		t.Errorf("writes that are not aligned: %v", f.crook)
	}
	return f, k.Stats()
}

// check compares every page of got with what memory holds, page by page and in
// one large read.
func check(t *testing.T, got *kdump.Dump, m *sample.Memory, here func(pfn uint64) bool) {
	t.Helper()
	b := make([]byte, sample.Page)
	for _, r := range m.Runs {
		for pfn := r.Addr / sample.Page; pfn < r.End()/sample.Page; pfn++ {
			_, err := got.Memory.ReadPhys(b, pfn*sample.Page)
			switch {
			case !here(pfn):
				if !errors.Is(err, kdump.ErrExcluded) {
					t.Fatalf("page %#x: %v, want excluded", pfn, err)
				}
			case err != nil:
				t.Fatalf("page %#x: %v", pfn, err)
			case !bytes.Equal(b, m.Contents(pfn)):
				t.Fatalf("page %#x differs", pfn)
			}
		}
		// Large reads, which begin and end within a page.
		big := make([]byte, r.Size-20)
		for off := 0; off < len(big); {
			n, err := got.Memory.ReadPhys(big[off:], r.Addr+10+uint64(off))
			off += n
			if err == nil {
				break
			}
			pfn := (r.Addr + 10 + uint64(off)) / sample.Page
			if here(pfn) {
				t.Fatalf("large read: page %#x: %v", pfn, err)
			}
			off = min(int((pfn+1)*sample.Page-r.Addr-10), len(big))
		}
		for i := range big {
			if a := r.Addr + 10 + uint64(i); a%sample.Page == 10 && here(a/sample.Page) && len(big)-i > 100 &&
				!bytes.Equal(big[i:i+100], m.Contents(a / sample.Page)[10:110]) {
				t.Fatalf("large read: page %#x differs", a/sample.Page)
			}
		}
	}
	if _, err := got.Memory.ReadPhys(b, 0x700000); !errors.Is(err, kdump.ErrAbsent) {
		t.Errorf("a hole of RAM: %v", err)
	}
}

func all(uint64) bool { return true }

func TestRoundTrip(t *testing.T) {
	for _, c := range []Compression{Stored, Zlib, Snappy, Zstd} {
		t.Run(c.String(), func(t *testing.T) {
			d, m := sample.New()
			f, stats := write(t, d, Options{Compression: c, Workers: 4, DumpLevel: 31}, d.Present())
			got := f.open(t)
			check(t, got, m, all)
			if stats.Pages != d.Pages() || stats.Zero < stats.Pages/5 || stats.Size != int64(len(f.b)) || stats.Skipped != 0 {
				t.Errorf("stats %+v of %d pages, %d bytes", stats, d.Pages(), len(f.b))
			}
			want := *d
			want.Format, want.DumpLevel, want.Segments, want.Memory = got.Format, 31, nil, got.Memory
			if !reflect.DeepEqual(got, &want) {
				t.Errorf("got %+v\nwant %+v", got, &want)
			}
			quick, _ := write(t, d, Options{Compression: c, Fast: true}, d.Present())
			check(t, quick.open(t), m, all)
			one, _ := write(t, d, Options{Compression: c, Workers: 1, DumpLevel: 31}, d.Present())
			if !bytes.Equal(one.b, f.b) {
				t.Error("four workers write another file than one")
			}
		})
	}
}

// TestExcluded leaves pages out and has others that cannot be read.
func TestExcluded(t *testing.T) {
	d, m := sample.New()
	m.Hole = func(pfn uint64) bool { return pfn%11 == 3 || pfn > 0x150 && pfn < 0x190 }
	m.Bad = func(pfn uint64) bool { return pfn == 0x240 || pfn%301 == 5 }
	f, stats := write(t, d, Options{Compression: Snappy}, d.Present())
	got := f.open(t)
	here := func(pfn uint64) bool { return !m.Hole(pfn) && !m.Bad(pfn) }
	check(t, got, m, here)
	if stats.Skipped == 0 || !errors.Is(stats.Skip, kdump.ErrDamaged) {
		t.Errorf("stats %+v", stats)
	}
	states := map[uint64]kdump.PageState{}
	var last uint64
	for r := range got.PageRuns(0, got.MaxPFN()) {
		if r.PFN < last || r.Count == 0 {
			t.Fatalf("run %+v after page %#x", r, last)
		}
		last = r.PFN + r.Count
		for pfn := r.PFN; pfn < last; pfn++ {
			states[pfn] = r.State
		}
	}
	for pfn := range got.MaxPFN() {
		want := kdump.PageAbsent
		for _, r := range sample.Runs {
			if pfn >= r.Addr/sample.Page && pfn < r.End()/sample.Page {
				want = kdump.PageExcluded
				if here(pfn) {
					want = kdump.PagePresent
				}
			}
		}
		if states[pfn] != want {
			t.Fatalf("page %#x is %s, want %s", pfn, states[pfn], want)
		}
	}
	if a := slices.Collect(got.PageRuns(0x155, 0x157)); len(a) != 1 || a[0] != (kdump.PageRun{PFN: 0x155, Count: 2, State: kdump.PageExcluded}) {
		t.Errorf("runs of a part: %v", a)
	}
}

// TestLatePages adds pages after the first pass.
func TestLatePages(t *testing.T) {
	d, m := sample.New()
	some := func(mod uint64) iter.Seq[kdump.PageRun] {
		return func(yield func(kdump.PageRun) bool) {
			for r := range d.Present() {
				for pfn := r.PFN; pfn < r.PFN+r.Count; pfn++ {
					if pfn%mod == 0 && !yield(kdump.PageRun{PFN: pfn, Count: 1}) {
						return
					}
				}
			}
		}
	}
	for _, reserve := range []uint64{0, 900} {
		f := &file{}
		k, err := NewWriter(f, d, Options{Compression: Zstd, Late: true, Reserve: reserve})
		if err != nil {
			t.Fatal(err)
		}
		for _, mod := range []uint64{3, 5, 2} {
			if err := k.Write(context.Background(), some(mod)); err != nil {
				t.Fatal(err)
			}
		}
		if err := k.Close(); err != nil {
			t.Fatal(err)
		}
		stats := k.Stats()
		if reserve == 0 {
			check(t, f.open(t), m, func(pfn uint64) bool { return pfn%3 == 0 || pfn%5 == 0 || pfn%2 == 0 })
			if stats.Skipped != 0 {
				t.Errorf("stats %+v", stats)
			}
			continue
		}
		if stats.Pages != reserve || !errors.Is(stats.Skip, ErrTooMany) {
			t.Errorf("stats %+v, want %d pages", stats, reserve)
		}
		check(t, f.open(t), m, k.here.Test)
	}
	k, err := NewWriter(&file{}, d, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Write(context.Background(), some(3)); err != nil {
		t.Fatal(err)
	}
	if err := k.Write(context.Background(), some(2)); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("late pages without Late: %v", err)
	}
}

// TestDiskFull wants a readable, incomplete dump of what fit.
func TestDiskFull(t *testing.T) {
	for _, late := range []bool{false, true} {
		d, m := sample.New()
		f := &file{limit: 2_500_000}
		k, err := NewWriter(f, d, Options{Compression: Stored, Late: late})
		if err != nil {
			t.Fatal(err)
		}
		if err := k.Write(context.Background(), d.Present()); !errors.Is(err, errFull) {
			t.Fatalf("write to a full disk: %v", err)
		}
		if err := k.Close(); err != nil {
			t.Fatal(err)
		}
		got := f.open(t)
		if n := k.Stats().Pages; !got.Incomplete || n < 300 || n >= d.Pages() || !errors.Is(k.Stats().Incomplete, errFull) {
			t.Errorf("incomplete is %v, %d of %d pages, %v", got.Incomplete, n, d.Pages(), k.Stats().Incomplete)
		}
		end := uint64(0)
		for r := range got.Present() {
			end = r.PFN + r.Count
		}
		check(t, got, m, func(pfn uint64) bool { return pfn < end })
	}
}

func TestCancel(t *testing.T) {
	d, m := sample.New()
	ctx, cancel := context.WithCancel(context.Background())
	f := &file{}
	k, err := NewWriter(f, d, Options{Workers: 2, Progress: func(uint64) { cancel() }})
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Write(ctx, d.Present()); !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled write: %v", err)
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	got := f.open(t)
	if !got.Incomplete || k.Stats().Pages == d.Pages() {
		t.Errorf("incomplete is %v after %d pages", got.Incomplete, k.Stats().Pages)
	}
	check(t, got, m, k.here.Test)
}

// TestMachines writes the layouts of 4-byte longs and of 64 KiB pages.
func TestMachines(t *testing.T) {
	for _, c := range []struct {
		arch arch.Machine
		name string
		page int
	}{{arch.I386, "i686", 4096}, {arch.ARM64, "aarch64", 65536}} {
		d, _ := sample.New()
		d.Arch, d.PageSize, d.Uname.Machine, d.PhysBase, d.VMCoreInfo = c.arch, c.page, c.name, 0, nil
		d.CPUs = []kdump.CPU{{PRStatus: kdump.BlankPRStatus(c.arch, 0)}}
		d.Runs = []kdump.Run{{Addr: 0x110000, Size: 0x200000}}
		d.Memory = &sample.Memory{Runs: d.Runs}
		f, _ := write(t, d, Options{Compression: Zstd}, func(yield func(kdump.PageRun) bool) {
			yield(kdump.PageRun{PFN: uint64(0x110000 / c.page), Count: uint64(0x200000 / c.page)})
		})
		got := f.open(t)
		if got.Arch != c.arch || got.PageSize != c.page || !got.Time.Equal(d.Time) || !slices.Equal(got.Runs, d.Runs) || len(got.CPUs) != 1 {
			t.Errorf("%s: got %+v", c.arch, got)
		}
		a, b := make([]byte, 0x200000), make([]byte, 0x200000)
		if _, err := got.Memory.ReadPhys(a, 0x110000); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Memory.ReadPhys(b, 0x110000); err != nil || !bytes.Equal(a, b) {
			t.Errorf("%s: memory differs, %v", c.arch, err)
		}
	}
}

// limited checks that a reader is not asked for more than is sensible.
type limited struct {
	io.ReaderAt
	t *testing.T
}

func (l limited) ReadAt(b []byte, off int64) (int, error) {
	if len(b) > 2*batchSize {
		l.t.Errorf("read of %d bytes", len(b))
	}
	return l.ReaderAt.ReadAt(b, off)
}
