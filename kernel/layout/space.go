package layout

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
)

// UnmappedError says that a virtual address has no memory behind it.
type UnmappedError struct {
	Addr uint64
	// Level is the level of the page table that ends the walk: 1 is the table
	// of pages, 5 the highest. 0 means an address outside the address space.
	Level int
	// Span is the number of bytes from Addr on that the absent entry covers.
	Span uint64
}

func (e *UnmappedError) Error() string {
	return fmt.Sprintf("layout: virtual address %#x is not mapped (page table level %d)", e.Addr, e.Level)
}

// linear is a range of virtual addresses that is mapped to one range of
// physical addresses, so that no page table need be read.
type linear struct {
	virt, size, phys uint64
}

// entry is a page table entry, taken apart.
type entry struct {
	addr    uint64 // physical address of the next table or of the page
	present bool
	leaf    bool
}

// mmu is what differs from machine to machine in the translation of addresses.
type mmu struct {
	pageShift uint
	levels    int
	topBits   uint // bits of the address that index the topmost table
	decode    func(e uint64, level int) entry
	// canonical undoes tags in the upper bits of a pointer.
	canonical func(va uint64) uint64
}

// indexBits is the number of address bits that one table resolves.
func (m *mmu) indexBits() uint { return m.pageShift - 3 }

// shift is the number of address bits below those that index a level's table.
func (m *mmu) shift(level int) uint { return m.pageShift + uint(level-1)*m.indexBits() }

// index is the number of the entry for va in a table of this level.
func (m *mmu) index(va uint64, level int) uint64 {
	bits := m.indexBits()
	if level == m.levels {
		bits = m.topBits
	}
	return va >> m.shift(level) & (1<<bits - 1)
}

// tableChunk is the piece of a page table that is read at once, in bytes.
const tableChunk = 4096

// tableSlots is the number of pieces of page tables that are kept.
const tableSlots = 64

type tableSlot struct {
	addr  uint64
	valid bool
	data  [tableChunk]byte
}

// Space is the kernel's virtual memory. It is not safe for concurrent use.
type Space struct {
	mem     Memory
	mmu     mmu
	root    uint64 // physical address of the kernel's topmost page table
	linears []linear
	// segments are what the dump's headers say of virtual addresses.
	segments []linear
	direct   linear // the direct map; size 0 if unknown
	pacMask  uint64
	// maxTables bounds the page tables that a walk reads: there cannot be more
	// than pages of memory.
	maxTables uint64
	tables    [tableSlots]tableSlot
}

// PageSize is the size of a page in bytes.
func (s *Space) PageSize() uint64 { return 1 << s.mmu.pageShift }

// Phys is the physical memory below.
func (s *Space) Phys() Memory { return s.mem }

// DirectMap returns the virtual address of physical address 0 in the kernel's
// map of all memory; ok is false if it could not be found. On arm64 that is a
// computed address: memory begins higher up.
func (s *Space) DirectMap() (virt uint64, ok bool) {
	return s.direct.virt - s.direct.phys, s.direct.size != 0
}

// Refresh forgets the page tables that were read. Whoever reads a running
// kernel calls it before reading again what may have moved.
func (s *Space) Refresh() {
	for i := range s.tables {
		s.tables[i].valid = false
	}
}

// StripPAC clears the pointer authentication code (arm64) of a return address
// of the kernel.
func (s *Space) StripPAC(addr uint64) uint64 { return addr | s.pacMask }

// Translate returns the physical address of va, and for how many bytes from
// there on the mapping is contiguous.
func (s *Space) Translate(va uint64) (phys, run uint64, err error) {
	va = s.mmu.canonical(va)
	for _, l := range s.linears {
		if va-l.virt < l.size {
			return l.phys + (va - l.virt), l.size - (va - l.virt), nil
		}
	}
	phys, run, err = s.TranslateIn(s.root, va)
	if err != nil {
		return s.bySegment(va, err)
	}
	return phys, run, nil
}

