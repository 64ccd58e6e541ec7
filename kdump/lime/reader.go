package lime

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"slices"
	"sort"

	"procdump/kdump"
	"procdump/kdump/internal/cache"
)

// extent is a range of memory. The stream of a compressed one is indexed.
type extent struct {
	addr, size uint64
	held       uint64  // the first bytes of it that are in the file
	off        int64   // of the contents in the file
	index      []point // nil if they are not compressed
}

// memory is the physical memory in an image.
type memory struct {
	r       io.ReaderAt
	extents []extent    // in ascending order, disjoint
	runs    []kdump.Run // RAM
	held    []kdump.Run // of it, what is in the file
	chunks  *cache.Blocks
}

// Open reads the headers of all ranges and, if they are compressed, of all
// frames, of which it keeps one per MiB of memory. A file that is cut off
// gives an incomplete dump. r must stay open as long as the dump is used.
func Open(r io.ReaderAt, size int64) (*kdump.Dump, error) {
	m := &memory{r: r, chunks: cache.New(chunkCache)}
	d := &kdump.Dump{Format: "LiME", PageSize: defaultPageSize, Memory: m}
	head := make([]byte, headerSize)
	if size == 0 {
		return nil, kdump.ErrFormat
	}
	for off := int64(0); off < size; {
		n, err := r.ReadAt(head, off)
		if n < headerSize && err != io.EOF {
			return nil, fmt.Errorf("read range header: %w", err)
		}
		if off == 0 && !Match(head[:n]) {
			return nil, kdump.ErrFormat
		}
		if n < headerSize || !Match(head) {
			// What follows the ranges of a whole image is nothing; in one that
			// was damaged, what precedes the damage is of use.
			d.Incomplete = true
			break
		}
		e, next, err := m.extent(head, off, size)
		if err != nil {
			return nil, err
		}
		if e.index != nil {
			d.Format = "AVML"
		}
		if len(m.extents) == maxRanges {
			return nil, bad(d.Format, off, "more than %d ranges", maxRanges)
		}
		if e.size > 0 {
			m.extents = append(m.extents, e)
		}
		d.Incomplete = d.Incomplete || next > size
		off = next
	}
	if err := m.arrange(d.Format); err != nil {
		return nil, err
	}
	d.Runs = m.runs
	return d, nil
}

// extent reads what follows a range header, and returns the file offset behind
// the range. Of a compressed range that is cut off it keeps what is there.
func (m *memory) extent(head []byte, off, size int64) (e extent, next int64, err error) {
	le := binary.LittleEndian
	first, last := le.Uint64(head[8:]), le.Uint64(head[16:])
	if last < first || last >= kdump.MaxPhysAddr {
		return e, 0, bad("LiME", off, "range from %#x to %#x", first, last)
	}
	e = extent{addr: first, size: last - first + 1, off: off + headerSize}
	if string(head[:4]) == avmlMagic {
		end, err := e.scan(m.r, size)
		return e, end, err
	}
	// Memory that the file does not hold reads as damaged.
	e.held = min(e.size, uint64(max(size-e.off, 0)))
	if e.held < e.size {
		return e, size + 1, nil
	}
	return e, e.off + int64(e.size), nil
}

func (m *memory) arrange(format string) error {
	slices.SortFunc(m.extents, func(a, b extent) int { return cmp.Compare(a.addr, b.addr) })
	for i, e := range m.extents {
		if i > 0 && m.extents[i-1].addr+(m.extents[i-1].size-1) >= e.addr {
			return bad(format, e.off-headerSize, "range at %#x overlaps another", e.addr)
		}
		m.runs = append(m.runs, kdump.Run{Addr: e.addr, Size: e.size})
		m.held = append(m.held, kdump.Run{Addr: e.addr, Size: e.held})
	}
	m.runs, m.held = kdump.NormalizeRuns(m.runs), kdump.NormalizeRuns(m.held)
	return nil
}

// ReadPhys implements kdump.Memory.
func (m *memory) ReadPhys(b []byte, addr uint64) (n int, err error) {
	i := sort.Search(len(m.extents), func(i int) bool { return m.extents[i].addr+(m.extents[i].size-1) >= addr })
	for n < len(b) {
		pos := addr + uint64(n)
		if i == len(m.extents) || m.extents[i].addr > pos || pos < addr {
			return n, fmt.Errorf("address %#x: %w", pos, kdump.ErrAbsent)
		}
		e := &m.extents[i]
		in := pos - e.addr
		c := int(min(uint64(len(b)-n), e.size-in))
		var got int
		if e.index != nil {
			got, err = m.readFrames(e, b[n:n+c], in)
		} else {
			got, err = m.r.ReadAt(b[n:n+c], e.off+int64(in))
		}
		n += got
		if got < c {
			return n, fmt.Errorf("address %#x: %w: %w", addr+uint64(n), kdump.ErrDamaged, err)
		}
		if in+uint64(c) == e.size {
			i++
		}
	}
	return n, nil
}

// PageRuns implements kdump.PageMap.
func (m *memory) PageRuns(from, to uint64) iter.Seq[kdump.PageRun] {
	return kdump.HeldPageRuns(m.runs, m.held, defaultPageSize, from, to)
}
