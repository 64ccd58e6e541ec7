package snapshot

import (
	"errors"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
)

// MemoryImage is memory held in RAM: a Memory made of copied pieces.
type MemoryImage struct {
	ranges []Range
	bytes  [][]byte
	slab   []byte // what bytes were cut from, the last time that Load did
}

// batchBytes and batchRanges bound how much CopyMemory reads at a time, and
// batchSpan how far apart two ranges may lie to be looked up together.
const (
	batchBytes  = 1 << 20
	batchRanges = 512
	batchSpan   = 4 << 20
)

// CopyMemory copies ranges (ascending, not overlapping) of m into RAM. What
// Extents does not list is zero in the copy; so are bytes that cannot be read,
// which are listed in bad, too. An error means that the target is gone. The
// caller bounds the ranges' sizes: they are allocated.
func CopyMemory(m Memory, ranges []Range) (img *MemoryImage, bad []Range, err error) {
	img = new(MemoryImage)
	if bad, err = img.Load(m, ranges); err != nil {
		return nil, nil, err
	}
	return img, bad, nil
}

// Load is CopyMemory into an image whose content is not needed any more: it
// uses that one's RAM again. After an error the image's content is undefined.
func (m *MemoryImage) Load(src Memory, ranges []Range) (bad []Range, err error) {
	var size uint64
	for _, r := range ranges {
		size += r.Size
	}
	if uint64(cap(m.slab)) < size {
		m.slab = make([]byte, size)
	} else {
		m.slab = m.slab[:size]
		clear(m.slab)
	}
	m.ranges, m.bytes = append(m.ranges[:0], ranges...), slices.Grow(m.bytes[:0], len(ranges))
	rest := m.slab
	for _, r := range ranges {
		m.bytes = append(m.bytes, rest[:r.Size:r.Size])
		rest = rest[r.Size:]
	}
	return m.readAll(src)
}

// readers is how many batches CopyMemory reads at a time: the target stands
// while it does.
const readers = 2

// readAll reads every range.
func (m *MemoryImage) readAll(src Memory) (bad []Range, err error) {
	type batch struct {
		from, to int // ranges
		bytes    []byte
		bad      []Range
		err      error
	}
	var batches []batch
	rest := m.slab
	for i := 0; i < len(m.ranges); {
		j, size := i, uint64(0)
		for j < len(m.ranges) && j-i < batchRanges && (j == i || size+m.ranges[j].Size <= batchBytes) {
			size += m.ranges[j].Size
			j++
		}
		batches = append(batches, batch{from: i, to: j, bytes: rest[:size]})
		i, rest = j, rest[size:]
	}
	var next atomic.Int64
	read := func() {
		var buf []byte // of fill
		for {
			i := int(next.Add(1)) - 1
			if i >= len(batches) {
				return
			}
			b := &batches[i]
			if b.bad, b.err = m.fill(src, b.from, b.to, b.bytes, &buf); b.err != nil {
				next.Store(int64(len(batches)))
			}
		}
	}
	var others sync.WaitGroup
	for range min(readers, len(batches)) - 1 {
		others.Go(read)
	}
	read()
	others.Wait()
	for _, b := range batches {
		if b.err != nil {
			return nil, b.err
		}
		bad = append(bad, b.bad...)
	}
	return bad, nil
}

// fill reads the pieces [i, j), whose bytes are whole together. buf is for what
// cannot be read at its place.
func (m *MemoryImage) fill(src Memory, i, j int, whole []byte, buf *[]byte) (bad []Range, err error) {
	xs, err := ExtentsOf(src, m.ranges[i:j])
	if err != nil {
		return nil, err
	}
	er, ok := src.(ExtentReader)
	if !ok {
		for _, x := range xs {
			miss, err := ReadExtent(src, m.at(x), x)
			if err != nil {
				return nil, err
			}
			bad = append(bad, miss...)
		}
		return bad, nil
	}
	var size int
	for _, x := range xs {
		size += int(x.Size)
	}
	if size == len(whole) { // nothing is missing: the extents lie here as they do in the ranges
		return er.ReadExtents(whole, xs)
	}
	*buf = slices.Grow((*buf)[:0], size)[:size]
	if bad, err = er.ReadExtents(*buf, xs); err != nil {
		return nil, err
	}
	rest := *buf
	for _, x := range xs {
		rest = rest[copy(m.at(x), rest[:x.Size]):]
	}
	return bad, nil
}

