package vmcore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"iter"
	"reflect"
	"runtime"
	"slices"
	"testing"

	"procdump/arch"
	"procdump/kdump"
	"procdump/kdump/internal/sample"
)

func open(t testing.TB, b []byte) *kdump.Dump {
	t.Helper()
	d, err := Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func write(t testing.TB, d *kdump.Dump, wanted iter.Seq[kdump.PageRun], o Options) ([]byte, Stats) {
	t.Helper()
	var b bytes.Buffer
	s, err := Write(context.Background(), &b, d, wanted, o)
	if err != nil {
		t.Fatal(err)
	}
	if s.Size != int64(b.Len()) {
		t.Errorf("size %d, wrote %d", s.Size, b.Len())
	}
	return b.Bytes(), s
}

// TestRoundTrip writes a dump with holes and a page that cannot be read.
func TestRoundTrip(t *testing.T) {
	d, m := sample.New()
	m.Hole = func(pfn uint64) bool { return pfn%37 == 5 || pfn > 0x250 && pfn < 0x280 }
	m.Bad = func(pfn uint64) bool { return pfn == 0x150 }
	b, s := write(t, d, d.Present(), Options{DumpLevel: 24, Workers: 3})
	if s.Skipped != 1 || !errors.Is(s.Skip, kdump.ErrDamaged) {
		t.Errorf("stats %+v", s)
	}
	one, _ := write(t, d, d.Present(), Options{DumpLevel: 24, Workers: 1})
	if !bytes.Equal(one, b) {
		t.Error("three workers write another file than one")
	}
	got := open(t, b)
	p := make([]byte, sample.Page)
	for _, r := range sample.Runs {
		for pfn := r.Addr / sample.Page; pfn < r.End()/sample.Page; pfn++ {
			_, err := got.Memory.ReadPhys(p, pfn*sample.Page)
			switch want := m.Contents(pfn); {
			case m.Hole(pfn):
				if !errors.Is(err, kdump.ErrExcluded) {
					t.Fatalf("page %#x: %v, want excluded", pfn, err)
				}
			case err != nil:
				t.Fatalf("page %#x: %v", pfn, err)
			case m.Bad(pfn):
				if !bytes.Equal(p, make([]byte, sample.Page)) {
					t.Errorf("page %#x, which could not be read, is not zero", pfn)
				}
			case !bytes.Equal(p, want):
				t.Fatalf("page %#x differs", pfn)
			}
		}
	}
	if _, err := got.Memory.ReadPhys(p, 0x700000); !errors.Is(err, kdump.ErrAbsent) {
		t.Errorf("a hole of RAM: %v", err)
	}
	samePageRuns(t, got, d)
	for _, s := range got.Segments {
		if image := s.VirtAddr >= startKernelMap; image != (s.VirtAddr-s.PhysAddr != sample.Direct) {
			t.Errorf("segment %+x", s)
		}
	}
	if a, ok := got.VirtToPhys(0xffffffff9e300000); !ok || a != 0x300000 {
		t.Errorf("address of init_uts_ns: %#x, %v", a, ok)
	}
	want := *d
	want.Format, want.DumpLevel, want.Memory, want.Segments = "ELF", 24, got.Memory, got.Segments
	want.Time = got.Time // ELF has no place for it
	if !reflect.DeepEqual(got, &want) {
		t.Errorf("got %+v\nwant %+v", got, &want)
	}
}

// samePageRuns compares the states of all pages.
func samePageRuns(t *testing.T, got, want *kdump.Dump) {
	t.Helper()
	states := func(d *kdump.Dump) map[uint64]kdump.PageState {
		m := map[uint64]kdump.PageState{}
		for r := range d.PageRuns(0, d.MaxPFN()) {
			for pfn := r.PFN; pfn < r.PFN+r.Count; pfn++ {
				m[pfn] = r.State
			}
		}
		return m
	}
	if a, b := states(got), states(want); !reflect.DeepEqual(a, b) {
		t.Errorf("states of %d pages differ from those of %d", len(a), len(b))
	}
}

// TestHeader checks what crash and drgn insist on.
func TestHeader(t *testing.T) {
	d, _ := sample.New()
	b, _ := write(t, d, d.Present(), Options{})
	h, err := readFileHeader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	var all []program
	if err := h.programs(bytes.NewReader(b), int64(len(b)), func(p program) error { all = append(all, p); return nil }); err != nil {
		t.Fatal(err)
	}
	if all[0].typ != PT_NOTE || all[1].align != 0 || all[1].vaddr < startKernelMap {
		t.Errorf("program headers begin with %+x", all[:2])
	}
	ram := all[3]
	if ram.paddr != 0x100000 || all[1].off != ram.off+all[1].paddr-ram.paddr || len(all) != 5 {
		t.Errorf("the image does not share the bytes of the RAM: %+x", all)
	}
}

// TestImageFromInfo writes a dump whose format had no segments.
func TestImageFromInfo(t *testing.T) {
	d, _ := sample.New()
	d.Segments = nil
	b, _ := write(t, d, d.Present(), Options{})
	got := open(t, b)
	if s := got.Segments[0]; s.VirtAddr != 0xffffffff9e200000 || s.PhysAddr != 0x200000 || got.Segments[1].VirtAddr != 0 {
		t.Errorf("segments %+x", got.Segments)
	}
	if got.Uname != sample.Uname {
		t.Errorf("uname %+v", got.Uname)
	}
}

// head keeps the first bytes of what is written and then fails.
type head struct {
	b   []byte
	max int
}

func (h *head) Write(b []byte) (int, error) {
	if h.b = append(h.b, b...); len(h.b) > h.max {
		return 0, io.ErrShortWrite
	}
	return len(b), nil
}

// TestManySegments writes more program headers than e_phnum can count.
func TestManySegments(t *testing.T) {
	d, _ := sample.New()
	d.Runs = []kdump.Run{{Addr: 0, Size: 140_000 * sample.Page}}
	d.Memory = &sample.Memory{Runs: d.Runs}
	h := &head{max: 6 << 20}
	_, err := Write(context.Background(), h, d, func(yield func(kdump.PageRun) bool) {
		for pfn := uint64(0); pfn < 140_000; pfn += 2 {
			if !yield(kdump.PageRun{PFN: pfn, Count: 1}) {
				return
			}
		}
	}, Options{})
	if !errors.Is(err, io.ErrShortWrite) {
		t.Fatalf("write to a full disk: %v", err)
	}
	got := open(t, h.b)
	if len(got.Segments) < 70_000 || !got.Incomplete || got.VMCoreInfo == nil {
		t.Errorf("%d segments, incomplete %v", len(got.Segments), got.Incomplete)
	}
	p := make([]byte, sample.Page)
	if _, err := got.Memory.ReadPhys(p, 2*sample.Page); err != nil || !bytes.Equal(p, (&sample.Memory{}).Contents(2)) {
		t.Errorf("page 2: %v", err)
	}
	if _, err := got.Memory.ReadPhys(p, 139_998*sample.Page); !errors.Is(err, kdump.ErrDamaged) {
		t.Errorf("page that is cut off: %v", err)
	}
}

// TestOtherWriters reads what /proc/vmcore, /proc/kcore, QEMU and makedumpfile
// do differently.
func TestOtherWriters(t *testing.T) {
	text := bytes.Repeat([]byte("text"), 1024)
	ram := append(bytes.Repeat([]byte("low "), 1024), text...)
	ram = append(ram, bytes.Repeat([]byte("high"), 1024)...)
	for name, c := range map[string]struct {
		is64  bool
		em    uint16
		loads []load
		want  arch.Machine
		vmem  uint64
	}{
		"image besides RAM":                {true, EM_X86_64, []load{{0xffffffff81000000, 0x2000, 4096, text}, {0xffff888000001000, 0x1000, 0x3000, ram}}, arch.AMD64, 0xffffffff81000000},
		"vmalloc without physical address": {true, EM_X86_64, []load{{0xffffc90000000000, ^uint64(0), 1 << 45, nil}, {0xffff888000001000, 0x1000, 0x3000, ram}}, arch.AMD64, 0xffff888000002000},
		"paging":                           {true, EM_AARCH64, []load{{0xffff000000001000, 0x1000, 0x2000, ram[:0x2000]}, {0xffff800000001000, 0x2000, 0x2000, ram[0x1000:]}}, arch.ARM64, 0xffff800000001000},
		"class 32":                         {false, EM_386, []load{{0xc0001000, 0x1000, 0x3000, ram}, {0xf8000000, 0xffffffff, 0x1000, nil}}, arch.I386, 0xc0002000},
		"zero fill":                        {true, EM_X86_64, []load{{0xffff888000001000, 0x1000, 0x3000, ram}, {0xffff888000004000, 0x4000, 0x8000, ram[:0x1000]}}, arch.AMD64, 0xffff888000002000},
	} {
		note := kdump.AppendNote(nil, kdump.Note{Name: kdump.VMCoreInfoName, Desc: []byte("PAGESIZE=4096\n")})
		d := open(t, build(c.is64, c.em, note, c.loads...))
		b := make([]byte, len(ram))
		if _, err := d.Memory.ReadPhys(b, 0x1000); err != nil || !bytes.Equal(b, ram) {
			t.Errorf("%s: memory differs, %v", name, err)
		}
		if a, ok := d.VirtToPhys(c.vmem); !ok || a != 0x2000 || d.Arch != c.want || d.Incomplete {
			t.Errorf("%s: address %#x, %v; %+v", name, a, ok, d)
		}
		if name == "zero fill" {
			if _, err := d.Memory.ReadPhys(b[:0x2000], 0x5800); err != nil || !bytes.Equal(b[:0x2000], make([]byte, 0x2000)) {
				t.Errorf("%s: %v", name, err)
			}
			if n, err := d.Memory.ReadPhys(b, 0xb800); n != 0x800 || !errors.Is(err, kdump.ErrAbsent) {
				t.Errorf("%s: %d bytes, %v", name, n, err)
			}
		} else if want := []kdump.Run{{Addr: 0x1000, Size: 0x3000}}; !slices.Equal(d.Runs, want) {
			t.Errorf("%s: runs %x", name, d.Runs)
		}
	}
}

// TestClaims opens small files that claim much memory: what they do not hold is
// not in the dump, so that nobody goes through it page by page.
func TestClaims(t *testing.T) {
	const tib = 1 << 40
	data := bytes.Repeat([]byte("ram!"), 1024)
	note := kdump.AppendNote(nil, kdump.Note{Name: kdump.VMCoreInfoName, Desc: []byte("PAGESIZE=4096\n")})
	claims := note
	claims = kdump.AppendNote(claims, ramNote([]kdump.Run{{Addr: 0, Size: 0x4000}, {Addr: 0x8000, Size: 1 << 60}, {Addr: 1 << 52, Size: 4096}}, 0))
	const memory = 0x1000 // where it begins
	for name, c := range map[string]struct {
		notes           []byte
		filesz, memsz   uint64
		present, ram    uint64 // bytes
		cutOff, tooMuch bool
	}{
		"whole":                {note, 4096, 4096, 4096, 4096, false, false},
		"beyond the end":       {note, tib, tib, 4096, tib, true, false},
		"zeros":                {note, 4096, tib, 4096, tib, false, false},
		"few zeros":            {note, 4096, fewZeros, fewZeros, fewZeros, false, false},
		"beyond the end, more": {note, 8192, tib, 4096, tib, true, false},
		"no such memory":       {note, 4096, 1 << 60, 0, 0, false, true},
		"note":                 {claims, 4096, 4096, 4096, 0x4000, false, false},
	} {
		b := build(true, EM_X86_64, c.notes, load{0xffff888000000000 + memory, memory, c.memsz, data})
		binary.LittleEndian.PutUint64(b[64+56+32:], c.filesz)
		d := open(t, b)
		var present, ram uint64
		for r := range d.PageRuns(0, d.MaxPFN()) {
			ram += r.Count * 4096
			if r.State == kdump.PagePresent {
				present += r.Count * 4096
			}
		}
		if present != c.present || ram != c.ram || d.Incomplete != c.cutOff {
			t.Errorf("%s: %#x bytes of %#x are there, want %#x of %#x; incomplete %v", name, present, ram, c.present, c.ram, d.Incomplete)
		}
		if c.tooMuch {
			continue
		}
		p := make([]byte, 4096)
		if _, err := d.Memory.ReadPhys(p, memory); err != nil || !bytes.Equal(p, data) {
			t.Errorf("%s: contents differ, %v", name, err)
		}
		switch _, err := d.Memory.ReadPhys(p, memory+0x1000); {
		case c.cutOff && !errors.Is(err, kdump.ErrDamaged):
			t.Errorf("%s: behind the end of the file: %v", name, err)
		case c.memsz > 4096 && !c.cutOff && (err != nil || !bytes.Equal(p, make([]byte, 4096))):
			t.Errorf("%s: no zeros behind the contents: %v", name, err)
		}
	}
}

func TestRejects(t *testing.T) {
	good := build(true, EM_X86_64, nil, load{0, 0, 8, []byte("contents")})
	for name, change := range map[string]func(b []byte) []byte{
		"executable":     func(b []byte) []byte { b[16] = 2; return b },
		"big-endian":     func(b []byte) []byte { b[5] = 2; return b },
		"class":          func(b []byte) []byte { b[4] = 3; return b },
		"header size":    func(b []byte) []byte { b[54] = 40; return b },
		"header number":  func(b []byte) []byte { b[57] = 0x10; return b },
		"PN_XNUM":        func(b []byte) []byte { b[56], b[57], b[44] = 0xff, 0xff, 0xf0; return b },
		"machine":        func(b []byte) []byte { b[18] = 22; return b },
		"notes too long": func(b []byte) []byte { b[64+33] = 0xff; return b },
		"short":          func(b []byte) []byte { return b[:40] },
	} {
		b := change(bytes.Clone(good))
		if _, err := Open(bytes.NewReader(b), int64(len(b))); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	open(t, good)
}

func FuzzOpen(f *testing.F) {
	d, _ := sample.New()
	wanted := func(yield func(kdump.PageRun) bool) {
		_ = yield(kdump.PageRun{PFN: 2, Count: 2}) && yield(kdump.PageRun{PFN: 0x200, Count: 3})
	}
	b, _ := write(f, d, wanted, Options{})
	for _, b := range [][]byte{b, build(false, EM_386, nil, load{0xc0000000, 0, 0x2000, make([]byte, 0x1000)})} {
		for _, n := range []int{len(b), len(b) / 2, 200, 60} {
			f.Add(b[:min(n, len(b))])
		}
		for _, off := range []int{4, 18, 32, 40, 54, 56, 57, 72, 97, 128, 129, 144, 152, 160, 200} {
			flipped := bytes.Clone(b)
			flipped[off] ^= 0xe1
			f.Add(flipped)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		d, err := Open(bytes.NewReader(b), int64(len(b)))
		if (d == nil) == (err == nil) {
			t.Fatalf("dump %v, error %v", d, err)
		}
		if err != nil {
			return
		}
		p := make([]byte, 9000)
		pages := 0
		for r := range d.PageRuns(0, d.MaxPFN()) {
			if pages++; pages > 100 {
				break
			}
			if n, err := d.Memory.ReadPhys(p, r.PFN*uint64(d.PageSize)+5); n < len(p) && err == nil {
				t.Fatalf("read %d bytes without an error", n)
			}
		}
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 64<<20 {
			t.Fatalf("%d bytes of input made the reader allocate %d", len(b), n)
		}
	})
}
