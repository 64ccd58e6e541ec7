package layout

import "errors"

// Mapping is a range of virtual addresses that a page table maps to contiguous
// physical memory.
type Mapping struct {
	Virt, Phys, Size uint64
}

// errStop ends a walk early without an error.
var errStop = errors.New("stop")

// Walk calls f for every mapping between the virtual addresses from and to
// (not included) of the page table at the physical address root, in ascending
// order, until f returns false. Tables that cannot be read count as empty, and
// the first error of that kind is returned at the end.
func (s *Space) Walk(root, from, to uint64, f func(Mapping) bool) error {
	w := walker{space: s, from: from, to: to, f: f, tables: s.maxTables}
	err := w.table(root, s.mmu.levels, from)
	if err == nil {
		err = w.unread
	}
	if errors.Is(err, errStop) {
		return nil
	}
	return err
}

type walker struct {
	space    *Space
	from, to uint64
	f        func(Mapping) bool
	unread   error
	tables   uint64 // that may still be read
}

// errTables says that page tables form a loop.
var errTables = errors.New("layout: more page tables than there is memory: implausible")

// table walks the entries of one table from the virtual address va on.
func (w *walker) table(table uint64, level int, va uint64) error {
	if w.tables == 0 {
		return errTables
	}
	w.tables--
	m := &w.space.mmu
	size := uint64(1) << m.shift(level)
	bits := m.indexBits()
	if level == m.levels {
		bits = m.topBits
	}
	for i := m.index(va, level); i < 1<<bits; i++ {
		if va >= w.to {
			return nil
		}
		base := va &^ (size - 1)
		raw, err := w.space.tableEntry(table + i*8)
		if err != nil {
			if w.unread == nil {
				w.unread = err
			}
			// The rest of the piece that cannot be read would fail as well.
			return nil
		}
		e := m.decode(raw, level)
		switch {
		case !e.present:
		case e.leaf || level == 1:
			if err := w.leaf(base, e.addr&^(size-1), size); err != nil {
				return err
			}
		default:
			if err := w.table(e.addr, level-1, va); err != nil {
				return err
			}
		}
		if base+size < base { // the end of the address space
			return nil
		}
		va = base + size
	}
	return nil
}

// leaf reports a page, cut to the range asked for.
func (w *walker) leaf(virt, phys, size uint64) error {
	if virt < w.from {
		cut := w.from - virt
		virt, phys, size = virt+cut, phys+cut, size-cut
	}
	if size > w.to-virt {
		size = w.to - virt
	}
	if !w.f(Mapping{Virt: virt, Phys: phys, Size: size}) {
		return errStop
	}
	return nil
}
