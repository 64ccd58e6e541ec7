package pe

import (
	"encoding/binary"
	"sort"
)

// What an arm64 entry's Info is, by its lower two bits
// (https://learn.microsoft.com/cpp/build/arm64-exception-handling).
const (
	inRecord       = 0 // where a record in .xdata lies
	packedFunction = 1 // packed data of a function
	packedFragment = 2 // packed data of a part without prolog and epilog
)

// record is what tells how to leave a function of arm64: of .xdata
//
//	word 0     instructions of the function (18 bits), version (2), bit 20: there
//	           is an exception handler, bit 21: there is one epilog, at the end,
//	           number of epilogs or where the one's codes begin (5), words of
//	           codes (5)
//	word 1     if both numbers are 0: number of epilogs (16), words of codes (8)
//	           a word of each epilog: its first instruction (18), where its codes
//	           begin (10 bits from bit 22 on), ascending, unless bit 21 is set
//	           the codes, those of the prolog first
//
// or of packed data.
type record struct {
	length  uint32 // instructions
	codes   codes
	atEnd   bool   // there is one epilog, whose codes begin at epilog
	epilog  uint32 // where the codes of it begin
	scopes  uint32 // where the epilogs' words lie
	epilogs uint32 // words
}

// lengthARM64 returns how many bytes of code an entry is of.
func (x *Image) lengthARM64(f Function) (uint32, bool) {
	switch f.Info & 3 {
	case packedFunction, packedFragment:
		return packedEntry(f.Info).length() * 4, true
	case inRecord:
		var b [4]byte
		ok := x.full(b[:], f.Info)
		return binary.LittleEndian.Uint32(b[:]) & (1<<18 - 1) * 4, ok
	}
	return 0, false
}

// UndoARM64 returns what undoes, one after another, what a function of an arm64
// image has done to registers and the stack before the instruction at a place in
// it; false: it cannot be read, or it has codes that are not known.
func (x *Image) UndoARM64(f Function, rva uint32) ([]Undo, bool) {
	if x.Machine != MachineARM64 || rva < f.Begin || rva >= f.End {
		return nil, false
	}
	r, ok := x.record(f)
	if !ok {
		return nil, false
	}
	at := (rva - f.Begin) / 4
	left, ok := x.remaining(r, at)
	if !ok {
		return nil, false
	}
	return undo(left)
}

func (x *Image) record(f Function) (*record, bool) {
	switch f.Info & 3 {
	case packedFunction, packedFragment:
		return packedEntry(f.Info).record()
	case inRecord:
		return x.readRecord(f.Info)
	}
	return nil, false
}

func (x *Image) readRecord(rva uint32) (*record, bool) {
	le := binary.LittleEndian
	var b [8]byte
	if !x.full(b[:4], rva) {
		return nil, false
	}
	head := le.Uint32(b[:])
	rva += 4
	r := &record{length: head & (1<<18 - 1), atEnd: head>>21&1 != 0}
	epilogs, words := head>>22&31, head>>27
	if epilogs == 0 && words == 0 {
		if !x.full(b[4:], rva) {
			return nil, false
		}
		more := le.Uint32(b[4:])
		rva += 4
		epilogs, words = more&0xffff, more>>16&0xff
	}
	if r.atEnd {
		r.epilog = epilogs
	} else {
		r.scopes, r.epilogs = rva, epilogs
		rva += 4 * epilogs
	}
	r.codes = make([]byte, 4*words)
	return r, head>>18&3 == 0 && x.full(r.codes, rva)
}

// remaining are the codes of what is to be undone at an instruction: in a prolog
// what it has not done yet, and in an epilog what it has undone already, is
// skipped. Each code is of one instruction of both.
func (x *Image) remaining(r *record, at uint32) ([]byte, bool) {
	n, ok := instructions(r.codes)
	if !ok {
		return nil, false
	}
	if at < n {
		return skip(r.codes, n-at), true
	}
	first, begin, ok := x.epilogBefore(r, at)
	if !ok {
		return nil, false
	}
	if begin < 0 {
		return r.codes, true
	}
	if begin >= len(r.codes) {
		return nil, false
	}
	left := r.codes[begin:]
	// An epilog's last instruction, which leaves the function, has no code.
	if n, ok = instructions(left); !ok {
		return nil, false
	}
	n++
	if r.atEnd {
		if n > r.length {
			return nil, false
		}
		first = r.length - n
	}
	if at < first || at-first >= n {
		return r.codes, true
	}
	return skip(left, at-first), true
}

// epilogBefore finds the last epilog that begins at or before an instruction: its
// first one, unless it is the one at the end, and where its codes begin, -1: there
// is none.
func (x *Image) epilogBefore(r *record, at uint32) (first uint32, begin int, ok bool) {
	if r.atEnd {
		return 0, int(r.epilog), true
	}
	ok = true
	scope := func(i int) uint32 {
		var b [4]byte
		ok = ok && x.full(b[:], r.scopes+4*uint32(i))
		return binary.LittleEndian.Uint32(b[:])
	}
	i := sort.Search(int(r.epilogs), func(i int) bool { return scope(i)&(1<<18-1) > at })
	if i == 0 || !ok {
		return 0, -1, ok
	}
	s := scope(i - 1)
	return s & (1<<18 - 1), int(s >> 22), ok
}
