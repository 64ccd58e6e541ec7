package linux

import "math/bits"

// chunkPages is how many pages a chunk of memory has, chunkSize its bytes.
const (
	chunkPages = 512
	chunkPage  = 4096
	chunkSize  = chunkPages * chunkPage
)

// pageSet is a set of pages of one chunk.
type pageSet [chunkPages / 64]uint64

// span is the set of the pages from i up to j.
func span(i, j int) (s pageSet) {
	for w := range s {
		lo, hi := max(i-64*w, 0), min(j-64*w, 64)
		if lo < hi {
			s[w] = ^uint64(0) >> (64 - (hi - lo)) << lo
		}
	}
	return s
}

func (s *pageSet) add(o pageSet) {
	for w := range s {
		s[w] |= o[w]
	}
}

func (s *pageSet) remove(o pageSet) {
	for w := range s {
		s[w] &^= o[w]
	}
}

func (s *pageSet) intersect(o pageSet) {
	for w := range s {
		s[w] &= o[w]
	}
}

// next is the first page from i on that is in the set, or is not, if in is
// false; chunkPages if there is none.
func (s *pageSet) next(i int, in bool) int {
	for i < chunkPages {
		w := s[i/64]
		if !in {
			w = ^w
		}
		if w >>= i % 64; w != 0 {
			return i + bits.TrailingZeros64(w)
		}
		i = i/64*64 + 64
	}
	return chunkPages
}
