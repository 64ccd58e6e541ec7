package dumpkind

import (
	"slices"

	"procdump/arch"
	"procdump/snapshot"
)

// Bounds of a small dump, in bytes. All of it is held in RAM so that the
// target can go on before the file is written.
const (
	stackBudget   = 24 << 20 // all stacks together
	maxStack      = 8 << 20  // one stack, while the budget lasts
	minStack      = 16 << 10 // one stack, however many there are
	pointedBudget = 16 << 20 // what stacks and registers point at
	codeWindow    = 128      // each side of a program counter
	pointedBefore = 256      // kept below an address that a stack or register holds
	pointedAfter  = 768      // and above
)

// small selects Mini and Triage, and copies them.
func (s *selector) small() (*Selection, error) {
	stacks := s.stacks()
	img, bad, err := snapshot.CopyMemory(s.p.Memory, stacks)
	if err != nil {
		return nil, err
	}
	if more := s.interrupted(img, stacks); len(more) > 0 {
		stacks = snapshot.MergeRanges(append(slices.Clone(stacks), more...), 0)
		if img, bad, err = snapshot.CopyMemory(s.p.Memory, stacks); err != nil {
			return nil, err
		}
	}
	fixed := s.fixed()
	extra := slices.Clone(fixed)
	if s.o.Kind == Mini {
		pointed, err := s.pointed(img)
		if err != nil {
			return nil, err
		}
		extra = append(extra, pointed...)
	}
	extra = subtract(s.wholePages(extra), stacks)
	rest, missing, err := snapshot.CopyMemory(s.p.Memory, extra)
	if err != nil {
		return nil, err
	}
	img.Add(rest)
	sel := &Selection{Process: s.copy(), Ranges: slices.Clone(img.Ranges()), Buffered: true}
	sel.Process.Memory = img
	sel.Process.Info.Unreadable = append(bad, missing...)
	sel.Process.Info.LeftOut = nil // nearly everything; the sum tells
	sel.Process.Info.LeftOutBytes = s.residentBytes() - min(s.residentBytes(), total(sel.Ranges))
	if s.o.Kind == Triage {
		scrub(sel.Process, img, s.exact(fixed))
	}
	return sel, nil
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

// stacks lists the used stacks as whole pages. Where all of them together pass
// the budget, each is cut at its far end, the first thread's last.
func (s *selector) stacks() []snapshot.Range {
	limit := uint64(maxStack)
	for sum := ^uint64(0); limit > minStack; limit /= 2 {
		sum = 0
		for i := range s.p.Threads {
			sum += min(s.p.Threads[i].Stack.Size, limit)
		}
		if sum <= stackBudget {
			break
		}
	}
	var out []snapshot.Range
	for i := range s.p.Threads {
		st := s.p.Threads[i].Stack
		if i == 0 {
			st.Size = min(st.Size, max(limit, 1<<20))
		} else {
			st.Size = min(st.Size, limit)
		}
		out = append(out, st)
	}
	return s.wholePages(out)
}

// wholePages widens ranges to pages, clips them to readable regions, and joins
// those that touch.
func (s *selector) wholePages(rs []snapshot.Range) []snapshot.Range {
	var out []snapshot.Range
	for _, r := range rs {
		lo := r.Addr &^ (s.page - 1)
		hi := (r.End() + s.page - 1) &^ (s.page - 1)
		for at := lo; at < hi; {
			i := s.p.FindRegion(at)
			if i < 0 {
				at += s.page
				continue
			}
			g := &s.p.Regions[i]
			part := snapshot.Range{Addr: at, Size: min(hi, g.End()) - at}
			if excluded(g, s.o.DontDump) == "" {
				out = append(out, part)
			}
			at = part.End()
		}
	}
	return snapshot.MergeRanges(out, 0)
}

// interrupted finds the stacks that threads on an alternate signal stack were
// interrupted on.
func (s *selector) interrupted(img *snapshot.MemoryImage, have []snapshot.Range) []snapshot.Range {
	var out []snapshot.Range
	for i := range s.p.Threads {
		th := &s.p.Threads[i]
		sp := signalFrameSP(th, stackBytes(img, th))
		k := s.p.FindRegion(sp)
		if sp == 0 || k < 0 || s.p.Regions[k].Contains(th.Registers.SP()) {
			continue
		}
		g := &s.p.Regions[k]
		low := max(g.Addr, sp-min(sp, th.Registers.Machine.RedZone()))
		end := g.End()
		if tls := th.Registers.TLS(); tls > sp && tls < end {
			end = min(end, tls+4096)
		}
		out = append(out, snapshot.Range{Addr: low, Size: min(end-low, maxStack)})
	}
	return s.wholePages(out)
}

// frameLayout is where struct ucontext keeps what interests us, in bytes from
// its start (asm/ucontext.h, asm/sigcontext.h of each machine).
type frameLayout struct{ stackBase, stackSize, sp, pc int }

var frameLayouts = map[arch.Machine]frameLayout{
	arch.AMD64: {16, 32, 160, 168},
	arch.I386:  {8, 16, 48, 76},
	arch.ARM64: {16, 32, 432, 440},
}

// signalFrameSP looks on an alternate signal stack for the ucontext that the
// kernel put there, and returns the stack pointer of the interrupted code. The
// frame is known by its uc_stack, which describes the very stack it lies on.
func signalFrameSP(th *snapshot.Thread, stack []byte) uint64 {
	l, ok := frameLayouts[th.Registers.Machine]
	if !ok {
		return 0
	}
	sp, w := th.Registers.SP(), th.Registers.Machine.PointerSize()
	for off := 0; off+l.pc+w <= len(stack); off += w {
		lo, size := word(stack[off+l.stackBase:], w), word(stack[off+l.stackSize:], w)
		const minAlt, maxAlt = 1024, 64 << 20
		if lo > sp || sp-lo >= size || size < minAlt || size > maxAlt {
			continue
		}
		if old := word(stack[off+l.sp:], w); old-lo >= size {
			return old
		}
	}
	return 0
}

func word(b []byte, size int) uint64 {
	var v uint64
	for i := size - 1; i >= 0; i-- {
		v = v<<8 | uint64(b[i])
	}
	return v
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
			out = append(out, m.Range)
		}
		if m.Dynamic != 0 {
			const dynamic = 512 // bytes; a usual .dynamic section
			out = append(out, snapshot.Range{Addr: m.Dynamic, Size: dynamic})
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

// exact returns ranges merged but not widened.
func (s *selector) exact(rs []snapshot.Range) []snapshot.Range {
	return snapshot.MergeRanges(slices.Clone(rs), 0)
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
