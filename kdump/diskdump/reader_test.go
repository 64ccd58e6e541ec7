package diskdump

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"procdump/kdump"
	"procdump/kdump/internal/sample"
)

// TestOldVersions reads files as older makedumpfiles wrote them: the fields
// that came later hold whatever was there.
func TestOldVersions(t *testing.T) {
	d, m := sample.New()
	f, _ := write(t, d, Options{Compression: Zlib, DumpLevel: 17}, d.Present())
	for v := uint32(1); v <= 6; v++ {
		b := bytes.Clone(f.b)
		binary.LittleEndian.PutUint32(b[8:], v)
		sub := b[sample.Page:]
		from := map[uint32]int{1: 12, 2: 32, 3: 48, 4: 64, 5: 80, 6: 104}[v]
		for i := from; i < layout64.subSize; i++ {
			sub[i] = 0xee
		}
		got := (&file{b: b}).open(t)
		check(t, got, m, all)
		if hasInfo := got.VMCoreInfo != nil; hasInfo != (v >= 3) || got.DumpLevel != 17 {
			t.Errorf("version %d: VMCOREINFO %v, dump level %d", v, hasInfo, got.DumpLevel)
		}
		if v >= 4 != (len(got.CPUs) == 2) {
			t.Errorf("version %d: %d CPUs", v, len(got.CPUs))
		}
	}
	b := bytes.Clone(f.b)
	b[8] = 7
	if _, err := Open(bytes.NewReader(b), int64(len(b))); err == nil {
		t.Error("version 7 is no error")
	}
}

// TestSplit reads one of the files of makedumpfile --split: all bits, but the
// descriptors of a part.
func TestSplit(t *testing.T) {
	d, m := sample.New()
	const first, end = 0x140, 0x250
	whole, _ := write(t, d, Options{Compression: Snappy}, d.Present())
	f, _ := write(t, d, Options{Compression: Snappy}, func(yield func(kdump.PageRun) bool) {
		yield(kdump.PageRun{PFN: first, Count: end - first})
	})
	h, err := readHeader(bytes.NewReader(f.b), int64(len(f.b)))
	if err != nil {
		t.Fatal(err)
	}
	at := h.bitmapOffset() + h.bitmapSize()
	copy(f.b[at:at+h.bitmapSize()], whole.b[at:])
	sub := f.b[sample.Page:]
	sub[layout64.split] = 1
	binary.LittleEndian.PutUint64(sub[layout64.end64:], first)
	binary.LittleEndian.PutUint64(sub[layout64.end64+8:], end)
	got := f.open(t)
	check(t, got, m, func(pfn uint64) bool { return pfn >= first && pfn < end })
	var n uint64
	for r := range got.Present() {
		n += r.Count
	}
	if n != end-first {
		t.Errorf("%d pages present, want %d", n, end-first)
	}
}

// TestDamage flips bytes of pages: the page is damaged or its contents differ,
// its neighbours are whole.
func TestDamage(t *testing.T) {
	d, m := sample.New()
	f, _ := write(t, d, Options{Compression: Zstd}, d.Present())
	h, err := readHeader(bytes.NewReader(f.b), int64(len(f.b)))
	if err != nil {
		t.Fatal(err)
	}
	// The descriptor of the seventh page of RAM, which is text.
	const pfn = 10
	copy(f.b[h.descOffset()+(pfn-1)*descSize:], []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})
	got := f.open(t)
	big := make([]byte, 16*sample.Page)
	n, err := got.Memory.ReadPhys(big, 0x1000)
	if n != (pfn-1)*sample.Page || !errors.Is(err, kdump.ErrDamaged) {
		t.Errorf("read up to a damaged page gives %d bytes, %v", n, err)
	}
	if n, err := got.Memory.ReadPhys(big[:sample.Page], (pfn+1)*sample.Page); err != nil || !bytes.Equal(big[:n], m.Contents(pfn+1)) {
		t.Errorf("page behind the damaged one: %v", err)
	}
	cut := (&file{b: f.b[:len(f.b)-100_000]}).open(t)
	last := sample.Runs[2].End() - 5*sample.Page
	if _, err := cut.Memory.ReadPhys(big[:4*sample.Page], last); !errors.Is(err, kdump.ErrDamaged) {
		t.Errorf("page behind the end of the file: %v", err)
	}
}

// TestConcurrentReads reads from several goroutines, in pieces of all sizes.
func TestConcurrentReads(t *testing.T) {
	d, _ := sample.New()
	f, _ := write(t, d, Options{Compression: Zlib}, d.Present())
	got, err := Open(limited{bytes.NewReader(f.b), t}, int64(len(f.b)))
	if err != nil {
		t.Fatal(err)
	}
	want := make([]byte, sample.Runs[1].Size)
	if _, err := d.Memory.ReadPhys(want, sample.Runs[1].Addr); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for seed := range uint64(4) {
		group.Go(func() {
			r := rand.New(rand.NewPCG(seed, 0))
			b := make([]byte, 5*sample.Page)
			for range 300 {
				off := r.IntN(len(want) - len(b))
				n := r.IntN(len(b))
				if _, err := got.Memory.ReadPhys(b[:n], sample.Runs[1].Addr+uint64(off)); err != nil || !bytes.Equal(b[:n], want[off:off+n]) {
					t.Errorf("%d bytes at offset %d: %v", n, off, err)
					return
				}
			}
		})
	}
	group.Wait()
}

// maxFuzzAlloc bounds what one input may make the reader allocate in total.
const maxFuzzAlloc = 64 << 20

func FuzzOpen(f *testing.F) {
	d, m := sample.New()
	m.Hole = func(pfn uint64) bool { return pfn > 0x140 && pfn < 0x580 }
	d.Runs = d.Runs[:2]
	m.Runs = d.Runs
	for _, c := range []Compression{Stored, Zlib, Snappy, Zstd} {
		file, _ := write(f, d, Options{Compression: c}, func(yield func(kdump.PageRun) bool) {
			yield(kdump.PageRun{PFN: 0x100, Count: 8})
		})
		b := bytes.TrimRight(file.b, "\x00")
		f.Add(b)
		for _, n := range []int{len(b) / 2, 0x3000, 0x1030, 100} {
			f.Add(b[:min(n, len(b))])
		}
		for _, off := range []int{8, 428, 432, 436, 440, 0x1030, 0x1038, 0x1060, 0x3020, 0x4020, 0x5001, 0x5008, 0x500c} {
			flipped := bytes.Clone(b)
			flipped[min(off, len(b)-1)] ^= 0x91
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
		page := make([]byte, 3*d.PageSize)
		pages := 0
		for r := range d.PageRuns(0, d.MaxPFN()) {
			if pages++; pages > 100 {
				break
			}
			n, err := d.Memory.ReadPhys(page, r.PFN*uint64(d.PageSize))
			if n < len(page) && err == nil {
				t.Fatalf("read %d of %d bytes without an error", n, len(page))
			}
		}
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > maxFuzzAlloc {
			t.Fatalf("%d bytes of input made the reader allocate %d", len(b), n)
		}
	})
}
