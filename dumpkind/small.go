package dumpkind

import (
	"encoding/binary"
	"slices"
	"sort"

	"procdump/snapshot"
)

// Bounds of a small dump, in bytes. All of it is held in RAM so that the
// target can go on before the file is written.
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

// small selects Mini and Triage, and copies them.
func (s *selector) small() (*Selection, error) {
	img, bad, err := s.copyStacks()
	if err != nil {
		return nil, err
	}
	extra := s.fixed()
	if s.o.Kind == Mini {
		pointed, err := s.pointed(img)
		if err != nil {
			return nil, err
		}
		extra = append(extra, pointed...)
	}
	if extra, err = s.wholePages(extra); err != nil {
		return nil, err
	}
	extra = first(subtract(extra, img.Ranges()), extraBudget)
	rest, missing, err := snapshot.CopyMemory(s.p.Memory, extra)
	if err != nil {
		return nil, err
	}
	img.Add(rest)
	sel := &Selection{Process: s.copy(), Ranges: slices.Clone(img.Ranges()), Buffered: true}
	sel.Process.Memory = img
	sel.Process.Info.Unreadable = snapshot.MergeRanges(append(bad, missing...), 0)
	sel.Process.Info.LeftOut = nil // nearly everything; the sum tells
	sel.Process.Info.LeftOutBytes = s.residentBytes() - min(s.residentBytes(), total(sel.Ranges))
	if s.o.Kind == Triage {
		scrub(sel.Process, img)
	}
	return sel, nil
}

// copyStacks copies the stacks that the threads are on, and those that they
// left for an alternate signal stack.
func (s *selector) copyStacks() (img *snapshot.MemoryImage, bad []snapshot.Range, err error) {
	var more []snapshot.Range
	for {
		stacks, err := s.stacks(more)
		if err != nil {
			return nil, nil, err
		}
		img, bad, err = snapshot.CopyMemory(s.p.Memory, stacks)
		if err != nil || more != nil {
			return img, bad, err
		}
		for i := range s.p.Threads {
			if _, used := interrupted(s.p, &s.p.Threads[i], img); used.Size > 0 {
				more = append(more, used)
			}
		}
		if more == nil {
			return img, bad, nil
		}
	}
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

// stackBytes is the copied part of a thread's stack.
func stackBytes(img *snapshot.MemoryImage, th *snapshot.Thread) []byte {
	b := img.Bytes(th.Stack.Addr)
	return b[:min(uint64(len(b)), th.Stack.Size)]
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

// stacks lists the used stacks as whole pages: those that the threads are on
// and more. Where all of them together pass the budget, each is cut at its far
// end, the first thread's last.
func (s *selector) stacks(more []snapshot.Range) ([]snapshot.Range, error) {
	list := make([]snapshot.Range, 0, len(s.p.Threads)+len(more))
	for i := range s.p.Threads {
		list = append(list, s.p.Threads[i].Stack)
	}
	list = append(list, more...)
	limit := uint64(maxStack)
	for ; limit > minStack; limit /= 2 {
		var sum uint64
		for _, st := range list {
			sum += min(st.Size, limit)
		}
		if sum <= stackBudget {
			break
		}
	}
	for i := range list {
		if i == 0 {
			list[i].Size = min(list[i].Size, max(limit, 1<<20))
		} else {
			list[i].Size = min(list[i].Size, limit)
		}
	}
	return s.wholePages(list)
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
			if g.Anonymous() && g.Path != "[vdso]" && g.Flags&snapshot.Userfault == 0 {
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
