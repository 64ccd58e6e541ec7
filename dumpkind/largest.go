package dumpkind

import (
	"slices"

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
	area := s.largestArea()
	if area == nil {
		return nil
	}
	stacks := s.stacks()
	img, _, err := snapshot.CopyMemory(s.p.Memory, stacks)
	if err != nil {
		return err
	}
	used := s.chunksPointedAt(img)
	var drop []snapshot.Range
	for _, r := range area {
		for at := r.Addr; at < r.End(); {
			end := min(r.End(), (at/largestChunk+1)*largestChunk)
			if !used[at/largestChunk] {
				drop = append(drop, snapshot.Range{Addr: at, Size: end - at})
			}
			at = end
		}
	}
	drop = snapshot.MergeRanges(drop, 0)
	s.ranges = subtract(snapshot.MergeRanges(s.ranges, 0), drop)
	for _, r := range drop {
		if i := s.p.FindRegion(r.Addr); i >= 0 {
			s.leave(r, &s.p.Regions[i], "largest private area (-mpx)")
		}
	}
	return nil
}

// largestArea returns the allocations of the largest area, or nil if it is not
// large enough to be left out.
func (s *selector) largestArea() []snapshot.Range {
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
	for i := range s.p.Regions {
		g := &s.p.Regions[i]
		if !g.Anonymous() || g.Path == "[heap]" || g.Path == "[stack]" || g.Path == "[vdso]" || s.holdsStack(g) {
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
		if a.bytes > largestMin && (best == nil || a.bytes > best.bytes) {
			best = a
		}
	}
	if best == nil {
		return nil
	}
	return best.ranges
}

func (s *selector) holdsStack(g *snapshot.Region) bool {
	return slices.ContainsFunc(s.p.Threads, func(t snapshot.Thread) bool { return g.Contains(t.Registers.SP()) })
}

// chunksPointedAt returns the chunks that registers and stack words point into.
func (s *selector) chunksPointedAt(img *snapshot.MemoryImage) map[uint64]bool {
	out := map[uint64]bool{}
	w := s.p.Machine().PointerSize()
	for i := range s.p.Threads {
		th := &s.p.Threads[i]
		for _, v := range th.Registers.Values() {
			out[v/largestChunk] = true
		}
		for b := stackBytes(img, th); len(b) >= w && w > 0; b = b[w:] {
			out[word(b, w)/largestChunk] = true
		}
	}
	return out
}
