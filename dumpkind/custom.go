package dumpkind

import (
	"debug/elf"

	"procdump/snapshot"
)

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

const notInMask = "not in the mask"

type mask uint32

// takes tells whether the mask takes a region that is not a private mapping of
// a file. Mappings of DAX files are taken by the bits of files: nothing in
// /proc tells them apart.
func (m mask) takes(g *snapshot.Region) bool {
	shared := g.Perm&snapshot.Shared != 0
	switch {
	case g.Flags&snapshot.HugeTLB != 0 && shared:
		return m.has(MaskHugetlbShared)
	case g.Flags&snapshot.HugeTLB != 0:
		return m.has(MaskHugetlbPrivate)
	case shared && (g.Deleted || nameless(g.Path)): // the kernel's test is that no link is left
		return m.has(MaskAnonShared)
	case shared:
		return m.has(MaskFileShared)
	}
	return m.has(MaskAnonPrivate)
}

func (m mask) has(bit mask) bool { return m&bit != 0 }

// custom takes what the kernel would write into a core of a process with this
// coredump_filter (fs/coredump.c, vma_dump_size).
func (s *selector) custom(g *snapshot.Region) error {
	switch {
	case g.Path == "[vdso]":
		return s.existing(g.Range, g, all, absent)
	case g.Flags&snapshot.HugeTLB == 0 && g.Perm&snapshot.Shared == 0 && !g.Anonymous():
		return s.customFile(g)
	case !mask(s.o.Mask).takes(g):
		s.leave(g.Range, g, notInMask)
		return nil
	case g.Flags&snapshot.HugeTLB != 0:
		return s.existing(g.Range, g, all, untouched)
	case g.Perm&snapshot.Shared != 0:
		return s.existing(g.Range, g, all, absent)
	}
	return s.anonymous(g)
}

// customFile takes a private file mapping: all of it where the process has
// changed a page, as the kernel does.
func (s *selector) customFile(g *snapshot.Region) error {
	changed := false
	if mask(s.o.Mask).has(MaskAnonPrivate) && !mask(s.o.Mask).has(MaskFilePrivate) {
		if err := s.walk(g.Range, func(x snapshot.Extent) { changed = changed || x.Anonymous() }); err != nil {
			return err
		}
	}
	if changed || mask(s.o.Mask).has(MaskFilePrivate) {
		return s.existing(g.Range, g, all, absent)
	}
	rest := g.Range
	if mask(s.o.Mask).has(MaskELFHeaders) && g.Offset == 0 && s.beginsELF(g) {
		head := snapshot.Range{Addr: g.Addr, Size: min(s.page, g.Size)}
		s.take(head)
		rest = snapshot.Range{Addr: head.End(), Size: g.Size - head.Size}
	}
	s.leave(rest, g, notInMask)
	return nil
}

// beginsELF tells whether a readable region begins with an ELF header.
func (s *selector) beginsELF(g *snapshot.Region) bool {
	magic := make([]byte, len(elf.ELFMAG))
	if g.Perm&snapshot.Read == 0 {
		return false
	}
	_, err := s.p.Memory.ReadMemory(magic, g.Addr)
	return err == nil && string(magic) == elf.ELFMAG
}