// TranslateIn translates with the page table at the physical address root,
// such as that of a process.
func (s *Space) TranslateIn(root, va uint64) (phys, run uint64, err error) {
	table := root
	for level := s.mmu.levels; ; level-- {
		raw, err := s.tableEntry(table + s.mmu.index(va, level)*8)
		if err != nil {
			return 0, 0, fmt.Errorf("translate %#x: read page table level %d: %w", va, level, err)
		}
		e := s.mmu.decode(raw, level)
		size := uint64(1) << s.mmu.shift(level)
		within := va & (size - 1)
		switch {
		case !e.present:
			return 0, 0, &UnmappedError{Addr: va, Level: level, Span: size - within}
		case e.leaf || level == 1:
			return e.addr&^(size-1) | within, size - within, nil
		}
		table = e.addr
	}
}

// tableEntry reads one entry, through a cache of the pieces read last.
func (s *Space) tableEntry(addr uint64) (uint64, error) {
	chunk := addr &^ (tableChunk - 1)
	slot := &s.tables[chunk/tableChunk%tableSlots]
	if !slot.valid || slot.addr != chunk {
		slot.valid = false
		if _, err := s.mem.ReadPhys(slot.data[:], chunk); err != nil {
			var b [8]byte
			if _, err := s.mem.ReadPhys(b[:], addr); err != nil {
				return 0, err
			}
			return binary.LittleEndian.Uint64(b[:]), nil
		}
		slot.addr, slot.valid = chunk, true
	}
	return binary.LittleEndian.Uint64(slot.data[addr-chunk:]), nil
}

// ReadVirt reads len(b) bytes at the virtual address va. It returns the number
// of bytes read before the first that cannot be had, and why.
func (s *Space) ReadVirt(b []byte, va uint64) (n int, err error) {
	for n < len(b) {
		phys, run, err := s.Translate(va + uint64(n))
		if err != nil {
			return n, err
		}
		want := uint64(len(b) - n)
		if run < want {
			want = run
		}
		got, err := s.mem.ReadPhys(b[n:n+int(want)], phys)
		n += got
		if err != nil {
			return n, fmt.Errorf("read virtual address %#x: %w", va+uint64(got), err)
		}
	}
	return n, nil
}

// Bytes reads n bytes at va. More than 256 MiB are refused, for n often comes
// from damaged memory.
func (s *Space) Bytes(va, n uint64) ([]byte, error) {
	const limit = 256 << 20
	if n > limit {
		return nil, fmt.Errorf("layout: read of %d bytes at %#x: implausible length", n, va)
	}
	// What is longer than any table grows with what can be read, so that a
	// false length costs little.
	const step, usual = 1 << 20, 16 << 20
	b := make([]byte, 0, min(n, usual))
	for uint64(len(b)) < n {
		at := len(b)
		want := int(min(n-uint64(at), step))
		b = slices.Grow(b, want)[:at+want]
		if _, err := s.ReadVirt(b[at:], va+uint64(at)); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// Uint reads an unsigned integer of size bytes: 1, 2, 4 or 8.
func (s *Space) Uint(va, size uint64) (uint64, error) {
	var b [8]byte
	if size != 1 && size != 2 && size != 4 && size != 8 {
		return 0, fmt.Errorf("layout: integer of %d bytes at %#x", size, va)
	}
	if _, err := s.ReadVirt(b[:size], va); err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(b[:]), nil
}

// Uint64 reads a word at va, such as a pointer.
func (s *Space) Uint64(va uint64) (uint64, error) { return s.Uint(va, 8) }

// Uint32 reads 32 bits at va.
func (s *Space) Uint32(va uint64) (uint32, error) {
	v, err := s.Uint(va, 4)
	return uint32(v), err
}

// String reads a string that ends with a NUL byte or after limit bytes.
func (s *Space) String(va uint64, limit int) (string, error) {
	var out []byte
	for len(out) < limit {
		// Pieces that stay within a block of 64 bytes: the string's end may
		// lie just before memory that is not there.
		var piece [64]byte
		n := min(int(64-(va+uint64(len(out)))%64), limit-len(out))
		if _, err := s.ReadVirt(piece[:n], va+uint64(len(out))); err != nil {
			return string(out), err
		}
		if end := bytes.IndexByte(piece[:n], 0); end >= 0 {
			return string(append(out, piece[:end]...)), nil
		}
		out = append(out, piece[:n]...)
	}
	return string(out), nil
}
