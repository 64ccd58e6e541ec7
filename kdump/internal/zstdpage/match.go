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

// find splits a page into literals and sequences: the first repetition that it
// comes upon is taken, the distance of the one before tried first.
func (e *Encoder) find(page []byte) {
	le := binary.LittleEndian
	table := &e.table
	clear(table[:])
	lits, seqs := e.literals[:cap(e.literals)], e.sequences[:cap(e.sequences)]
	have, count := 0, 0
	done := 0      // what is before is in literals and sequences
	r0, r1 := 1, 4 // the last two distances (RFC 8878, 3.1.1.5)
	limit := len(page) - 8 - 2
	for s := 1; s <= limit; {
		v := le.Uint64(page[s:])
		h0, h1 := hash(v), hash(v>>8)
		from := int(table[h0])
		from1 := int(table[h1])
		table[h0], table[h1] = uint16(s), uint16(s+1)
		if r := s + 2 - r0; r >= 0 && le.Uint32(page[r:]) == uint32(v>>16) {
			s, from = s+2, r
		} else if le.Uint32(page[from1:]) == uint32(v>>8) && from1 < s+1 && !(le.Uint32(page[from:]) == uint32(v) && from < s) {
			s, from = s+1, from1
		} else if le.Uint32(page[from:]) != uint32(v) || from >= s {
			s += 4 + (s-done)>>patience
			continue
		}
		end := s + minFound + same(page[s+minFound:], page[from+minFound:])
		for s > done && from > 0 && page[s-1] == page[from-1] {
			s--
			from--
		}
		pending := s - done
		if pending <= 16 && done+16 <= len(page) {
			copy(lits[have:have+16], page[done:done+16])
		} else {
			copy(lits[have:have+pending], page[done:s])
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
	have += copy(lits[have:], page[done:])
	e.literals, e.sequences = lits[:have], seqs[:count]
}

// same is how many bytes a and b have in common; a is the shorter one.
func same(a, b []byte) int {
	n := 0
	for ; n+8 <= len(a); n += 8 {
		if x := binary.LittleEndian.Uint64(a[n:]) ^ binary.LittleEndian.Uint64(b[n:]); x != 0 {
			return n + bits.TrailingZeros64(x)>>3
		}
	}
	for n < len(a) && a[n] == b[n] {
		n++
	}
	return n
}
