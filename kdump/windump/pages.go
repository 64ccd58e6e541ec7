package windump

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"

	"procdump/kdump"
)

// pageIndex finds the pages of physical memory in the file.
type pageIndex interface {
	// find returns where page pfn lies in the file and how many pages, it
	// included, follow each other there; 0 if it is not in the dump.
	find(pfn uint64) (off int64, count uint64, err error)
	// next returns the first page at or after pfn that is there, and how many
	// follow each other; count 0 at the end.
	next(pfn uint64) (first, count uint64, err error)
	// end is the number behind the last page that the index knows about.
	end() uint64
}

// fileRun is a range of pages that lie one after the other in the file.
type fileRun struct {
	pfn, count uint64
	off        int64
}

// runIndex is a list of ranges, in ascending order and disjoint.
type runIndex []fileRun

// newRunIndex sorts runs and drops the parts of damaged ones that overlap.
func newRunIndex(runs []fileRun) runIndex {
	runs = slices.DeleteFunc(slices.Clone(runs), func(r fileRun) bool { return r.count == 0 })
	slices.SortStableFunc(runs, func(a, b fileRun) int { return cmp.Compare(a.pfn, b.pfn) })
	out := runs[:0]
	var end uint64
	for _, r := range runs {
		if r.pfn < end {
			skip := min(end-r.pfn, r.count)
			r = fileRun{r.pfn + skip, r.count - skip, r.off + int64(skip<<pageShift)}
		}
		if r.count > 0 {
			out, end = append(out, r), r.pfn+r.count
		}
	}
	return runIndex(out)
}

// at returns the index of the first run that ends behind pfn.
func (x runIndex) at(pfn uint64) int {
	i, _ := slices.BinarySearchFunc(x, pfn, func(r fileRun, pfn uint64) int {
		if r.pfn+r.count <= pfn {
			return -1
		}
		return 1
	})
	return i
}

func (x runIndex) find(pfn uint64) (int64, uint64, error) {
	i := x.at(pfn)
	if i == len(x) || x[i].pfn > pfn {
		return 0, 0, nil
	}
	skip := pfn - x[i].pfn
	return x[i].off + int64(skip<<pageShift), x[i].count - skip, nil
}

func (x runIndex) next(pfn uint64) (first, count uint64, err error) {
	i := x.at(pfn)
	if i == len(x) {
		return 0, 0, nil
	}
	first = max(pfn, x[i].pfn)
	return first, x[i].pfn + x[i].count - first, nil
}

func (x runIndex) end() uint64 {
	if len(x) == 0 {
		return 0
	}
	return x[len(x)-1].pfn + x[len(x)-1].count
}

// runPages is the index of a full dump.
func (r *Reader) runPages() (pageIndex, error) {
	if len(r.Header.runs) == 0 {
		return nil, damaged(int64(r.layout.phys), "no list of physical memory in the header")
	}
	return newRunIndex(r.Header.runs), nil
}

// Offsets in the header of page ranges.
const (
	rangesMark     = 0x40
	rangesMetadata = 0x10
	rangesFirst    = 0x18
	rangesTotal    = 0x28
	rangesList     = 0x30
	rangesChunk    = 1 << 16 // bytes, of entries of 16
)

// rangePages is the index of a dump of type 8, 9 or A.
func (r *Reader) rangePages() (pageIndex, error) {
	base := int64(r.layout.size)
	b, err := r.exactly(base, rangesList, "header of page ranges")
	if err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	if le.Uint32(b) != rangesMark || le.Uint32(b[4:]) != magicRDMP || le.Uint32(b[8:]) != magicDUMP {
		return nil, damaged(base, "no header of page ranges (RDMP)")
	}
	metadata, off, total := le.Uint64(b[rangesMetadata:]), le.Uint64(b[rangesFirst:]), le.Uint64(b[rangesTotal:])
	list := base + rangesList
	// The metadata ends where the pages begin, whatever its size says.
	if off < uint64(list) || off > uint64(r.size) {
		return nil, damaged(base+rangesFirst, "first page at %#x in a file of %#x bytes", off, r.size)
	}
	left := min(metadata, off-uint64(list))
	var runs []fileRun
	var pages uint64
	at := int64(off)
	for left >= 16 {
		b, err := r.exactly(list, int(min(left&^15, rangesChunk)), "page ranges")
		if err != nil {
			return nil, err
		}
		list, left = list+int64(len(b)), left-uint64(len(b))
		for ; len(b) >= 16; b = b[16:] {
			pfn, count := le.Uint64(b), le.Uint64(b[8:])
			if pfn == 0 || r.Header.Type == RangesComplete && pages >= total {
				left = 0
				break
			}
			if pfn >= maxPFN || count > maxPFN-pfn || at > maxFile {
				return nil, damaged(list-int64(len(b)), "range of %#x pages from page %#x", count, pfn)
			}
			runs = append(runs, fileRun{pfn, count, at})
			at, pages = at+int64(count<<pageShift), pages+count
		}
	}
	if len(runs) == 0 {
		return nil, damaged(base+rangesList, "no page ranges")
	}
	return newRunIndex(runs), nil
}

