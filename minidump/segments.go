package minidump

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sort"

	"procdump/snapshot"
)

// memory is the memory that a dump holds. It implements snapshot.Memory.
type memory struct {
	r    io.ReaderAt
	segs []MemoryDescriptor // ascending, not overlapping, all within the file
}

// segments sorts a list's entries, cuts off what lies beyond the file's end,
// and of overlapping ones keeps the first.
func segments(list []MemoryDescriptor, fileSize int64) []MemoryDescriptor {
	out := make([]MemoryDescriptor, 0, len(list))
	for _, s := range list {
		if s.Off < headerSize || s.Off >= fileSize {
			continue
		}
		s.Size = min(s.Size, uint64(fileSize-s.Off), -s.Addr-1)
		if s.Size > 0 {
			out = append(out, s)
		}
	}
	slices.SortStableFunc(out, func(a, b MemoryDescriptor) int { return cmp.Compare(a.Addr, b.Addr) })
	n, end := 0, uint64(0)
	for _, s := range out {
		if n > 0 && s.Addr < end {
			if s.End() <= end {
				continue
			}
			s = s.from(end)
		}
		out[n], end = s, s.End()
		n++
	}
	return out[:n]
}

// from cuts off what lies before addr.
func (s MemoryDescriptor) from(addr uint64) MemoryDescriptor {
	d := addr - s.Addr
	return MemoryDescriptor{snapshot.Range{Addr: addr, Size: s.Size - d}, s.Off + int64(d)}
}

// overlay returns base and those parts of more that base does not cover. Both
// are as segments returns them.
func overlay(base, more []MemoryDescriptor) []MemoryDescriptor {
	covered := make([]snapshot.Range, len(base))
	for i, s := range base {
		covered[i] = s.Range
	}
	out := append(slices.Clone(base), without(more, covered)...)
	slices.SortFunc(out, func(a, b MemoryDescriptor) int { return cmp.Compare(a.Addr, b.Addr) })
	return out
}

// without returns the parts of segs that lie in none of the ranges, which
// ascend and do not overlap.
func without(segs []MemoryDescriptor, ranges []snapshot.Range) []MemoryDescriptor {
	var out []MemoryDescriptor
	i := 0
	for _, s := range segs {
		for i < len(ranges) && ranges[i].End() <= s.Addr {
			i++
		}
		for k := i; k < len(ranges) && ranges[k].Addr < s.End() && s.Size > 0; k++ {
			if c := ranges[k]; c.Addr > s.Addr {
				out = append(out, MemoryDescriptor{snapshot.Range{Addr: s.Addr, Size: c.Addr - s.Addr}, s.Off})
			}
			if ranges[k].End() >= s.End() {
				s.Size = 0
			} else if ranges[k].End() > s.Addr {
				s = s.from(ranges[k].End())
			}
		}
		if s.Size > 0 {
			out = append(out, s)
		}
	}
	return out
}

// Memory returns the memory that the dump holds: that of the Memory64List, the
// MemoryList and the threads' stacks. Reading what the dump does not hold is an
// error, as is reading what the file has lost. Damaged lists count as far as
// they can be read.
func (r *Reader) Memory() snapshot.Memory { return r.memory(nil) }

// memory leaves out the ranges that the dump itself calls unreadable: the file
// has zeros there.
func (r *Reader) memory(unreadable []snapshot.Range) *memory {
	segs := r.held(r.size)
	valid := make([]snapshot.Range, 0, len(unreadable))
	for _, u := range unreadable {
		if u.End() >= u.Addr {
			valid = append(valid, u)
		}
	}
	return &memory{r: r.r, segs: without(segs, snapshot.MergeRanges(valid, 0))}
}

// held lists the memory that a file of so many bytes has with these lists.
func (r *Reader) held(size int64) []MemoryDescriptor {
	all, _ := r.memory64List()
	list, _ := r.memoryList()
	segs := overlay(segments(all, size), segments(list, size))
	threads, _ := r.threads()
	stacks := make([]MemoryDescriptor, 0, len(threads))
	for _, t := range threads {
		stacks = append(stacks, t.Stack)
	}
	return overlay(segs, segments(stacks, size))
}

// lacks says how much of the memory that the lists name lies beyond the file's
// end; nil if it is all there.
func (r *Reader) lacks() error {
	cut := uint64(0)
	for _, s := range r.held(math.MaxInt64) {
		cut += s.Size
	}
	for _, s := range r.held(r.size) {
		cut -= s.Size
	}
	if cut == 0 {
		return nil
	}
	return fmt.Errorf("minidump is truncated: %d bytes of memory are missing", cut)
}

// find returns the index of the first segment that ends after addr.
func (m *memory) find(addr uint64) int {
	return sort.Search(len(m.segs), func(i int) bool { return m.segs[i].End() > addr })
}

// ReadMemory implements snapshot.Memory.
func (m *memory) ReadMemory(p []byte, addr uint64) (int, error) {
	n := 0
	for i := m.find(addr); n < len(p); i++ {
		at := addr + uint64(n)
		if i == len(m.segs) || !m.segs[i].Contains(at) {
			return n, &snapshot.MemoryError{Addr: at, Err: snapshot.ErrNotMapped}
		}
		s := m.segs[i].from(at)
		k, err := m.r.ReadAt(p[n:n+int(min(uint64(len(p)-n), s.Size))], s.Off)
		n += k
		if uint64(k) < min(uint64(len(p)-n+k), s.Size) {
			if err == nil || errors.Is(err, io.EOF) {
				err = fmt.Errorf("%w: %w", snapshot.ErrNotMapped, io.ErrUnexpectedEOF)
			}
			return n, &snapshot.MemoryError{Addr: addr + uint64(n), Err: err}
		}
	}
	return n, nil
}

// Extents implements snapshot.Memory: it lists what the dump holds. What it
// does not list is not known, wherever it lies. A dump does not say whether a
// page is that of a file or was changed, so all of them count as memory that
// exists nowhere else.
func (m *memory) Extents(r snapshot.Range) ([]snapshot.Extent, error) {
	var out []snapshot.Extent
	for i := m.find(r.Addr); i < len(m.segs); i++ {
		c := m.segs[i].Intersect(r)
		if c.Size == 0 {
			break
		}
		if n := len(out); n > 0 && out[n-1].End() == c.Addr {
			out[n-1].Size += c.Size
			continue
		}
		out = append(out, snapshot.Extent{Range: c, Kind: snapshot.ExtentPresent})
	}
	return out, nil
}
