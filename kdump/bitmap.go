package kdump

import (
	"iter"
	"math/bits"
)

// Bitmap is a set of page frame numbers, one bit a page: 32 KiB per GiB of
// memory with pages of 4 KiB.
type Bitmap struct {
	words []uint64
	n     uint64
}

// NewBitmap returns an empty set for the pages [0, n).
func NewBitmap(n uint64) *Bitmap {
	return &Bitmap{words: make([]uint64, (n+63)/64), n: n}
}

// Len is the number of pages that the set can hold.
func (b *Bitmap) Len() uint64 { return b.n }

// Test tells whether pfn is in the set; pages beyond Len are not.
func (b *Bitmap) Test(pfn uint64) bool {
	return pfn < b.n && b.words[pfn/64]>>(pfn%64)&1 != 0
}

// Set adds pfn.
func (b *Bitmap) Set(pfn uint64) {
	if pfn < b.n {
		b.words[pfn/64] |= 1 << (pfn % 64)
	}
}

// Clear removes pfn.
func (b *Bitmap) Clear(pfn uint64) {
	if pfn < b.n {
		b.words[pfn/64] &^= 1 << (pfn % 64)
	}
}

// SetRange adds count pages from pfn on.
func (b *Bitmap) SetRange(pfn, count uint64) {
	b.update(pfn, count, func(w *uint64, mask uint64) { *w |= mask })
}

// ClearRange removes count pages from pfn on.
func (b *Bitmap) ClearRange(pfn, count uint64) {
	b.update(pfn, count, func(w *uint64, mask uint64) { *w &^= mask })
}

func (b *Bitmap) update(pfn, count uint64, f func(w *uint64, mask uint64)) {
	if pfn >= b.n {
		return
	}
	end := pfn + min(count, b.n-pfn)
	for pfn < end {
		mask := ^uint64(0) << (pfn % 64)
		next := (pfn/64 + 1) * 64
		if next > end {
			mask &= ^uint64(0) >> (next - end)
		}
		f(&b.words[pfn/64], mask)
		pfn = next
	}
}

// Count is the number of pages in the set.
func (b *Bitmap) Count() uint64 {
	var n uint64
	for _, w := range b.words {
		n += uint64(bits.OnesCount64(w))
	}
	return n
}

// next returns the first page in [pfn, end) whose bit differs from invert's low
// bit, or end.
func (b *Bitmap) next(pfn, end, invert uint64) uint64 {
	for pfn < end {
		if w := (b.words[pfn/64] ^ invert) >> (pfn % 64); w != 0 {
			return min(pfn+uint64(bits.TrailingZeros64(w)), end)
		}
		pfn = (pfn/64 + 1) * 64
	}
	return end
}

// Runs yields the set as runs of present pages, as long as possible, in
// ascending order.
func (b *Bitmap) Runs() iter.Seq[PageRun] { return b.RunsIn(0, b.n) }

// RunsIn yields what Runs does of the pages in [from, to).
func (b *Bitmap) RunsIn(from, to uint64) iter.Seq[PageRun] {
	return b.runs(from, to, 0, PagePresent)
}

// Gaps yields the pages in [from, to) that are not in the set as runs of
// excluded pages, as long as possible, in ascending order.
func (b *Bitmap) Gaps(from, to uint64) iter.Seq[PageRun] {
	return b.runs(from, to, ^uint64(0), PageExcluded)
}

// runs yields the runs of pages in [from, to) whose bits differ from invert's
// low bit.
func (b *Bitmap) runs(from, to, invert uint64, state PageState) iter.Seq[PageRun] {
	return func(yield func(PageRun) bool) {
		to := min(to, b.n)
		for pfn := b.next(from, to, invert); pfn < to; {
			end := b.next(pfn, to, ^invert)
			if !yield(PageRun{pfn, end - pfn, state}) {
				return
			}
			pfn = b.next(end, to, invert)
		}
	}
}
