package pclntab

import (
	"encoding/binary"
)

// Func is a function.
type Func struct {
	Name       string // "main.(*T).f"
	Entry, End uint64 // addresses
	Flags      byte   // TopFrame, SPWrite, Asm

	t                        *Table
	at                       int64 // offset of the function's facts
	pcsp, pcfile, pcln, unit uint32
	npcdata                  uint32
	nfuncdata                byte
}

// SPDelta returns by how many bytes the function has lowered the stack pointer
// at pc since its entry.
func (f *Func) SPDelta(pc uint64) (int64, bool) {
	v, ok := f.value(f.pcsp, pc)
	return int64(v), ok && v >= 0
}

// Line returns the file and line of the code at pc, of functions that were
// inlined there, too; "" and 0 if they are not known.
func (f *Func) Line(pc uint64) (file string, line int) {
	t := f.t
	n, ok := f.value(f.pcfile, pc)
	if !ok || n < 0 {
		return "", 0
	}
	// The number is an index of the unit's part of a table of offsets of names.
	b := t.read(t.units+4*(int64(f.unit)+int64(n)), 4)
	if len(b) < 4 {
		return "", 0
	}
	if off := binary.LittleEndian.Uint32(b); off != 0xffffffff {
		file = t.text0(t.files + int64(off))
	}
	if l, ok := f.value(f.pcln, pc); ok && l > 0 {
		line = int(l)
	}
	return file, line
}

// value finds what a table of pc values says at pc. Such a table is a row of
// {change of the value, change of the pc}, both as varints, the former with its
// sign in the lowest bit; the value begins as -1, the pc at the entry. A change
// of 0 that is not the first ends it.
func (f *Func) value(table uint32, pc uint64) (int32, bool) {
	if table == 0 {
		return 0, false
	}
	r := varints{t: f.t, off: f.t.values + int64(table)}
	at, value := f.Entry, int32(-1)
	for i := range maxValues {
		if *f.t.left--; *f.t.left < 0 {
			return 0, false
		}
		change, ok := r.next()
		if !ok || change == 0 && i > 0 {
			return 0, false
		}
		value += int32(-(change & 1) ^ change>>1)
		steps, ok := r.next()
		if !ok {
			return 0, false
		}
		if at += uint64(steps) * f.t.min; pc < at {
			return value, true
		}
	}
	return 0, false
}

// varints reads numbers of seven bits a byte, the lowest first.
type varints struct {
	t   *Table
	off int64
	b   []byte
}

func (r *varints) next() (uint32, bool) {
	var v uint32
	for shift := 0; shift < 35; shift += 7 {
		if len(r.b) == 0 {
			if r.b = r.t.read(r.off, 256); len(r.b) == 0 {
				return 0, false
			}
			r.off += int64(len(r.b))
		}
		b := r.b[0]
		r.b = r.b[1:]
		v |= uint32(b&0x7f) << shift
		if b&0x80 == 0 {
			return v, true
		}
	}
	return 0, false
}
