package dumpkind

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"slices"
	"sort"
	"sync"
	"testing"

	"procdump/arch"
	"procdump/snapshot"
)

const page = 4096

func span(addr, size uint64) snapshot.Range { return snapshot.Range{Addr: addr, Size: size} }

// fake is a process's memory: what exists in runs, with the bytes of data, else
// bytes that follow from the address.
type fake struct {
	mu   sync.Mutex // guards read
	p    *snapshot.Process
	runs []snapshot.Extent // ascending
	data map[uint64][]byte // by page address
	read []snapshot.Range  // what was read
	err  error             // of every call, if not nil
}

// newFake is a process of one machine without threads or regions.
func newFake(m arch.Machine) *fake {
	f := &fake{p: &snapshot.Process{}, data: map[uint64][]byte{}}
	f.p.System.Machine, f.p.System.PageSize = m, page
	f.p.Memory = f
	return f
}

// region adds a mapping, in any order.
func (f *fake) region(g snapshot.Region) {
	f.p.Regions = append(f.p.Regions, g)
	slices.SortFunc(f.p.Regions, func(a, b snapshot.Region) int {
		if a.Addr < b.Addr {
			return -1
		}
		return 1
	})
}

// exists makes pages exist.
func (f *fake) exists(kind snapshot.ExtentKind, r snapshot.Range) {
	f.runs = append(f.runs, snapshot.Extent{Range: r, Kind: kind})
	slices.SortFunc(f.runs, func(a, b snapshot.Extent) int {
		if a.Addr < b.Addr {
			return -1
		}
		return 1
	})
}

// write sets bytes of memory that exists.
func (f *fake) write(addr uint64, b []byte) {
	for len(b) > 0 {
		pg := f.page(addr)
		n := copy(pg[addr%page:], b)
		b, addr = b[n:], addr+uint64(n)
	}
}

func (f *fake) page(addr uint64) []byte {
	addr &^= page - 1
	if f.data[addr] == nil {
		f.data[addr] = make([]byte, page)
		for i := range f.data[addr] {
			f.data[addr][i] = filler(addr + uint64(i))
		}
	}
	return f.data[addr]
}

// filler is neither zero nor, as words, an address or a small number.
func filler(addr uint64) byte { return 0x80 | byte(addr>>12*13+addr) }

// words writes target words.
func (f *fake) words(addr uint64, vs ...uint64) {
	w := f.p.Machine().PointerSize()
	for _, v := range vs {
		b := binary.LittleEndian.AppendUint64(nil, v)
		f.write(addr, b[:w])
		addr += uint64(w)
	}
}

func (f *fake) ReadMemory(p []byte, addr uint64) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	f.mu.Lock()
	f.read = append(f.read, span(addr, uint64(len(p))))
	f.mu.Unlock()
	for n := 0; n < len(p); {
		at := addr + uint64(n)
		k := min(page-int(at%page), len(p)-n)
		i := sort.Search(len(f.runs), func(i int) bool { return f.runs[i].End() > at })
		switch exists := i < len(f.runs) && f.runs[i].Contains(at); {
		case exists && f.runs[i].Kind&snapshot.ExtentZero != 0:
			clear(p[n : n+k])
		case exists && f.data[at&^(page-1)] != nil:
			copy(p[n:n+k], f.data[at&^(page-1)][at%page:])
		case exists:
			for j := range k {
				p[n+j] = filler(at + uint64(j))
			}
		default:
			g := f.p.FindRegion(at)
			if g < 0 || !f.p.Regions[g].Anonymous() || f.p.Regions[g].Flags&snapshot.Userfault != 0 {
				return n, &snapshot.MemoryError{Addr: at, Err: snapshot.ErrNotMapped}
			}
			clear(p[n : n+k])
		}
		n += k
	}
	return len(p), nil
}

func (f *fake) Extents(r snapshot.Range) ([]snapshot.Extent, error) {
	if f.err != nil {
		return nil, f.err
	}
	if r.Size > 1<<30 {
		return nil, errors.New("asked for more than 1 GiB at once")
	}
	var out []snapshot.Extent
	for i := sort.Search(len(f.runs), func(i int) bool { return f.runs[i].End() > r.Addr }); i < len(f.runs) && f.runs[i].Addr < r.End(); i++ {
		out = append(out, snapshot.Extent{Range: f.runs[i].Intersect(r), Kind: f.runs[i].Kind})
	}
	return out, nil
}

// thread adds a thread whose registers of these names have these values, and
// whose stack reaches from its stack pointer to end.
func (f *fake) thread(tid int, regs map[string]uint64, end uint64) *snapshot.Thread {
	m := f.p.Machine()
	th := snapshot.Thread{TID: tid, Registers: arch.Registers{Machine: m}}
	th.Registers.Put(arch.NT_PRSTATUS, make([]byte, m.GPSize()))
	for name, v := range regs {
		th.Registers.SetGP(name, v)
	}
	if sp := th.Registers.SP(); end > sp {
		low := sp - m.RedZone()
		if k := f.p.FindRegion(sp); k >= 0 {
			low = max(low, f.p.Regions[k].Addr)
		}
		th.Stack = span(low, end-low)
	}
	f.p.Threads = append(f.p.Threads, th)
	return &f.p.Threads[len(f.p.Threads)-1]
}

