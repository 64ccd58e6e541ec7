package layout

import (
	"cmp"
	"errors"
	"slices"

	"procdump/kdump"
)

// setSegments takes what a dump says of its virtual addresses. It counts where
// page tables are not in the dump, as in a small one.
func (s *Space) setSegments(segments []kdump.Segment) {
	for _, p := range segments {
		if p.PhysAddr != kdump.NoPhysAddr && int64(p.VirtAddr) < 0 && p.MemSize > 0 && p.VirtAddr+p.MemSize-1 > p.VirtAddr {
			s.segments = append(s.segments, linear{virt: p.VirtAddr, size: p.MemSize, phys: p.PhysAddr})
		}
	}
	slices.SortStableFunc(s.segments, func(a, b linear) int { return cmp.Compare(a.virt, b.virt) })
}

// bySegment translates an address whose translation by page tables has failed.
func (s *Space) bySegment(va uint64, failed error) (phys, run uint64, err error) {
	if unmapped := new(UnmappedError); errors.As(failed, &unmapped) {
		return 0, 0, failed
	}
	i, found := slices.BinarySearchFunc(s.segments, va, func(l linear, va uint64) int { return cmp.Compare(l.virt, va) })
	if !found {
		i--
	}
	if i < 0 || va-s.segments[i].virt >= s.segments[i].size {
		return 0, 0, failed
	}
	l := s.segments[i]
	return l.phys + (va - l.virt), l.size - (va - l.virt), nil
}
