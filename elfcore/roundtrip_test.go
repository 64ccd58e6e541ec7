package elfcore

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"procdump/arch"
	"procdump/snapshot"
)

var machines = []arch.Machine{arch.AMD64, arch.I386, arch.ARM64}

// sameProcess checks that a process was read as it was written. Its memory is
// compared where held.
func sameProcess(t *testing.T, got, want *snapshot.Process, held []snapshot.Range) {
	t.Helper()
	g, w := *got, *want
	g.Memory, w.Memory = nil, nil
	if len(g.Threads) == len(w.Threads) {
		for i := range g.Threads {
			diff(t, fmt.Sprintf("thread %d", i), g.Threads[i], w.Threads[i])
		}
		g.Threads, w.Threads = nil, nil
	}
	diff(t, "process", g, w)

	for _, r := range held {
		a, b := make([]byte, r.Size), make([]byte, r.Size)
		if _, err := got.Memory.ReadMemory(a, r.Addr); err != nil {
			t.Fatal(err)
		}
		if _, err := want.Memory.ReadMemory(b, r.Addr); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a, b) {
			t.Errorf("memory of %v differs", r)
		}
	}
	diff(t, "extents", heldRanges(t, got), held)
}

func TestRoundTrip(t *testing.T) {
	for _, m := range machines {
		for _, threads := range []int{1, 3, 1000} {
			t.Run(fmt.Sprintf("%v/%d threads", m, threads), func(t *testing.T) {
				p := synthetic(m, threads)
				ranges := regionRanges(p)
				sameProcess(t, process(t, write(t, p, ranges)), p, ranges)
			})
		}
	}
}

func TestRoundTripException(t *testing.T) {
	for _, m := range machines {
		p := synthetic(m, 2)
		first := &p.Threads[0]
		p.Exception = &snapshot.Exception{TID: first.TID, Signal: 11, Code: 1, Addr: 0xdeadbee0, Params: []uint64{1 << 63}}
		got := process(t, write(t, p, nil))
		// What the source left out is made of the exception.
		siginfo := got.Threads[0].Siginfo
		first.Siginfo = siginfo
		sameProcess(t, got, p, nil)

		foreign := exceptionOf(m, &snapshot.Thread{TID: first.TID, Siginfo: siginfo})
		p.Exception.Params = nil
		diff(t, "exception from siginfo", foreign, p.Exception)
	}
}

func TestRoundTripWithoutThreads(t *testing.T) {
	for _, m := range machines {
		p := synthetic(m, 0)
		p.UserTime, p.SystemTime = 0, 0 // are kept in the leader's note
		ranges := regionRanges(p)
		sameProcess(t, process(t, write(t, p, ranges)), p, ranges)
	}
}

// TestRoundTripBare writes the least that a source may know.
func TestRoundTripBare(t *testing.T) {
	for _, m := range machines {
		p := &snapshot.Process{System: snapshot.System{Machine: m}, Memory: fakeMemory{}}
		p.Threads = []snapshot.Thread{{TID: 1}}
		held := []snapshot.Range{{Addr: 0x10000, Size: page}}
		got := process(t, write(t, p, held))
		if len(got.Threads) != 1 || got.Threads[0].TID != 1 || got.Threads[0].Siginfo != nil {
			t.Errorf("threads %+v", got.Threads)
		}
		b := make([]byte, 1)
		if _, err := got.Memory.ReadMemory(b, 0x10fff); err != nil || b[0] != byteAt(0x10fff) {
			t.Errorf("read %x: %v", b, err)
		}
	}
}

