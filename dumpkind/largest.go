package dumpkind

import (
	"strings"

	"procdump/snapshot"
)

// Bounds of -mpx, as in ProcDump's MiniPlus.
const (
	largestMin   = 512 << 20 // an area this large or smaller is kept
	largestChunk = 4 << 20   // a piece of it that a stack points into is kept whole
)

// dropLargest takes the largest private area out of the selection again. An
// area is all allocations of one size together: a cache is often many equal
// ones. Stacks, the heap, and chunks that a stack or register points into stay.
func (s *selector) dropLargest() error {
	area, _ := s.largestArea()
	if area == nil {
		return nil
	}
	stay, err := s.chunksPointedAt(area)
	if err != nil {
		return err
	}
	kept := subtract(s.ranges, subtract(area, snapshot.MergeRanges(stay, 0)))
	for _, r := range subtract(s.ranges, kept) {
		if i := s.p.FindRegion(r.Addr); i >= 0 {
			s.leave(r, &s.p.Regions[i], "largest private area (-mpx)")
		}
	}
	s.ranges = kept
	return nil
}

// largestArea returns the allocations of the largest area and how many bytes of
// it exist, or nothing if it is not large enough to be left out.
func (s *selector) largestArea() ([]snapshot.Range, uint64) {
	type area struct {
		ranges []snapshot.Range
		bytes  uint64
	}
	bySize := map[uint64]*area{}
	var cur snapshot.Range
	var curBytes uint64
	var curPath string
	flush := func() {
		if cur.Size > 0 {
			a := bySize[cur.Size]
			if a == nil {
				a = &area{}
				bySize[cur.Size] = a
			}
			a.ranges, a.bytes = append(a.ranges, cur), a.bytes+curBytes
		}
		cur, curBytes = snapshot.Range{}, 0
	}
	stacks := map[*snapshot.Region]bool{}
	for i := range s.p.Threads {
		stacks[stackRegion(s.p, s.p.Threads[i].Registers.SP())] = true
	}
	for i := range s.p.Regions {
		g := &s.p.Regions[i]
		if !g.Anonymous() || g.Path == "[heap]" || g.Path == "[vdso]" || g.Flags&snapshot.GrowsDown != 0 ||
			strings.HasPrefix(g.Path, "[stack") || excluded(g, s.o.DontDump) != "" || stacks[g] {
			flush()
			continue
		}
		if cur.Size == 0 || cur.End() != g.Addr || g.Path != curPath {
			flush()
			cur, curPath = snapshot.Range{Addr: g.Addr}, g.Path
		}
		cur.Size += g.Size
		curBytes += g.Resident + g.Swapped
	}
	flush()
	var best *area
	for _, a := range bySize {
		if a.bytes > largestMin && (best == nil || a.bytes > best.bytes || a.bytes == best.bytes && a.ranges[0].Addr < best.ranges[0].Addr) {
			best = a
		}
	}
	if best == nil {
		return nil, 0
	}
	return best.ranges, best.bytes
}

// chunksPointedAt returns the chunks of the area that registers and stack words
// point into, and the stacks that were left for alternate ones.
func (s *selector) chunksPointedAt(area []snapshot.Range) ([]snapshot.Range, error) {
	var out []snapshot.Range
	seen := map[uint64]bool{}
	add := func(v uint64) {
		if chunk := v / largestChunk; !seen[chunk] && inAny(area, v) {
			seen[chunk] = true
			out = append(out, snapshot.Range{Addr: chunk * largestChunk, Size: largestChunk})
		}
	}
	stacks, err := s.usedStacks()
	if err != nil {
		return nil, err
	}
	w := s.p.Machine().PointerSize()
	const keep = 0 // of the stacks, in RAM
	err = stacks.read(keep, func(th *snapshot.Thread, stack []byte) {
		for _, v := range th.Registers.Values() {
			add(v)
		}
		for b := stack; len(b) >= w && w > 0; b = b[w:] {
			add(word(b, w))
		}
	})
	for _, l := range stacks.left {
		out = append(out, l.region.Range)
	}
	return out, err
}
