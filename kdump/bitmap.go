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

// next returns the first page at or after pfn whose bit differs from invert's
// low bit, or Len.
func (b *Bitmap) next(pfn, invert uint64) uint64 {
	for pfn < b.n {
		if w := (b.words[pfn/64] ^ invert) >> (pfn % 64); w != 0 {
			return min(pfn+uint64(bits.TrailingZeros64(w)), b.n)
		}
		pfn = (pfn/64 + 1) * 64
	}
	return b.n
}

// NextSet returns the first page of the set at or after pfn, or Len.
func (b *Bitmap) NextSet(pfn uint64) uint64 { return b.next(pfn, 0) }

// NextClear returns the first page at or after pfn that is not in the set, or Len.
func (b *Bitmap) NextClear(pfn uint64) uint64 { return b.next(pfn, ^uint64(0)) }

// Runs yields the set as runs of present pages, as long as possible, in
// ascending order.
func (b *Bitmap) Runs() iter.Seq[PageRun] {
	return func(yield func(PageRun) bool) {
		for pfn := b.NextSet(0); pfn < b.n; {
			end := b.NextClear(pfn)
			if !yield(PageRun{pfn, end - pfn, PagePresent}) {
				return
			}
			pfn = b.NextSet(end)
		}
	}
}