// TestRoundTripSegments writes more segments than e_phnum can tell.
func TestRoundTripSegments(t *testing.T) {
	for _, m := range []arch.Machine{arch.AMD64, arch.I386} {
		for _, n := range []int{PN_XNUM - 2, PN_XNUM - 1, PN_XNUM, 70000} {
			t.Run(fmt.Sprintf("%v/%d", m, n), func(t *testing.T) {
				p := synthetic(m, 1)
				p.Regions, p.Modules = nil, nil
				for i := range n {
					r := snapshot.Region{Range: snapshot.Range{Addr: 0x10000 + uint64(i)*page, Size: page}}
					r.Perm = snapshot.Read | snapshot.Perm(i&1)<<1 // so that none are merged
					p.Regions = append(p.Regions, r)
				}
				p.Threads[0].Stack = snapshot.Range{}
				p.Threads[0].Registers.Put(arch.NT_PRSTATUS, make([]byte, m.GPSize()))
				held := []snapshot.Range{{Addr: 0x10000, Size: 3 * page}, {Addr: 0x10000 + uint64(n-1)*page, Size: page}}
				b := write(t, p, held)
				r := open(t, b)
				if len(r.Progs) != n+1 {
					t.Fatalf("%d program headers, want %d", len(r.Progs), n+1)
				}
				if xnum := r.Header.Phnum == PN_XNUM; xnum != (n+1 >= PN_XNUM) {
					t.Errorf("e_phnum %#x", r.Header.Phnum)
				}
				sameProcess(t, process(t, b), p, held)
			})
		}
	}
}

// TestSegmentsCover lays out random regions and ranges and checks each page.
func TestSegmentsCover(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	const pages = 200
	for range 500 {
		p := synthetic(arch.AMD64, 1)
		p.Regions = nil
		var in, held [pages]bool
		var perm [pages]snapshot.Perm
		for at := 0; at < pages; {
			n := min(1+rnd.IntN(9), pages-at)
			r := snapshot.Region{Range: snapshot.Range{Addr: uint64(at) * page, Size: uint64(n) * page}, Perm: snapshot.Perm(rnd.IntN(8))}
			if rnd.IntN(3) == 0 {
				r.Path, r.Inode, r.Offset = fmt.Sprint("/f", rnd.IntN(2)), 1, uint64(rnd.IntN(4))*page
			}
			if rnd.IntN(4) > 0 {
				p.Regions = append(p.Regions, r)
				for i := at; i < at+n; i++ {
					in[i], perm[i] = true, r.Perm
				}
			}
			at += n
		}
		var ranges []snapshot.Range
		for at := rnd.IntN(9); at < pages; at += rnd.IntN(9) {
			n := min(1+rnd.IntN(20), pages-at)
			ranges = append(ranges, snapshot.Range{Addr: uint64(at) * page, Size: uint64(n) * page})
			for i := at; i < at+n; i++ {
				held[i] = true
			}
			at += n
		}
		r := open(t, write(t, p, ranges))
		checkCover(t, r, p, in[:], held[:], perm[:])
		if t.Failed() {
			t.Fatalf("regions %v\nranges %v", p.Regions, ranges)
		}
	}
}

func checkCover(t *testing.T, r *Reader, p *snapshot.Process, in, held []bool, perm []snapshot.Perm) {
	starts := map[uint64]bool{}
	seen := make([]int, len(in))
	for _, ph := range r.Progs[1:] {
		starts[ph.Vaddr] = true
		if ph.Filesz != 0 && ph.Filesz != ph.Memsz || ph.Off%page != 0 {
			t.Errorf("segment %+v", ph)
		}
		for a := ph.Vaddr; a < ph.Vaddr+ph.Memsz; a += page {
			i := a / page
			seen[i]++
			if want := perm[i]; in[i] && permOf(ph.Flags) != want {
				t.Errorf("page %d: flags %v, want %v", i, ph.Flags, want)
			}
			b := make([]byte, page)
			_, err := r.mem.ReadMemory(b, a)
			if (err == nil) != held[i] || held[i] && b[5] != byteAt(a+5) || (ph.Filesz > 0) != held[i] {
				t.Errorf("page %d: held %v, read %v", i, held[i], err)
			}
		}
	}
	for i, n := range seen {
		if want := in[i] || held[i]; (n == 1) != want || n > 1 {
			t.Errorf("page %d is in %d segments, want %v", i, n, want)
		}
	}
	for i := 1; i < len(p.Regions); i++ {
		a, b := &p.Regions[i-1], &p.Regions[i]
		if isFile(b) && b.Path != a.Path && !starts[b.Addr] {
			t.Errorf("file mapping at %#x begins inside a segment", b.Addr)
		}
	}
}

