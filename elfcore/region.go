package elfcore

import (
	"cmp"
	"debug/elf"
	"slices"
	"strings"

	"procdump/snapshot"
)

// joinRegions makes regions of a core's PT_LOADs and mapped files. It also
// returns those that have no PT_LOAD and therefore no permissions.
func joinRegions(progs []elf.ProgHeader, mapped []MappedFile) (all, fileOnly []snapshot.Region) {
	var loads, files []snapshot.Region
	for _, ph := range progs {
		if ph.Type != elf.PT_LOAD {
			continue
		}
		loads = append(loads, snapshot.Region{Perm: permOf(ph.Flags),
			Range: snapshot.Range{Addr: ph.Vaddr, Size: min(ph.Memsz, ^uint64(0)-ph.Vaddr)}})
	}
	for _, f := range mapped {
		path, deleted := strings.CutSuffix(f.Path, deletedSuffix)
		files = append(files, snapshot.Region{Range: f.Range, Offset: f.Offset, Path: path, Deleted: deleted})
	}
	loads, files = disjoint(loads), disjoint(files)

	var out []snapshot.Region
	j := 0
	for _, l := range loads {
		for addr := l.Addr; addr < l.End(); {
			for j < len(files) && files[j].End() <= addr {
				j++
			}
			part := snapshot.Region{Range: snapshot.Range{Addr: addr, Size: l.End() - addr}, Perm: l.Perm}
			if j < len(files) && files[j].Addr <= addr {
				f := &files[j]
				part.Size = min(part.Size, f.End()-addr)
				part.Offset, part.Path, part.Deleted = f.Offset+addr-f.Addr, f.Path, f.Deleted
			} else if j < len(files) && files[j].Addr < l.End() {
				part.Size = files[j].Addr - addr
			}
			out = append(out, part)
			addr = part.End()
		}
	}
	fileOnly = uncovered(files, loads)
	out = append(out, fileOnly...)
	slices.SortFunc(out, func(a, b snapshot.Region) int { return cmp.Compare(a.Addr, b.Addr) })
	return out, fileOnly
}

// uncovered returns the parts of files that lie in no load.
func uncovered(files, loads []snapshot.Region) []snapshot.Region {
	var out []snapshot.Region
	k := 0
	for _, f := range files {
		for addr := f.Addr; addr < f.End(); {
			for k < len(loads) && loads[k].End() <= addr {
				k++
			}
			if k < len(loads) && loads[k].Addr <= addr {
				addr = loads[k].End()
				continue
			}
			end := f.End()
			if k < len(loads) {
				end = min(end, loads[k].Addr)
			}
			part := f
			part.Range, part.Offset = snapshot.Range{Addr: addr, Size: end - addr}, f.Offset+addr-f.Addr
			out = append(out, part)
			addr = end
		}
	}
	return out
}

// disjoint sorts regions by address and drops what is empty, passes the end of
// memory or overlaps the region before.
func disjoint(rs []snapshot.Region) []snapshot.Region {
	slices.SortStableFunc(rs, func(a, b snapshot.Region) int { return cmp.Compare(a.Addr, b.Addr) })
	out := rs[:0]
	var end uint64
	for _, r := range rs {
		if r.Size == 0 || r.End() <= r.Addr || r.End() <= end {
			continue
		}
		if r.Addr < end {
			r.Offset += end - r.Addr
			r.Range = snapshot.Range{Addr: end, Size: r.End() - end}
		}
		out = append(out, r)
		end = r.End()
	}
	return out
}

// nameRegions names those regions without a file that the auxiliary vector
// points at.
func nameRegions(p *snapshot.Process, aux map[uint64]uint64) {
	name := func(tag uint64, name string) {
		if addr, ok := aux[tag]; ok {
			if i := p.FindRegion(addr); i >= 0 && p.Regions[i].Path == "" {
				p.Regions[i].Path = name
			}
		}
	}
	name(atSysinfoEhdr, "[vdso]")
	name(atRandom, "[stack]")
}
