package dumpkind

import (
	"slices"

	"procdump/snapshot"
)

// headEstimate is what a dump holds besides memory, in bytes.
const (
	headEstimate   = 64 << 10
	threadEstimate = 8 << 10
	stackEstimate  = 16 << 10
	// fileEstimate bounds what a file is believed to hold that is mapped but
	// not in memory: databases map far more than their files' size.
	fileEstimate = 1 << 30
)

// Estimate returns about how many bytes of disk a dump will take, from the
// sizes in Regions, and of a dump from what it holds. It reads no memory.
func Estimate(p *snapshot.Process, o Options) uint64 {
	total := uint64(headEstimate + threadEstimate*len(p.Threads))
	if o.Kind == Mini || o.Kind == Triage {
		// Stacks, what they point at, a header page and .dynamic of each module.
		return total + min(uint64(len(p.Threads))*2*stackEstimate, stackBudget+pointedBudget) + uint64(len(p.Modules))*3*4096
	}
	if o.Dump {
		return total + estimateDump(p)
	}
	for i := range p.Regions {
		total += estimateRegion(&p.Regions[i], o)
	}
	if o.Kind == MiniPlus && o.DropLargest {
		s := selector{p: p, o: o}
		_, size := s.largestArea()
		total -= min(total, size)
	}
	return total
}

// estimateDump is what a dump holds, holes in it as far as its regions tell.
func estimateDump(p *snapshot.Process) (n uint64) {
	if p.Memory == nil {
		return 0
	}
	xs, err := p.Memory.Extents(snapshot.Range{Size: ^uint64(0)})
	if err != nil {
		return 0
	}
	known := slices.ContainsFunc(p.Regions, func(g snapshot.Region) bool { return g.Resident > 0 })
	for _, x := range xs {
		for x.Size > 0 {
			part, exists := x.Size, x.Size
			if i := firstAfter(p, x.Addr); i < len(p.Regions) {
				g := &p.Regions[i]
				if !g.Contains(x.Addr) {
					part = min(part, g.Addr-x.Addr)
				} else if part = min(part, g.End()-x.Addr); known && g.Anonymous() {
					exists = g.Resident + g.Swapped
				}
			}
			n += min(part, exists)
			x.Addr, x.Size = x.Addr+part, x.Size-part
		}
	}
	return n
}

func estimateRegion(g *snapshot.Region, o Options) uint64 {
	inRAM := min(g.Size, g.Resident+g.Swapped)
	whole := inRAM
	if g.Inode != 0 && !volatilePath(g.Path) {
		whole = min(g.Size, max(inRAM, fileEstimate))
	}
	changed := min(g.Size, g.Private+g.Swapped+4096)
	switch {
	case excluded(g, o.DontDump) != "":
		return 0
	case o.Kind == Custom:
		return estimateCustom(g, mask(o.Mask), whole, changed)
	case g.Anonymous() || o.Kind == Full || lost(g):
		return whole
	}
	return changed
}

func estimateCustom(g *snapshot.Region, m mask, whole, changed uint64) uint64 {
	switch {
	case g.Flags&snapshot.HugeTLB != 0 || g.Perm&snapshot.Shared != 0 || g.Anonymous():
		if m.takes(g) {
			return whole
		}
		return 0
	case m.has(MaskFilePrivate) || m.has(MaskAnonPrivate) && g.Private+g.Swapped > 0:
		return whole
	}
	return min(changed, 4096)
}