// at is the place of an extent's bytes.
func (m *MemoryImage) at(x Extent) []byte {
	i := m.find(x.Addr)
	return m.bytes[i][x.Addr-m.ranges[i].Addr:][:x.Size]
}

// ExtentsOf lists the extents of several ascending ranges, each clipped to its
// range, without those that are known to be zero. It asks once for ranges that
// lie close together.
func ExtentsOf(m Memory, ranges []Range) ([]Extent, error) {
	var out []Extent
	for i := 0; i < len(ranges); {
		j := i + 1
		for j < len(ranges) && ranges[j].End()-ranges[i].Addr <= batchSpan {
			j++
		}
		xs, err := m.Extents(Range{ranges[i].Addr, ranges[j-1].End() - ranges[i].Addr})
		if err != nil {
			return nil, err
		}
		k := i
		for _, x := range xs {
			for k < j && ranges[k].End() <= x.Addr {
				k++
			}
			for l := k; l < j && ranges[l].Addr < x.End(); l++ {
				if c := x.Range.Intersect(ranges[l]); c.Size > 0 && x.Kind&ExtentZero == 0 {
					out = append(out, Extent{c, x.Kind})
				}
			}
		}
		i = j
	}
	return out, nil
}

// ReadExtent fills p, which is as long as x, with the extent's bytes by
// ReadExtents where m has it, else by ReadMemory, page by page round what
// cannot be read. An error that is no *MemoryError ends it.
func ReadExtent(m Memory, p []byte, x Extent) (bad []Range, err error) {
	if er, ok := m.(ExtentReader); ok {
		return er.ReadExtents(p, []Extent{x})
	}
	const page = 4096
	for done := uint64(0); done < x.Size; {
		n, err := m.ReadMemory(p[done:x.Size], x.Addr+done)
		done += uint64(n)
		if err == nil {
			break
		}
		var unreadable *MemoryError
		if !errors.As(err, &unreadable) {
			return bad, err
		}
		if done == x.Size {
			break
		}
		skip := min(page-(x.Addr+done)%page, x.Size-done)
		clear(p[done : done+skip])
		bad = append(bad, Range{x.Addr + done, skip})
		done += skip
	}
	return MergeRanges(bad, 0), nil
}

// ReadMemory implements Memory.
func (m *MemoryImage) ReadMemory(p []byte, addr uint64) (int, error) {
	n := 0
	for n < len(p) {
		i := m.find(addr + uint64(n))
		if i < 0 {
			return n, &MemoryError{addr + uint64(n), ErrNotMapped}
		}
		n += copy(p[n:], m.bytes[i][addr+uint64(n)-m.ranges[i].Addr:])
	}
	return n, nil
}

// Extents implements Memory.
func (m *MemoryImage) Extents(r Range) ([]Extent, error) {
	var xs []Extent
	for i := sort.Search(len(m.ranges), func(i int) bool { return m.ranges[i].End() > r.Addr }); i < len(m.ranges) && m.ranges[i].Addr < r.End(); i++ {
		if x := m.ranges[i].Intersect(r); x.Size > 0 {
			xs = append(xs, Extent{x, ExtentPresent})
		}
	}
	return xs, nil
}

// Bytes returns the copied bytes of the piece that holds addr, from addr to
// the piece's end, or nil. The caller may change them.
func (m *MemoryImage) Bytes(addr uint64) []byte {
	if i := m.find(addr); i >= 0 {
		return m.bytes[i][addr-m.ranges[i].Addr:]
	}
	return nil
}

// Add joins another image's pieces; they must not overlap the present ones.
func (m *MemoryImage) Add(o *MemoryImage) {
	m.ranges, m.bytes = append(m.ranges, o.ranges...), append(m.bytes, o.bytes...)
	sort.Sort((*byAddr)(m))
}

// Ranges returns the pieces, ascending.
func (m *MemoryImage) Ranges() []Range { return m.ranges }

func (m *MemoryImage) find(addr uint64) int {
	i := sort.Search(len(m.ranges), func(i int) bool { return m.ranges[i].End() > addr })
	if i < len(m.ranges) && m.ranges[i].Contains(addr) {
		return i
	}
	return -1
}

type byAddr MemoryImage

func (m *byAddr) Len() int           { return len(m.ranges) }
func (m *byAddr) Less(i, j int) bool { return m.ranges[i].Addr < m.ranges[j].Addr }
func (m *byAddr) Swap(i, j int) {
	m.ranges[i], m.ranges[j] = m.ranges[j], m.ranges[i]
	m.bytes[i], m.bytes[j] = m.bytes[j], m.bytes[i]
}
