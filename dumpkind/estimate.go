package dumpkind

import "procdump/snapshot"

// headEstimate is what a dump holds besides memory, in bytes.
const (
	headEstimate   = 64 << 10
	threadEstimate = 8 << 10
	stackEstimate  = 16 << 10
)

// Estimate returns about how many bytes of disk a dump will take, from the
// sizes in Regions. It reads no memory.
func Estimate(p *snapshot.Process, o Options) uint64 {
	total := uint64(headEstimate + threadEstimate*len(p.Threads))
	if o.Kind == Mini || o.Kind == Triage {
		// Stacks, what they point at, a header page and .dynamic of each module.
		return total + uint64(len(p.Threads))*2*stackEstimate + uint64(len(p.Modules))*3*4096
	}
	for i := range p.Regions {
		total += estimateRegion(&p.Regions[i], o)
	}
	return total
}

func estimateRegion(g *snapshot.Region, o Options) uint64 {
	if excluded(g, o.DontDump) != "" {
		return 0
	}
	shared := g.Perm&snapshot.Shared != 0
	switch {
	case g.Anonymous():
		if o.Kind == Custom && o.Mask&MaskAnonPrivate == 0 {
			return 0
		}
		return min(g.Size, g.Resident+g.Swapped)
	case o.Kind == Full || g.Deleted || shared && (g.Perm&snapshot.Write != 0 || volatilePath(g.Path)):
		if o.Kind == Custom && o.Mask&(MaskAnonShared|MaskFileShared|MaskFilePrivate) == 0 {
			return min(g.Size, g.Private+g.Swapped)
		}
		if volatilePath(g.Path) {
			return min(g.Size, g.Resident+g.Swapped)
		}
		return g.Size
	case o.Kind == Custom && o.Mask&MaskFilePrivate != 0:
		return g.Size
	}
	return min(g.Size, g.Private+g.Swapped+4096)
}
