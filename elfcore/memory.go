package elfcore

import (
	"cmp"
	"debug/elf"
	"fmt"
	"io"
	"slices"

	"procdump/snapshot"
)

// memory is the memory that a core holds. It implements snapshot.Memory.
type memory struct {
	r      io.ReaderAt
	pieces []snapshot.Placement // ascending, not overlapping
	cut    uint64               // bytes that lie beyond the file's end
}

// newMemory collects the parts of PT_LOADs that are in a file of size bytes.
// Where damaged segments overlap, the one that begins first counts.
func newMemory(r io.ReaderAt, size int64, progs []elf.ProgHeader) *memory {
	m := &memory{r: r}
	var pieces []snapshot.Placement
	for _, ph := range progs {
		n := min(ph.Filesz, ph.Memsz, ^uint64(0)-ph.Vaddr)
		if ph.Type != elf.PT_LOAD || n == 0 {
			continue
		}
		var have uint64
		if ph.Off < uint64(size) {
			have = min(n, uint64(size)-ph.Off)
		}
		if m.cut += n - have; m.cut < n-have {
			m.cut = ^uint64(0)
		}
		if have > 0 {
			pieces = append(pieces, snapshot.Placement{Range: snapshot.Range{Addr: ph.Vaddr, Size: have}, Off: int64(ph.Off)})
		}
	}
	slices.SortStableFunc(pieces, func(a, b snapshot.Placement) int { return cmp.Compare(a.Addr, b.Addr) })
	for _, p := range pieces {
		n := len(m.pieces)
		if n == 0 {
			m.pieces = append(m.pieces, p)
			continue
		}
		last := &m.pieces[n-1]
		if p.Addr < last.End() {
			if p.End() <= last.End() {
				continue
			}
			skip := last.End() - p.Addr
			p.Addr, p.Size, p.Off = p.Addr+skip, p.Size-skip, p.Off+int64(skip)
		}
		if p.Addr == last.End() && p.Off == last.Off+int64(last.Size) {
			last.Size += p.Size
			continue
		}
		m.pieces = append(m.pieces, p)
	}
	return m
}

// find returns the index of the first piece that ends after addr.
func (m *memory) find(addr uint64) int {
	i, _ := slices.BinarySearchFunc(m.pieces, addr, func(p snapshot.Placement, addr uint64) int {
		if p.End() <= addr {
			return -1
		}
		return 1
	})
	return i
}

// ReadMemory implements snapshot.Memory. Memory that the core does not hold is
// a snapshot.MemoryError caused by snapshot.ErrNotMapped.
func (m *memory) ReadMemory(p []byte, addr uint64) (int, error) {
	total := 0
	for i := m.find(addr); total < len(p); i++ {
		at := addr + uint64(total)
		if i == len(m.pieces) || !m.pieces[i].Contains(at) {
			return total, &snapshot.MemoryError{Addr: at, Err: snapshot.ErrNotMapped}
		}
		piece := m.pieces[i]
		want := int(min(uint64(len(p)-total), piece.End()-at))
		n, err := readAt(m.r, p[total:total+want], piece.Off+int64(at-piece.Addr))
		total += n
		if err == nil && n < want {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return total, &snapshot.MemoryError{Addr: addr + uint64(total), Err: fmt.Errorf("read core: %w", err)}
		}
	}
	return total, nil
}

// Extents implements snapshot.Memory: it lists what the core holds of r. A core
// does not say whether a page is that of a file or was changed, so all of them
// count as memory that exists nowhere else.
func (m *memory) Extents(r snapshot.Range) ([]snapshot.Extent, error) {
	var out []snapshot.Extent
	for i := m.find(r.Addr); i < len(m.pieces) && m.pieces[i].Addr < r.End(); i++ {
		if c := m.pieces[i].Intersect(r); c.Size > 0 {
			out = append(out, snapshot.Extent{Range: c, Kind: snapshot.ExtentPresent})
		}
	}
	return out, nil
}