func TestMerge(t *testing.T) {
	p := synthetic(arch.AMD64, 1)
	count := func(ranges []snapshot.Range) int {
		l, err := NewLayout(p, ranges)
		if err != nil {
			t.Fatal(err)
		}
		return len(l.segs)
	}
	if n := count(nil); n != len(p.Regions) {
		t.Errorf("%d segments for %d regions", n, len(p.Regions))
	}
	if n := count(regionRanges(p)); n != len(p.Regions)-1 { // bss and heap
		t.Errorf("%d segments for %d regions", n, len(p.Regions))
	}
}

// TestMergeFile merges the mappings of one file only where they continue it.
func TestMergeFile(t *testing.T) {
	for off, want := range map[uint64]int{page: 1, 2 * page: 2, 0: 2} {
		p := synthetic(arch.AMD64, 1)
		p.Regions = []snapshot.Region{{Range: snapshot.Range{Addr: 0x10000, Size: page}, Path: "/f", Inode: 1},
			{Range: snapshot.Range{Addr: 0x11000, Size: page}, Path: "/f", Inode: 1, Offset: off}}
		if n := len(open(t, write(t, p, regionRanges(p))).Progs) - 1; n != want {
			t.Errorf("offset %#x: %d segments, want %d", off, n, want)
		}
	}
}

// TestUnaligned writes memory that is no whole pages, as minidumps have it.
func TestUnaligned(t *testing.T) {
	p := synthetic(arch.AMD64, 1)
	heap := &p.Regions[slices.IndexFunc(p.Regions, func(g snapshot.Region) bool { return g.Path == "[heap]" })]
	ranges := []snapshot.Range{{Addr: heap.Addr + 8, Size: 100}, {Addr: heap.Addr + 200, Size: 8}, {Addr: heap.End() - 16, Size: 16}}
	r := open(t, write(t, p, ranges))
	for _, ph := range r.Progs {
		if ph.Type == elf.PT_LOAD && ph.Filesz > 0 && ph.Off%page != ph.Vaddr%page {
			t.Errorf("%#x lies at %#x", ph.Vaddr, ph.Off)
		}
	}
	q, _ := r.Process()
	for _, x := range ranges {
		got, want := make([]byte, x.Size), make([]byte, x.Size)
		_, err := q.Memory.ReadMemory(got, x.Addr)
		_, err2 := p.Memory.ReadMemory(want, x.Addr)
		if err != nil || err2 != nil || !bytes.Equal(got, want) {
			t.Errorf("%v: %v, %v", x, err, err2)
		}
	}
	if n, err := q.Memory.ReadMemory(make([]byte, 8), heap.Addr); err == nil {
		t.Errorf("%d bytes that were not written", n)
	}
}

func TestLayoutRejects(t *testing.T) {
	rg := func(a, n uint64) snapshot.Range { return snapshot.Range{Addr: a, Size: n} }
	for name, ranges := range map[string][]snapshot.Range{
		"descending": {rg(2*page, page), rg(page, page)}, "overlap": {rg(page, 2*page), rg(2*page, page)},
		"empty": {rg(page, 0)}, "wraps": {rg(1<<64-page, 2*page)},
	} {
		if _, err := NewLayout(synthetic(arch.AMD64, 1), ranges); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	p := synthetic(arch.AMD64, 1)
	p.System.Machine = arch.Unknown
	if _, err := NewLayout(p, nil); err == nil {
		t.Error("unknown machine: no error")
	}
	p = synthetic(arch.AMD64, 1)
	p.Regions[1].Addr = 0
	if _, err := NewLayout(p, nil); err == nil {
		t.Error("regions out of order: no error")
	}
}

func TestTooLarge(t *testing.T) {
	p := synthetic(arch.I386, 1)
	for _, r := range []snapshot.Range{{Addr: page, Size: 1<<32 - 2*page}, {Addr: 1 << 32, Size: page}} {
		if _, err := NewLayout(p, []snapshot.Range{r}); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%v: %v", r, err)
		}
	}
	// The last page of 4 GiB is in; what lies above is left out.
	last := snapshot.Region{Range: snapshot.Range{Addr: 1<<32 - page, Size: page}, Perm: snapshot.Read}
	above := snapshot.Region{Range: snapshot.Range{Addr: 1 << 40, Size: page}, Perm: snapshot.Read, Path: "/above"}
	p.Regions = append(p.Regions, last, above)
	ranges := []snapshot.Range{last.Range}
	b := write(t, p, ranges)
	sameProcess(t, process(t, b), p, ranges)
	if r := open(t, b); r.Progs[len(r.Progs)-1].Vaddr != last.Addr {
		t.Errorf("last segment %+v", r.Progs[len(r.Progs)-1])
	}
	q := synthetic(arch.AMD64, 1)
	if _, err := NewLayout(q, []snapshot.Range{{Addr: page, Size: 1<<63 - page}}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("8 EiB: %v", err)
	}
}