// ReadPhys implements kdump.Memory. In a dump without pages every read fails
// with an error that wraps kdump.ErrExcluded.
func (r *Reader) ReadPhys(b []byte, addr uint64) (n int, err error) {
	if r.pages == nil {
		return 0, fmt.Errorf("%w: %w", kdump.ErrExcluded, r.pagesErr)
	}
	for n < len(b) {
		at := addr + uint64(n)
		if at < addr {
			return n, fmt.Errorf("%w: end of the address space", kdump.ErrAbsent)
		}
		off, count, err := r.pages.find(at >> pageShift)
		if err != nil {
			return n, err
		}
		if count == 0 {
			return n, r.missing(at)
		}
		in := at % pageSize
		want := min(uint64(len(b)-n), count<<pageShift-in)
		k, err := r.readFile(b[n:n+int(want)], off+int64(in))
		n += k
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// readFile reads bytes of a page.
func (r *Reader) readFile(b []byte, off int64) (int, error) {
	if off < 0 || off >= r.size {
		return 0, fmt.Errorf("%w: it lies at %#x of the file, which ends at %#x", kdump.ErrDamaged, off, r.size)
	}
	want := len(b)
	b = b[:min(int64(want), r.size-off)]
	k, err := r.r.ReadAt(b, off)
	switch {
	case k == want:
		return k, nil
	case err != nil && !errors.Is(err, io.EOF):
		return k, err
	}
	return k, fmt.Errorf("%w: the file ends at %#x", kdump.ErrDamaged, r.size)
}

// missing says why no page is there.
func (r *Reader) missing(addr uint64) error {
	if len(r.Header.Runs) == 0 {
		if addr>>pageShift < r.pages.end() {
			return fmt.Errorf("%w: physical address %#x", kdump.ErrExcluded, addr)
		}
		return fmt.Errorf("%w: %#x", kdump.ErrAbsent, addr)
	}
	for _, run := range r.Header.Runs {
		if addr >= run.Addr && addr-run.Addr < run.Size {
			return fmt.Errorf("%w: physical address %#x", kdump.ErrExcluded, addr)
		}
	}
	return fmt.Errorf("%w: %#x", kdump.ErrAbsent, addr)
}

// PageRuns implements kdump.PageMap. A read error of the file ends it.
func (r *Reader) PageRuns(from, to uint64) iter.Seq[kdump.PageRun] {
	return func(yield func(kdump.PageRun) bool) {
		if r.pages == nil {
			return
		}
		for from < to {
			first, count, err := r.pages.next(from)
			if err != nil || count == 0 || first >= to {
				first, count = to, 0
			}
			if !r.excluded(from, first, yield) {
				return
			}
			if count = min(count, to-first); count > 0 && !yield(kdump.PageRun{PFN: first, Count: count, State: kdump.PagePresent}) {
				return
			}
			from = first + count
		}
	}
}

// excluded yields the RAM in [from, to), of which no page is in the dump.
func (r *Reader) excluded(from, to uint64, yield func(kdump.PageRun) bool) bool {
	for _, run := range r.Header.Runs {
		first, end := max(run.Addr>>pageShift, from), min(run.End()>>pageShift, to)
		if first < end && !yield(kdump.PageRun{PFN: first, Count: end - first, State: kdump.PageExcluded}) {
			return false
		}
	}
	return true
}
