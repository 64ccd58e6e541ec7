package dumpkind

import (
	"encoding/binary"
	"slices"
	"sort"

	"procdump/snapshot"
)

// Bounds of a small dump, in bytes.
const (
	stackBudget   = 24 << 20 // all stacks together
	maxStack      = 8 << 20  // one stack, while the budget lasts
	minStack      = 16 << 10 // one stack, however many there are
	pointedBudget = 16 << 20 // what stacks and registers point at
	extraBudget   = 48 << 20 // all that is no stack
	maxVDSO       = 1 << 20
	maxDynamic    = 768 // of a .dynamic section; usual ones have some 30 entries
	codeWindow    = 128 // each side of a program counter
	pointedBefore = 256 // kept below an address that a stack or register holds
	pointedAfter  = 768 // and above
)

// A small dump is copied into RAM, so that the target can go on before the file
// is written, if what RAM then holds for it is at most copyBudget bytes: the
// copies of all small dumps of one stop, and threadCost for each thread.
const (
	copyBudget = 32 << 20
	threadCost = 4 << 10 // registers; with AVX-512 they take 3.4 KiB
)

// small selects Mini and Triage, and copies them if they are not too large.
func (s *selector) small() (*Selection, error) {
	stacks, err := s.usedStacks()
	if err != nil {
		return nil, err
	}
	room := s.room()
	var ptrs [2]*pointers // two look at the stacks: the process stands
	var visitors []visitor
	for i := range ptrs {
		ptrs[i] = s.newPointers(stacks.pages)
		visitors = append(visitors, func(th *snapshot.Thread, stack []byte) {
			if s.o.Kind == Mini {
				ptrs[i].registers(&th.Registers)
				ptrs[i].words(stack)
			}
		})
	}
	if err = stacks.read(room, visitors...); err != nil {
		return nil, err
	}
	extra := s.fixed()
	if s.o.Kind == Mini {
		pointed, err := s.affordable(slices.Concat(ptrs[0].pages.list, ptrs[1].pages.list))
		if err != nil {
			return nil, err
		}
		extra = append(extra, pointed...)
	}
	if extra, err = s.wholePages(extra); err != nil {
		return nil, err
	}
	extra = first(subtract(extra, stacks.pages), extraBudget)
	sel := &Selection{Process: s.copy(), Ranges: snapshot.MergeRanges(append(extra, stacks.pages...), 0)}
	info := &sel.Process.Info
	info.Unreadable = nil
	info.LeftOut = nil // nearly everything; the sum tells
	info.LeftOutBytes = s.residentBytes() - min(s.residentBytes(), total(sel.Ranges))
	if stacks.img != nil && total(sel.Ranges) <= room {
		if err := sel.buffer(stacks); err != nil {
			return nil, err
		}
	}
	if s.o.Kind == Triage {
		scrub(sel, stacks.left, s.o.Only)
	}
	return sel, nil
}

// room is how many bytes may be copied into RAM.
func (s *selector) room() uint64 {
	room := uint64(copyBudget) - min(s.o.Held, copyBudget)
	return room - min(threadCost*uint64(len(s.p.Threads)), room)
}

// buffer copies what the selection holds, of which the stacks are copied
// already.
func (sel *Selection) buffer(stacks *stackSet) error {
	img := stacks.img
	rest, bad, err := snapshot.CopyMemory(sel.Process.Memory, subtract(sel.Ranges, img.Ranges()))
	if err != nil {
		return err
	}
	img.Add(rest)
	sel.Process.Memory, sel.Buffered = img, true
	sel.Process.Info.Unreadable = snapshot.MergeRanges(append(bad, stacks.bad...), 0)
	return nil
}

// first cuts ranges so that they are at most size bytes together.
func first(rs []snapshot.Range, size uint64) []snapshot.Range {
	for i := range rs {
		rs[i].Size = min(rs[i].Size, size)
		if size -= rs[i].Size; size == 0 {
			return rs[:i+1]
		}
	}
	return rs
}

func total(rs []snapshot.Range) (n uint64) {
	for _, r := range rs {
		n += r.Size
	}
	return n
}

func (s *selector) residentBytes() (n uint64) {
	for i := range s.p.Regions {
		n += s.p.Regions[i].Resident
	}
	return n
}

