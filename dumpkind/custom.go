package dumpkind

import "procdump/snapshot"

// Bits of Options.Mask, as in /proc/PID/coredump_filter (core(5)).
const (
	MaskAnonPrivate    = 1 << 0
	MaskAnonShared     = 1 << 1
	MaskFilePrivate    = 1 << 2
	MaskFileShared     = 1 << 3
	MaskELFHeaders     = 1 << 4
	MaskHugetlbPrivate = 1 << 5
	MaskHugetlbShared  = 1 << 6
	MaskDAXPrivate     = 1 << 7
	MaskDAXShared      = 1 << 8
)

// custom takes what the kernel would write into a core of a process with this
// coredump_filter (fs/coredump.c, vma_dump_size). Mappings of DAX files are
// taken by the bits of files: nothing in /proc tells them apart.
func (s *selector) custom(g *snapshot.Region) error {
	all := func(snapshot.Extent) bool { return true }
	has := func(bit uint32) bool { return s.o.Mask&bit != 0 }
	shared := g.Perm&snapshot.Shared != 0
	const why = "not in the mask"
	switch {
	case g.Path == "[vdso]":
		s.ranges = append(s.ranges, g.Range)
		return nil
	case g.Flags&snapshot.HugeTLB != 0:
		if has(MaskHugetlbPrivate) && !shared || has(MaskHugetlbShared) && shared {
			return s.existing(g, all, "never touched")
		}
	case shared:
		if has(MaskAnonShared) && (g.Deleted || volatilePath(g.Path)) || has(MaskFileShared) && !g.Deleted {
			return s.existing(g, all, "not in memory and not readable from its file")
		}
	case g.Anonymous():
		if has(MaskAnonPrivate) {
			return s.anonymous(g)
		}
	default:
		return s.customFile(g, has)
	}
	s.leave(g.Range, g, why)
	return nil
}

// customFile takes a private file mapping.
func (s *selector) customFile(g *snapshot.Region, has func(uint32) bool) error {
	all := func(snapshot.Extent) bool { return true }
	changed := false
	if has(MaskAnonPrivate) && !has(MaskFilePrivate) {
		if err := s.walk(g.Range, func(x snapshot.Extent) { changed = changed || x.Anonymous() }); err != nil {
			return err
		}
	}
	if changed || has(MaskFilePrivate) {
		return s.existing(g, all, "not in memory and not readable from its file")
	}
	if has(MaskELFHeaders) && g.Offset == 0 && g.Flags&snapshot.Image != 0 {
		head := snapshot.Range{Addr: g.Addr, Size: min(s.page, g.Size)}
		s.ranges = append(s.ranges, head)
		s.leave(snapshot.Range{Addr: head.End(), Size: g.End() - head.End()}, g, "not in the mask")
		return nil
	}
	s.leave(g.Range, g, "not in the mask")
	return nil
}
