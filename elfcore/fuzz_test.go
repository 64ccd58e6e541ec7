package elfcore

import (
	"bytes"
	"errors"
	"path/filepath"
	"runtime"
	"testing"

	"procdump/arch"
	"procdump/internal/packed"
	"procdump/snapshot"
)

// testCores are the cores in testdata, by file name.
func testCores(t testing.TB) map[string][]byte {
	t.Helper()
	names, err := filepath.Glob("testdata/*.core.gz")
	if err != nil || len(names) == 0 {
		t.Fatalf("no cores in testdata: %v", err)
	}
	cores := map[string][]byte{}
	for _, name := range names {
		cores[filepath.Base(name)] = packed.Read(t, name)
	}
	return cores
}

// maxFuzzAlloc bounds what one input may make the reader allocate in total.
const maxFuzzAlloc = 64 << 20

func FuzzReader(f *testing.F) {
	seed := func(b []byte) {
		f.Add(b)
		for _, n := range []int{len(b) / 2, 0x1000, 0x300, 100} {
			f.Add(b[:min(n, len(b))])
		}
		for _, off := range []int{5, 18, 54, 56, 72, 97, 0x271, 0x27a, 0x400, len(b) - 20} {
			if off < len(b) {
				flipped := bytes.Clone(b)
				flipped[off] ^= 0x90
				f.Add(flipped)
			}
		}
	}
	for _, b := range testCores(f) {
		seed(b[:min(len(b), 48<<10)])
	}
	for _, m := range machines {
		p := synthetic(m, 2)
		p.Exception = &snapshot.Exception{TID: 4000, Signal: 11, Code: 1}
		seed(write(f, p, []snapshot.Range{{Addr: 0x400000, Size: 2 * page}}))
		seed(builtCore(m).bytes())
	}
	xnum := builtCore(arch.AMD64)
	xnum.xnum = true
	seed(xnum.bytes())

	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<20 {
			t.Skip("large inputs only slow it down")
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		fuzzOne(t, b)
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > maxFuzzAlloc {
			t.Fatalf("%d bytes of input make the reader allocate %d", len(b), n)
		}
	})
}

func fuzzOne(t *testing.T, b []byte) {
	r, err := NewReader(bytes.NewReader(b), int64(len(b)))
	if (r == nil) != (err != nil) {
		t.Fatalf("reader %v, error %v", r, err)
	}
	if err != nil {
		if !errors.Is(err, ErrFormat) {
			t.Fatalf("error %v is no ErrFormat", err)
		}
		return
	}
	for n, err := range r.Notes() {
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Fatalf("note: error %v is no ErrFormat", err)
			}
			continue
		}
		if desc, err := n.Desc(); err != nil || uint64(len(desc)) != n.Size {
			t.Fatalf("note at %#x: %d bytes of %d, %v", n.Off, len(desc), n.Size, err)
		}
	}
	p, warnings := r.Process()
	if p == nil || p.Memory == nil || len(warnings) > maxWarnings+1 {
		t.Fatalf("process %v, %d warnings", p, len(warnings))
	}
	var end uint64
	for _, g := range p.Regions {
		if g.Size == 0 || g.Addr < end || g.End() <= g.Addr {
			t.Fatalf("region %v after %#x", g.Range, end)
		}
		end = g.End()
	}
	fuzzMemory(t, p)
}

// fuzzMemory checks that what Extents lists can be read, and nothing beyond.
func fuzzMemory(t *testing.T, p *snapshot.Process) {
	xs, err := p.Memory.Extents(snapshot.Range{Size: ^uint64(0)})
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4097)
	var end uint64
	for i, x := range xs {
		if x.Size == 0 || x.Addr < end || x.End() < x.Addr {
			t.Fatalf("extent %v after %#x", x.Range, end)
		}
		end = x.End()
		n := min(x.Size, 4096)
		for _, addr := range []uint64{x.Addr, x.End() - n} {
			if got, err := p.Memory.ReadMemory(buf[:n], addr); err != nil || uint64(got) != n {
				t.Fatalf("read %d bytes at %#x of %v: %d, %v", n, addr, x.Range, got, err)
			}
		}
		if i+1 < len(xs) && xs[i+1].Addr == end {
			continue
		}
		var me *snapshot.MemoryError
		if got, err := p.Memory.ReadMemory(buf[:n+1], x.End()-n); uint64(got) != n || !errors.As(err, &me) || me.Addr != end {
			t.Fatalf("read past %v: %d, %v", x.Range, got, err)
		}
	}
	for i := range min(len(p.Threads), 100) {
		sp := p.Threads[i].Registers.SP()
		_, _ = p.Memory.ReadMemory(buf, sp)
	}
}