// wholePages widens ranges to pages, clips them to regions that may be dumped,
// drops pages that are neither zero nor to be had, and joins what touches.
func (s *selector) wholePages(rs []snapshot.Range) ([]snapshot.Range, error) {
	var out []snapshot.Range
	for _, r := range rs {
		if r.Size == 0 || r.End() < r.Addr {
			continue
		}
		lo, last := r.Addr&^(s.page-1), r.End()-1
		for i := firstAfter(s.p, lo); i < len(s.p.Regions) && s.p.Regions[i].Addr <= last; i++ {
			g := &s.p.Regions[i]
			if excluded(g, s.o.DontDump) != "" {
				continue
			}
			low := max(lo, g.Addr)
			out = append(out, snapshot.Range{Addr: low, Size: min(last|(s.page-1), g.End()-1) + 1 - low})
		}
	}
	return s.known(snapshot.MergeRanges(out, 0))
}

// firstAfter returns the index of the first region that ends after addr.
func firstAfter(p *snapshot.Process, addr uint64) int {
	return sort.Search(len(p.Regions), func(i int) bool { return p.Regions[i].End() > addr })
}

// known drops what the source does not have, unless that means zero.
func (s *selector) known(rs []snapshot.Range) ([]snapshot.Range, error) {
	var out []snapshot.Range
	for _, r := range rs {
		for i := firstAfter(s.p, r.Addr); i < len(s.p.Regions) && s.p.Regions[i].Addr < r.End(); i++ {
			g := &s.p.Regions[i]
			part := g.Intersect(r)
			if g.Anonymous() && g.Path != "[vdso]" && g.Flags&snapshot.Userfault == 0 && !s.o.Dump {
				out = append(out, part)
				continue
			}
			xs, err := s.p.Memory.Extents(part)
			if err != nil {
				return nil, err
			}
			for _, x := range xs {
				out = append(out, x.Range)
			}
		}
	}
	return snapshot.MergeRanges(out, 0), nil
}

// word reads a target word of 4 or 8 bytes.
func word(b []byte, size int) uint64 {
	if size == 4 {
		return uint64(binary.LittleEndian.Uint32(b))
	}
	return binary.LittleEndian.Uint64(b)
}

// fixed lists what every small dump needs besides stacks: code round each
// program counter, what tells debuggers which modules are where, the vdso.
func (s *selector) fixed() []snapshot.Range {
	var out []snapshot.Range
	if s.o.Kind == Mini {
		for i := range s.p.Threads {
			if pc := s.p.Threads[i].Registers.PC(); s.p.FindRegion(pc) >= 0 {
				out = append(out, snapshot.Range{Addr: pc - min(pc, codeWindow), Size: 2 * codeWindow})
			}
		}
		out = append(out, s.auxvStrings()...)
	}
	for i := range s.p.Modules {
		m := &s.p.Modules[i]
		out = append(out, snapshot.Range{Addr: m.Addr, Size: min(s.page, m.Size)})
		if m.Path == "linux-gate.so" {
			out = append(out, snapshot.Range{Addr: m.Addr, Size: min(m.Size, maxVDSO)})
		}
		if m.Dynamic != 0 {
			out = append(out, snapshot.Range{Addr: m.Dynamic, Size: maxDynamic})
		}
	}
	if s.p.Linker != nil {
		out = append(out, s.p.Linker.Ranges...)
	}
	return out
}

// auxvStrings lists what the auxiliary vector points at (getauxval(3)).
func (s *selector) auxvStrings() []snapshot.Range {
	const atPlatform, atRandom, atExecfn = 15, 25, 31
	var out []snapshot.Range
	w := s.p.Machine().PointerSize()
	for b := s.p.Auxv; w > 0 && len(b) >= 2*w; b = b[2*w:] {
		switch word(b, w) {
		case atPlatform, atRandom, atExecfn:
			out = append(out, snapshot.Range{Addr: word(b[w:], w), Size: 64})
		}
	}
	return out
}

// subtract removes from a what b covers; both are ascending whole pages.
func subtract(a, b []snapshot.Range) []snapshot.Range {
	var out []snapshot.Range
	j := 0
	for _, r := range a {
		at := r.Addr
		for j < len(b) && b[j].End() <= at {
			j++
		}
		for k := j; k < len(b) && b[k].Addr < r.End(); k++ {
			if b[k].Addr > at {
				out = append(out, snapshot.Range{Addr: at, Size: b[k].Addr - at})
			}
			at = max(at, b[k].End())
		}
		if at < r.End() {
			out = append(out, snapshot.Range{Addr: at, Size: r.End() - at})
		}
	}
	return out
}