// TestHeadLater checks that Info may change after the layout was made, and
// nothing else.
func TestHeadLater(t *testing.T) {
	p := synthetic(arch.AMD64, 2)
	l, err := NewLayout(p, nil)
	if err != nil {
		t.Fatal(err)
	}
	p.Info.PauseMicros = 123456
	for i := range 5000 {
		p.Info.Unreadable = append(p.Info.Unreadable, snapshot.Range{Addr: uint64(i) * page, Size: page})
	}
	h, err := head(l)
	if err != nil || int64(len(h)) != l.HeadSize() {
		t.Fatalf("head of %d bytes: %v", len(h), err)
	}
	got := process(t, h)
	if got.Info.PauseMicros != 123456 || len(got.Info.Unreadable) == 0 || !got.Info.Truncated {
		t.Errorf("info %+v", got.Info)
	}
	p.Threads = p.Threads[:1]
	if _, err := head(l); !errors.Is(err, ErrChanged) {
		t.Errorf("a thread less: %v", err)
	}
}

func TestWrite(t *testing.T) {
	p := synthetic(arch.AMD64, 2)
	ranges := regionRanges(p)
	var b bytes.Buffer
	if err := Write(&b, p, ranges); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.Bytes(), write(t, p, ranges)) {
		t.Error("differs from what a Layout makes")
	}

	hole := snapshot.Range{Addr: ranges[0].Addr + page, Size: page}
	tail := snapshot.Range{Addr: ranges[1].Addr + 10, Size: ranges[1].Size - 10}
	p.Memory = fakeMemory{[]snapshot.Range{hole, tail}}
	b.Reset()
	if err := Write(&b, p, ranges); err != nil {
		t.Fatal(err)
	}
	diff(t, "unreadable", p.Info.Unreadable, []snapshot.Range{hole, ranges[1]})
	held := []snapshot.Range{{Addr: ranges[0].Addr, Size: page}, {Addr: hole.End(), Size: ranges[0].End() - hole.End()}}
	held = append(held, ranges[2:]...)
	sameProcess(t, process(t, b.Bytes()), p, held)

	want := errors.New("disk full")
	if err := Write(failingWriter{want}, p, ranges); !errors.Is(err, want) {
		t.Errorf("error of the writer: %v", err)
	}
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

// flakyMemory loses its memory after n reads.
type flakyMemory struct {
	fakeMemory
	n *int
}

func (m flakyMemory) ReadMemory(p []byte, addr uint64) (int, error) {
	if *m.n--; *m.n < 0 {
		return 0, &snapshot.MemoryError{Addr: addr, Err: snapshot.ErrNotMapped}
	}
	return m.fakeMemory.ReadMemory(p, addr)
}

func TestWriteChanged(t *testing.T) {
	p := synthetic(arch.AMD64, 1)
	ranges := regionRanges(p)
	n := len(ranges) + 1
	p.Memory = flakyMemory{n: &n}
	if err := Write(&bytes.Buffer{}, p, ranges); !errors.Is(err, ErrChanged) {
		t.Errorf("got %v", err)
	}
}
