package elfcore

import (
	"debug/elf"
	"fmt"
	"strings"

	"procdump/snapshot"
)

// segment is a PT_LOAD to be written.
type segment struct {
	snapshot.Range
	flags elf.ProgFlag
	held  bool  // the file holds all of it; else nothing
	off   int64 // file offset
}

// planner cuts regions into segments.
type planner struct {
	ranges []snapshot.Range // to be held, ascending, apart
	next   int              // first of ranges that may lie at or after the current address
	segs   []segment
	last   *snapshot.Region // region of the last segment, nil: none
}

// planSegments covers all regions, and the ranges outside any region, with
// segments. It holds nothing of regions at or above limit, which it leaves out.
func planSegments(regions []snapshot.Region, ranges []snapshot.Range, limit uint64) []segment {
	// A range may cut a region into three, but most regions are in one piece.
	pl := planner{ranges: ranges, segs: make([]segment, 0, len(regions)+2*len(ranges))}
	var end uint64
	for i := range regions {
		r := &regions[i]
		if r.End() > limit {
			break
		}
		pl.cover(snapshot.Range{Addr: end, Size: r.Addr - end}, nil)
		pl.cover(r.Range, r)
		end = r.End()
	}
	pl.cover(snapshot.Range{Addr: end, Size: ^uint64(0) - end}, nil)
	return pl.segs
}

// cover adds segments for span, which belongs to region; without a region only
// for what is to be held.
func (pl *planner) cover(span snapshot.Range, region *snapshot.Region) {
	for addr := span.Addr; addr < span.End(); {
		for pl.next < len(pl.ranges) && pl.ranges[pl.next].End() <= addr {
			pl.next++
		}
		end, held := span.End(), false
		if pl.next < len(pl.ranges) {
			if r := pl.ranges[pl.next]; r.Addr <= addr {
				end, held = min(end, r.End()), true
			} else {
				end = min(end, r.Addr)
			}
		}
		if held || region != nil {
			pl.add(snapshot.Range{Addr: addr, Size: end - addr}, region, held)
		}
		addr = end
	}
}

func (pl *planner) add(r snapshot.Range, region *snapshot.Region, held bool) {
	flags := elf.PF_R | elf.PF_W
	if region != nil {
		flags = progFlags(region.Perm)
	}
	if n := len(pl.segs); n > 0 && held {
		s := &pl.segs[n-1]
		if s.held && s.flags == flags && s.End() == r.Addr && mergeable(pl.last, region) {
			s.Size += r.Size
			pl.last = region
			return
		}
	}
	pl.segs = append(pl.segs, segment{Range: r, flags: flags, held: held})
	pl.last = region
}

// mergeable tells whether neighbouring segments of two regions may be one.
// Readers that look for ELF images at the beginning of segments (elfutils) must
// find the start of each file's mapping there.
func mergeable(a, b *snapshot.Region) bool {
	if plain(a) && plain(b) {
		return true
	}
	return a != nil && b != nil && isFile(a) && isFile(b) &&
		a.Path == b.Path && a.Dev == b.Dev && a.Inode == b.Inode && a.Offset+a.Size == b.Offset
}

// plain tells whether a region is just memory.
func plain(r *snapshot.Region) bool {
	return r == nil || r.Anonymous() && (r.Path == "" || r.Path == "[heap]" ||
		strings.HasPrefix(r.Path, "[stack") || strings.HasPrefix(r.Path, "[anon"))
}

// isFile tells whether a region has a file's path.
func isFile(r *snapshot.Region) bool { return r.Path != "" && r.Path[0] != '[' }

func progFlags(p snapshot.Perm) elf.ProgFlag {
	var f elf.ProgFlag
	if p&snapshot.Read != 0 {
		f |= elf.PF_R
	}
	if p&snapshot.Write != 0 {
		f |= elf.PF_W
	}
	if p&snapshot.Execute != 0 {
		f |= elf.PF_X
	}
	return f
}

func permOf(f elf.ProgFlag) snapshot.Perm {
	var p snapshot.Perm
	if f&elf.PF_R != 0 {
		p |= snapshot.Read
	}
	if f&elf.PF_W != 0 {
		p |= snapshot.Write
	}
	if f&elf.PF_X != 0 {
		p |= snapshot.Execute
	}
	return p
}

// checkAscending checks the order of regions or ranges that a caller hands in.
// With a page size, addresses and sizes must be multiples of it.
func checkAscending(what string, n int, at func(int) snapshot.Range, page uint64) error {
	var end uint64
	for i := range n {
		r := at(i)
		switch {
		case r.Size == 0 || r.End() <= r.Addr:
			return fmt.Errorf("lay out core: %s %d (%v) is empty or passes the end of memory", what, i, r)
		case r.Addr < end:
			return fmt.Errorf("lay out core: %s %d (%v) begins before the end of the one before it", what, i, r)
		case page != 0 && (r.Addr|r.Size)&(page-1) != 0:
			return fmt.Errorf("lay out core: %s %d (%v) does not consist of pages", what, i, r)
		}
		end = r.End()
	}
	return nil
}
