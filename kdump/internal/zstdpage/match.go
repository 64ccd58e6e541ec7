package zstdpage

import (
	"encoding/binary"
	"math/bits"
)

const (
	// tableLog is the size of the table of places, as a power of two. It is
	// cleared for each page.
	tableLog = 10
	// hashed is how many bytes a place is found by; of these minFound are
	// compared. Shorter repetitions seldom save more than they cost.
	hashed   = 7
	minFound = 4
	// patience says after how many bytes without a repetition the search takes
	// larger steps, as a power of two.
	patience = 5
)

// hash is the place in the table of the bytes at the beginning of v.
func hash(v uint64) uint64 {
	const prime = 0x9e3779b97f4a7c15
	return v << (64 - 8*hashed) * prime >> (64 - tableLog)
}

// maxPage is the largest page in bytes.
const maxPage = 1 << 16

// buffer holds a page, and room for what is read or copied in a fixed size at
// its end. An index that is a uint16 needs no check.
type buffer [maxPage + 16]byte

func (b *buffer) uint64(at uint16) uint64 { return binary.LittleEndian.Uint64(b[int(at) : int(at)+8]) }
func (b *buffer) uint32(at uint16) uint32 { return binary.LittleEndian.Uint32(b[int(at) : int(at)+4]) }

// same is where in the page, of size bytes, the bytes from at on cease to equal
// those from from on, which are before them.
func (b *buffer) same(at, from, size int) int {
	for ; at+8 <= size; at, from = at+8, from+8 {
		if x := b.uint64(uint16(at)) ^ b.uint64(uint16(from)); x != 0 {
			return at + bits.TrailingZeros64(x)>>3
		}
	}
	for at < size && b[uint16(at)] == b[uint16(from)] {
		at, from = at+1, from+1
	}
	return at
}

// find splits the page, of size bytes, into literals and sequences: the first
// repetition that it comes upon is taken, the distance of the one before tried
// first.
func (e *Encoder) find(size int) {
	table, page, lits := &e.table, &e.page, &e.literals
	clear(table[:])
	seqs := e.sequences[:cap(e.sequences)]
	have, count := 0, 0
	done := 0      // what is before is in literals and sequences
	r0, r1 := 1, 4 // the last two distances (RFC 8878, 3.1.1.5)
	limit := size - 8 - 2
	for s := 1; s <= limit; {
		v := page.uint64(uint16(s))
		h0, h1 := hash(v), hash(v>>8)
		from := int(table[h0])
		from1 := int(table[h1])
		table[h0], table[h1] = uint16(s), uint16(s+1)
		if r := s + 2 - r0; r >= 0 && page.uint32(uint16(r)) == uint32(v>>16) {
			s, from = s+2, r
		} else if page.uint32(uint16(from1)) == uint32(v>>8) && from1 < s+1 && !(page.uint32(uint16(from)) == uint32(v) && from < s) {
			s, from = s+1, from1
		} else if page.uint32(uint16(from)) != uint32(v) || from >= s {
			s += 4 + (s-done)>>patience
			continue
		}
		end := page.same(s+minFound, from+minFound, size)
		for s > done && from > 0 && page[uint16(s-1)] == page[uint16(from-1)] {
			s--
			from--
		}
		pending := s - done
		if pending <= 16 {
			*(*[16]byte)(lits[uint16(have):]) = *(*[16]byte)(page[uint16(done):])
		} else {
			copy(lits[uint16(have):], page[uint16(done):s])
		}
		have += pending
		distance := s - from
		value := uint32(distance + 3)
		switch {
		case pending == 0 && distance == r1:
			value = 1
			r0, r1 = r1, r0
		case pending > 0 && distance == r0:
			value = 1
		default:
			r0, r1 = distance, r0
		}
		seqs[count] = sequence{uint32(pending), uint32(end - s), value}
		count++
		s, done = end, end
	}
	have += copy(lits[have:], page[done:size])
	e.have, e.sequences = have, seqs[:count]
}
