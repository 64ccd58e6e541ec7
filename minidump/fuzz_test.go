package minidump

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"runtime"
	"testing"

	"procdump/arch"
	"procdump/snapshot"
)

// maxFuzzAlloc is what reading any file of fuzzing's size may allocate in all.
const maxFuzzAlloc = 64 << 20

// FuzzReader reads damaged dumps through every accessor.
func FuzzReader(f *testing.F) {
	var seeds [][]byte
	for _, m := range machines {
		for _, full := range []bool{false, true} {
			seeds = append(seeds, smallDump(f, m, full))
		}
	}
	seeds = append(seeds, windowsDump(), breakpadDump(), nil, []byte("MDMP"))
	for i, s := range seeds {
		f.Add(s)
		f.Add(s[:len(s)/2])
		f.Add(s[:len(s)*9/10])
		flipped := bytes.Clone(s)
		for k := 33 + i; k < len(flipped); k += 97 {
			flipped[k] ^= 1 << (k % 8)
		}
		f.Add(flipped)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		checkReader(t, b)
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > maxFuzzAlloc && len(b) < 1<<20 {
			t.Errorf("%d bytes of input made the reader allocate %d", len(b), n)
		}
	})
}

// smallDump has all streams, but small regsets and no reserves: what is large
// keeps the fuzzer busy for nothing.
func smallDump(f *testing.F, m arch.Machine, full bool) []byte {
	p, ranges := sample(m)
	for i := range p.Threads {
		p.Threads[i].Registers.Put(arch.NT_X86_XSTATE, pattern(8, i))
	}
	pl, err := newPlan(p, ranges[:1], full)
	if err != nil {
		f.Fatal(err)
	}
	size, err := snapshot.NoteSize(p)
	if err != nil {
		f.Fatal(err)
	}
	l := &Layout{p: p, plan: pl, noteSize: size - snapshot.NoteReserve, comment: 20}
	if err := l.measure(); err != nil {
		f.Fatal(err)
	}
	b, err := headOf(l)
	if err != nil {
		f.Fatal(err)
	}
	return append(b, make([]byte, l.Size()-l.HeadSize())...)
}

func checkReader(t *testing.T, b []byte) {
	r, err := NewReader(bytes.NewReader(b), int64(len(b)))
	if (r == nil) == (err == nil) {
		t.Fatalf("reader %v with error %v", r, err)
	}
	if err != nil {
		if !errors.Is(err, ErrFormat) {
			t.Fatalf("error of no known kind: %v", err)
		}
		return
	}
	check := func(v any, err error) {
		if rv := reflect.ValueOf(v); rv.IsNil() == (err == nil) {
			t.Fatalf("%T with error %v", v, err)
		}
		if err != nil && !errors.Is(err, ErrFormat) && !errors.Is(err, ErrNoStream) {
			t.Fatalf("error of no known kind: %v", err)
		}
	}
	for _, call := range []func() (any, error){
		func() (any, error) { return r.SystemInfo() },
		func() (any, error) { return r.Threads() },
		func() (any, error) { return r.ThreadNames() },
		func() (any, error) { return r.ThreadInfos() },
		func() (any, error) { return r.Modules() },
		func() (any, error) { return r.UnloadedModules() },
		func() (any, error) { return r.MemoryList() },
		func() (any, error) { return r.Memory64List() },
		func() (any, error) { return r.MemoryInfo() },
		func() (any, error) { return r.Handles() },
		func() (any, error) { return r.MiscInfo() },
		func() (any, error) { return r.Exception() },
		func() (any, error) { return r.BreakpadInfo() },
		func() (any, error) { return r.Linker() },
		func() (any, error) { return r.Notes() },
	} {
		check(call())
	}
	for _, d := range r.Directory() {
		r.Stream(d.Type)
	}
	p, _ := r.Process()
	for i := range p.Threads {
		p.Threads[i].Registers.TLS()
		p.Threads[i].Registers.Context()
	}
	checkReads(t, p, b)
	// What was read can be written again.
	ranges := []snapshot.Range{}
	if x, _ := p.Memory.Extents(snapshot.Range{Addr: 0, Size: 1<<64 - 1}); len(x) > 0 {
		ranges = append(ranges, x[0].Range)
	}
	if err := Write(io.Discard, p, ranges, Options{Full: true}); err != nil {
		t.Fatalf("write what was read: %v", err)
	}
}

// checkReads wants every byte that Extents lists, and an error behind it.
func checkReads(t *testing.T, p *snapshot.Process, b []byte) {
	xs, err := p.Memory.Extents(snapshot.Range{Addr: 0, Size: 1<<64 - 1})
	if err != nil {
		t.Fatal(err)
	}
	// An extent may be longer than the file: pieces that touch in memory may
	// share its bytes.
	for _, s := range p.Memory.(*memory).segs {
		if s.Off < 0 || s.Size > uint64(len(b)) || uint64(s.Off) > uint64(len(b))-s.Size {
			t.Fatalf("%v at %#x of a file of %d bytes", s.Range, s.Off, len(b))
		}
	}
	buf := make([]byte, 4096)
	for i, x := range xs {
		if i > 16 {
			break
		}
		if x.End() < x.Addr {
			t.Fatalf("extent %v", x)
		}
		n := min(x.Size, 4096)
		if k, err := p.Memory.ReadMemory(buf[:n], x.End()-n); uint64(k) != n || err != nil {
			t.Fatalf("extent %v: read %d, %v", x, k, err)
		}
		if k, err := p.Memory.ReadMemory(buf[:1], x.End()); k != 0 || err == nil {
			t.Fatalf("behind extent %v: read %d, %v", x, k, err)
		}
	}
}