// spName and pcName are the names of a machine's stack pointer and program counter.
func spName(m arch.Machine) string {
	return map[arch.Machine]string{arch.AMD64: "rsp", arch.I386: "esp", arch.ARM64: "sp"}[m]
}

func pcName(m arch.Machine) string {
	return map[arch.Machine]string{arch.AMD64: "rip", arch.I386: "eip", arch.ARM64: "pc"}[m]
}

func mustSelect(t *testing.T, p *snapshot.Process, o Options) *Selection {
	t.Helper()
	sel, err := Select(p, o)
	if err != nil {
		t.Fatal(err)
	}
	checkSelection(t, p, sel, o)
	if sel.Buffered {
		checkStreamed(t, p, sel, o)
	}
	return sel
}

// checkStreamed selects the same without a copy in RAM: the dump is the same.
func checkStreamed(t *testing.T, p *snapshot.Process, buffered *Selection, o Options) {
	t.Helper()
	o.Held = copyBudget
	sel, err := Select(p, o)
	if err != nil {
		t.Fatal(err)
	}
	checkSelection(t, p, sel, o)
	if sel.Buffered {
		t.Errorf("%v: is buffered beyond the budget", o.Kind)
	}
	if !reflect.DeepEqual(sel.Ranges, buffered.Ranges) {
		t.Errorf("%v: streamed it holds %v, buffered %v", o.Kind, sel.Ranges, buffered.Ranges)
		return
	}
	a, b := mustCopy(t, sel), mustCopy(t, buffered)
	for _, r := range sel.Ranges {
		for at := r.Addr; at < r.End(); at += page {
			if !bytes.Equal(a.Bytes(at)[:page], b.Bytes(at)[:page]) {
				t.Errorf("%v: page %#x differs where it is streamed", o.Kind, at)
				return
			}
		}
	}
	q, w := *sel.Process, *buffered.Process
	q.Memory, w.Memory = nil, nil
	if !reflect.DeepEqual(q, w) {
		t.Errorf("%v: the streamed process says %+v, the buffered %+v", o.Kind, q.Info, w.Info)
	}
}

// mustCopy copies what a dump of the selection holds.
func mustCopy(t *testing.T, sel *Selection) *snapshot.MemoryImage {
	t.Helper()
	img, bad, err := snapshot.CopyMemory(sel.Process.Memory, sel.Ranges)
	if err != nil || len(bad) > 0 {
		t.Fatalf("copy memory: %v, %v cannot be read", err, bad)
	}
	return img
}

// checkSelection checks what holds of every selection.
func checkSelection(t *testing.T, p *snapshot.Process, sel *Selection, o Options) {
	t.Helper()
	for i, r := range sel.Ranges {
		if r.Size == 0 || (r.Addr|r.Size)%page != 0 {
			t.Errorf("%v: range %v is not of whole pages", o.Kind, r)
		}
		if i > 0 && r.Addr < sel.Ranges[i-1].End() {
			t.Errorf("%v: range %v overlaps or precedes %v", o.Kind, r, sel.Ranges[i-1])
		}
	}
	info := sel.Process.Info
	if info.Kind != o.Kind.String() {
		t.Errorf("kind %q, want %v", info.Kind, o.Kind)
	}
	if o.Kind.Small() {
		return
	}
	var size, left uint64
	for i := range p.Regions {
		size += p.Regions[i].Size
	}
	for i, l := range info.LeftOut {
		left += l.Range.Size
		if i > 0 && l.Range.Addr < info.LeftOut[i-1].Range.End() {
			t.Errorf("%v: left out %v overlaps or precedes %v", o.Kind, l.Range, info.LeftOut[i-1].Range)
		}
		for _, r := range sel.Ranges {
			if c := r.Intersect(l.Range); c.Size > 0 {
				t.Errorf("%v: %v is taken and left out (%s)", o.Kind, c, l.Why)
			}
		}
	}
	if got := size - total(sel.Ranges); got != info.LeftOutBytes || !info.Truncated && left != info.LeftOutBytes {
		t.Errorf("%v: %d bytes are not taken, %d are listed, %d are said", o.Kind, got, left, info.LeftOutBytes)
	}
}

// within returns the parts of ranges that lie in r, relative to its start, in
// pages.
func within(rs []snapshot.Range, r snapshot.Range) []snapshot.Range {
	var out []snapshot.Range
	for _, x := range rs {
		if c := x.Intersect(r); c.Size > 0 {
			out = append(out, span((c.Addr-r.Addr)/page, c.Size/page))
		}
	}
	return out
}

// holds tells whether a selection's memory has all of r.
func (sel *Selection) holds(r snapshot.Range) bool {
	return len(subtract([]snapshot.Range{r}, snapshot.MergeRanges(slices.Clone(sel.Ranges), 0))) == 0
}
