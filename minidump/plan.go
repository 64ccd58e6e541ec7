package minidump

import (
	"cmp"
	"fmt"
	"slices"
	"sort"

	"procdump/snapshot"
)

// plan says which memory a dump holds and where.
//
//	head | .dynamic | pieces that RVAs can reach ("early") | Memory64 payload
type plan struct {
	full bool
	page int64
	mem  []snapshot.Range // all memory, adjacent ranges joined

	stacks  []snapshot.Range // of each thread: what its descriptor promises
	dynamic snapshot.Range   // continues the linker's stream; Size 0: not held

	early  []snapshot.Range // pieces in the first 4 GiB, ascending; nil if the list points into the payload
	list   []snapshot.Range // regions of the MemoryList, all within early or mem
	list64 []snapshot.Range // regions of the Memory64List, nil if there is none

	// Set by place.
	placements []snapshot.Placement
	reach      []snapshot.Placement // those that RVAs can reach, ascending by address
	base64     int64                // file offset of the Memory64 payload
	end        int64                // file size
}

// Copies of stacks in a full dump are cut to the largest of these sizes with
// which they all stay below stackBudget: deep recursion in one thread is kept
// whole, while ten thousand threads still leave the RVAs room.
var stackCaps = []uint64{8 << 20, 1 << 20, 128 << 10, 32 << 10}

const stackBudget = 256 << 20

func newPlan(p *snapshot.Process, ranges []snapshot.Range, full bool) (*plan, error) {
	pl := &plan{full: full, page: 4096, mem: make([]snapshot.Range, 0, len(ranges)), stacks: make([]snapshot.Range, 0, len(p.Threads))}
	if s := p.System.PageSize; s > 4096 && s <= 1<<20 && s&(s-1) == 0 {
		pl.page = int64(s)
	}
	for _, r := range ranges {
		switch n := len(pl.mem); {
		case r.Size == 0:
		case r.End() < r.Addr || r.Size > 1<<62:
			return nil, fmt.Errorf("lay out minidump: range %v wraps", r)
		case n > 0 && r.Addr < pl.mem[n-1].End():
			return nil, fmt.Errorf("lay out minidump: range %v overlaps or precedes %v", r, pl.mem[n-1])
		case n > 0 && r.Addr == pl.mem[n-1].End():
			pl.mem[n-1].Size += r.Size
		default:
			pl.mem = append(pl.mem, r)
		}
	}
	for i := range p.Threads {
		t := &p.Threads[i]
		pl.stacks = append(pl.stacks, pl.held(t.Stack, t.Registers.SP()))
	}
	if k := p.Linker; k != nil && k.Dynamic.Size <= 1<<20 {
		if d := pl.held(k.Dynamic, k.Dynamic.Addr); d == k.Dynamic {
			pl.dynamic = d
		}
	}
	pl.divide(p)
	return pl, nil
}

// divide decides what goes into which list.
func (pl *plan) divide(p *snapshot.Process) {
	pl.early = pl.mem
	if pl.full {
		pl.list64 = pl.mem
		if pl.list64 == nil {
			pl.list64 = []snapshot.Range{}
		}
		pl.early = pl.stackCopies()
	}
	pl.list = split(pl.early, maxRegion)
	if len(pl.list) > maxRegions {
		pl.list = mostImportant(p, pl.list, maxRegions)
		if !pl.full {
			pl.list64, pl.early = pl.mem, nil
		}
	}
	for i, s := range pl.stacks {
		pl.stacks[i].Size = min(s.Size, maxRegion)
	}
}

// held returns the piece of r that the dump holds without a gap: the one that
// contains addr, else the first.
func (pl *plan) held(r snapshot.Range, addr uint64) snapshot.Range {
	if r.Size == 0 || r.End() < r.Addr {
		return snapshot.Range{}
	}
	i := sort.Search(len(pl.mem), func(i int) bool { return pl.mem[i].End() > r.Addr })
	var first snapshot.Range
	for ; i < len(pl.mem) && pl.mem[i].Addr < r.End(); i++ {
		c := pl.mem[i].Intersect(r)
		if c.Contains(addr) {
			return c
		}
		if first.Size == 0 {
			first = c
		}
	}
	return first
}

// stackCopies cuts the threads' stacks to a common limit and returns the
// memory that they cover. Stacks may overlap: the goroutines of a Go program
// live in one mapping.
func (pl *plan) stackCopies() []snapshot.Range {
	var out []snapshot.Range
	for _, limit := range stackCaps {
		all, total := []snapshot.Range(nil), uint64(0)
		for _, s := range pl.stacks {
			s.Size = min(s.Size, limit)
			all = append(all, s)
		}
		out = snapshot.MergeRanges(all, 0)
		for _, r := range out {
			total += r.Size
		}
		if total <= stackBudget {
			break
		}
	}
	for i, s := range pl.stacks {
		k := sort.Search(len(out), func(k int) bool { return out[k].End() > s.Addr })
		if k < len(out) && s.Size > 0 {
			pl.stacks[i] = s.Intersect(out[k])
		}
	}
	return out
}

