package dumpkind

import "procdump/snapshot"

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
// sizes in Regions. It reads no memory.
func Estimate(p *snapshot.Process, o Options) uint64 {
	total := uint64(headEstimate + threadEstimate*len(p.Threads))
	if o.Kind == Mini || o.Kind == Triage {
		// Stacks, what they point at, a header page and .dynamic of each module.
		return total + min(uint64(len(p.Threads))*2*stackEstimate, stackBudget+pointedBudget) + uint64(len(p.Modules))*3*4096
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
