package pages

import "math/bits"

// setChunk is the number of pages of one piece of a Set: 128 MiB of pages of
// 4 KiB, described in 4 KiB.
const setChunk = 32768

// Set is a set of page frame numbers. It takes a bit for each page of the
// pieces of memory that have any page in it. The zero value is empty.
type Set struct {
	chunks map[uint64]*[setChunk / 64]uint64
	n      uint64
}

// Add puts count pages from pfn on into the set.
func (s *Set) Add(pfn, count uint64) {
	if s.chunks == nil {
		s.chunks = make(map[uint64]*[setChunk / 64]uint64)
	}
	for count > 0 {
		c := s.chunks[pfn/setChunk]
		if c == nil {
			c = new([setChunk / 64]uint64)
			s.chunks[pfn/setChunk] = c
		}
		in := pfn % setChunk
		n := min(64-in%64, count)
		mask := (^uint64(0) >> (64 - n)) << (in % 64)
		word := &c[in/64]
		s.n += uint64(bits.OnesCount64(mask &^ *word))
		*word |= mask
		pfn, count = pfn+n, count-n
	}
}

// Has tells whether a page is in the set.
func (s *Set) Has(pfn uint64) bool {
	c := s.chunks[pfn/setChunk]
	return c != nil && c[pfn%setChunk/64]>>(pfn%64)&1 == 1
}

// Len is the number of pages in the set.
func (s *Set) Len() uint64 { return s.n }

// Overlay marks the pages of a set as Guest in what another source tells. Only
// pages that user space can own are marked: a virtual machine may have the
// kernel's page of zeros mapped, which is not its own.
type Overlay struct {
	Source Source
	Guests *Set
}

// guestable are the classes that a page of a virtual machine can have.
var guestable = userMask | MaskOf(CleanCache)

// Classify implements Source.
func (o *Overlay) Classify(pfn uint64, out []Page) error {
	if err := o.Source.Classify(pfn, out); err != nil {
		return err
	}
	for i := uint64(0); i < uint64(len(out)); {
		at := pfn + i
		c := o.Guests.chunks[at/setChunk]
		n := min(setChunk-at%setChunk, uint64(len(out))-i)
		if c != nil {
			for j := i; j < i+n; j++ {
				in := (pfn + j) % setChunk
				if c[in/64]>>(in%64)&1 == 1 && guestable.Takes(out[j]) {
					out[j] = page(Guest)
				}
			}
		}
		i += n
	}
	return nil
}