// split cuts ranges into pieces of at most size bytes.
func split(rs []snapshot.Range, size uint64) []snapshot.Range {
	var out []snapshot.Range
	for _, r := range rs {
		for r.Size > size {
			out = append(out, snapshot.Range{Addr: r.Addr, Size: size})
			r.Addr, r.Size = r.Addr+size, r.Size-size
		}
		out = append(out, r)
	}
	return out
}

// mostImportant returns the n pieces that matter most to a debugger, ascending.
func mostImportant(p *snapshot.Process, rs []snapshot.Range, n int) []snapshot.Range {
	var linker []snapshot.Range
	stacks, code := make([]snapshot.Range, 0, len(p.Threads)), make([]snapshot.Range, 0, len(p.Threads))
	for i := range p.Threads {
		t := &p.Threads[i]
		stacks = append(stacks, t.Stack)
		code = append(code, snapshot.Range{Addr: t.Registers.PC(), Size: 1})
	}
	if k := p.Linker; k != nil {
		linker = append(append(linker, k.Ranges...), k.Dynamic)
	}
	classes := [][]snapshot.Range{snapshot.MergeRanges(stacks, 0), snapshot.MergeRanges(code, 0), snapshot.MergeRanges(linker, 0)}
	type ranked struct {
		snapshot.Range
		class int
	}
	all := make([]ranked, len(rs))
	for i, r := range rs {
		all[i] = ranked{r, len(classes)}
		for c, class := range classes {
			if touches(class, r) {
				all[i].class = c
				break
			}
		}
	}
	slices.SortStableFunc(all, func(a, b ranked) int {
		return cmp.Or(cmp.Compare(a.class, b.class), cmp.Compare(b.Size, a.Size))
	})
	out := make([]snapshot.Range, 0, n)
	for _, r := range all[:n] {
		out = append(out, r.Range)
	}
	slices.SortFunc(out, func(a, b snapshot.Range) int { return cmp.Compare(a.Addr, b.Addr) })
	return out
}

// touches tells whether r has a byte in common with the ranges, which ascend.
func touches(rs []snapshot.Range, r snapshot.Range) bool {
	i := sort.Search(len(rs), func(i int) bool { return rs[i].End() > r.Addr })
	return i < len(rs) && rs[i].Addr < r.End()
}

// place gives everything its file offset, the head being headSize long.
func (pl *plan) place(headSize int64) error {
	off := headSize
	pl.placements = make([]snapshot.Placement, 0, 1+len(pl.early)+len(pl.list64))
	if pl.dynamic.Size > 0 {
		off = pl.put(pl.dynamic, off)
	}
	from := len(pl.placements)
	for _, r := range pl.early {
		off = pl.put(r, alignFor(r, off, pl.page))
	}
	pl.reach = pl.placements[from:]
	if off > maxRVA {
		return ErrTooLarge
	}
	if pl.list64 != nil {
		off = alignUp(off, pl.page)
		pl.base64, from = off, len(pl.placements)
		for _, r := range pl.list64 {
			off = pl.put(r, off)
		}
		if !pl.full {
			pl.reach = pl.placements[from:]
			if off > maxRVA {
				return ErrTooLarge
			}
		}
	}
	pl.end = off
	return nil
}

func (pl *plan) put(r snapshot.Range, off int64) int64 {
	pl.placements = append(pl.placements, snapshot.Placement{Range: r, Off: off})
	return off + int64(r.Size)
}

// alignFor returns the offset at or after off where r should lie. A large
// piece keeps its alignment within the page, so that its zero pages can stay
// holes in a sparse file; for a small one that would waste more than it gains.
func alignFor(r snapshot.Range, off, page int64) int64 {
	if r.Size < uint64(16*page) {
		return alignUp(off, 16)
	}
	return off + (int64(r.Addr%uint64(page))-off%page+page)%page
}

func alignUp(v, n int64) int64 { return (v + n - 1) / n * n }

// locate returns where the bytes of r are, or the zero Location if no RVA
// reaches them or the layout is not yet placed.
func (pl *plan) locate(r snapshot.Range) Location {
	i := sort.Search(len(pl.reach), func(i int) bool { return pl.reach[i].End() > r.Addr })
	if r.Size == 0 || i == len(pl.reach) || !pl.reach[i].Contains(r.Addr) {
		return Location{}
	}
	return Location{Size: uint32(r.Size), RVA: uint32(pl.reach[i].Off + int64(r.Addr-pl.reach[i].Addr))}
}
