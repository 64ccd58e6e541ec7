package unwind

import (
	"encoding/binary"
	"math/bits"
	"testing"
)

// signature is what this processor puts into an address that it signs.
const signature = 0x2a << 48

// processor carries out instructions of arm64, as far as the tests' functions have
// them (Arm Architecture Reference Manual, C4.1). Values that have nothing to do
// with the stack it makes up.
type processor struct {
	x     [32]uint64 // x31 is the stack pointer
	pc    uint64
	base  uint64 // of stack
	stack []byte
	taken bool // forward branches with a condition are
	made  uint64
}

// armCourse is how a processor goes on after an instruction.
type armCourse int

const (
	armGoes armCourse = iota
	armCalls
	armLeaves
	armDies
)

func (p *processor) invent() uint64 {
	p.made++
	return 0xbad0000000000000 + p.made
}

// at is the stack at an address, at least some bytes of it, or nil.
func (p *processor) at(addr uint64, size int) []byte {
	if addr < p.base || addr-p.base+uint64(size) > uint64(len(p.stack)) {
		return nil
	}
	return p.stack[addr-p.base:]
}

// move loads or stores a register; vector ones are not kept.
func (p *processor) move(load, vector bool, reg uint32, addr uint64, size int) {
	b := p.at(addr, size)
	switch {
	case load && vector:
	case load:
		v := p.invent()
		if b != nil && size == 8 {
			v = binary.LittleEndian.Uint64(b)
		} else if b != nil && size == 4 {
			v = uint64(binary.LittleEndian.Uint32(b))
		}
		if reg != 31 {
			p.x[reg] = v
		}
	case b == nil:
	default:
		var v [16]byte
		if !vector && reg != 31 {
			binary.LittleEndian.PutUint64(v[:], p.x[reg])
		} else if vector {
			binary.LittleEndian.PutUint64(v[:], p.invent())
		}
		copy(b[:size], v[:])
	}
}

// indexed carries out how an instruction of memory addresses it, and returns where.
func (p *processor) indexed(n uint32, off int64, before, back bool) uint64 {
	addr := p.x[n]
	if before {
		addr += uint64(off)
	}
	if back {
		p.x[n] += uint64(off)
	}
	return addr
}

// signedBits is a number of some bits of an instruction.
func signedBits(i uint32, from, size uint) int64 {
	return int64(uint64(i>>from)<<(64-size)) >> (64 - size)
}

// step carries out the instruction i at pc.
func (p *processor) step(t testing.TB, i uint32) armCourse {
	t.Helper()
	at := p.pc
	p.pc += 4
	d, n := i&31, i>>5&31
	switch {
	case i == 0xd503237f: // pacibsp
		p.x[30] |= signature
	case i == 0xd50323ff: // autibsp
		p.x[30] &^= signature
	case i&0xfffff01f == 0xd503201f: // nop and other hints
	case i>>21 == 0x6a1: // brk
		return armDies
	case i&0xfffffc1f == 0xd65f0000, i&0xfffffc1f == 0xd61f0000: // ret, br
		return armLeaves
	case i&0xfffffc1f == 0xd63f0000, i>>26 == 0x25: // blr, bl
		return armCalls
	case i>>26 == 5: // b
		p.pc = at + uint64(4*signedBits(i, 0, 26))
	case i>>24 == 0x54, i>>25&0x3f == 0x1a: // b.cond, cbz
		if off := signedBits(i, 5, 19); off > 0 && p.taken {
			p.pc = at + uint64(4*off)
		}
	case i>>25&0x3f == 0x1b: // tbz
		if off := signedBits(i, 5, 14); off > 0 && p.taken {
			p.pc = at + uint64(4*off)
		}
	case i>>27&7 == 5 && i>>25&1 == 0: // stp, ldp
		p.pair(i)
	case i>>27&7 == 7 && i>>25&1 == 0: // str, ldr
		p.single(i)
	case i>>26&7 == 4:
		p.constant(t, i)
	case i>>25&7 == 5:
		p.compute(i, d, n)
	case i>>25&7 == 7: // of vector registers
	default:
		t.Fatalf("instruction %#08x at %#x is not known", i, at)
	}
	return armGoes
}

func (p *processor) pair(i uint32) {
	vector, load, mode := i>>26&1 != 0, i>>22&1 != 0, i>>23&3
	size := 4 << (i >> 31)
	if vector {
		size = 4 << (i >> 30)
	}
	addr := p.indexed(i>>5&31, signedBits(i, 15, 7)*int64(size), mode != 1, mode == 1 || mode == 3)
	p.move(load, vector, i&31, addr, size)
	p.move(load, vector, i>>10&31, addr+uint64(size), size)
}

func (p *processor) single(i uint32) {
	vector, opc, size := i>>26&1 != 0, i>>22&3, 1<<(i>>30)
	load := opc != 0
	if vector {
		load = opc&1 != 0
		if opc >= 2 {
			size = 16
		}
	}
	var addr uint64
	switch {
	case i>>24&1 != 0:
		addr = p.indexed(i>>5&31, int64(i>>10&0xfff)*int64(size), true, false)
	case i>>21&1 == 0:
		addr = p.indexed(i>>5&31, signedBits(i, 12, 9), i>>10&3 != 1, i>>10&1 != 0)
	}
	p.move(load, vector, i&31, addr, size)
}

// constant carries out what computes with a constant.
func (p *processor) constant(t testing.TB, i uint32) {
	t.Helper()
	d, n := i&31, i>>5&31
	v := p.invent()
	sp := false // register 31 is the stack pointer
	switch i >> 23 & 7 {
	case 2: // add, sub
		c := uint64(i>>10&0xfff) << (12 * (i >> 22 & 1))
		if v = p.x[n] + c; i>>30&1 != 0 {
			v = p.x[n] - c
		}
		sp = i>>29&1 == 0
	case 4: // and, orr, eor
		sp = i>>29&3 != 3
		if mask := bits.RotateLeft64(1<<(i>>10&63+1)-1, -int(i>>16&63)); i>>29&3 == 0 && i>>22&1 != 0 {
			v = p.x[n] & mask
		} else if d == 31 && sp {
			t.Fatalf("instruction %#08x is not known", i)
		}
	case 5: // movn, movz, movk
		shift := 16 * (i >> 21 & 3)
		switch c := uint64(i>>5&0xffff) << shift; i >> 29 & 3 {
		case 0:
			v = ^c
		case 2:
			v = c
		case 3:
			v = p.x[d]&^(0xffff<<shift) | c
		}
	case 6: // sxtw, lsr
		switch {
		case i&0xfffffc00 == 0x93407c00:
			v = uint64(int64(int32(p.x[n])))
		case i&0xffc0fc00 == 0xd340fc00:
			v = p.x[n] >> (i >> 16 & 63)
		}
	}
	p.result(i, d, v, sp)
}

// compute carries out what computes with registers.
func (p *processor) compute(i, d, n uint32) {
	m := i >> 16 & 31
	v := p.invent()
	sp := false
	switch {
	case i&0x7fe0ffe0 == 0x2a0003e0: // mov
		v = p.x[m]
		if m == 31 {
			v = 0
		}
	case i&0x3fe00000 == 0x0b200000: // add, sub of an extended register
		c := p.x[m] << (i >> 10 & 7)
		if i>>13&7 == 2 || i>>13&7 == 6 {
			c = uint64(uint32(p.x[m])) << (i >> 10 & 7)
		}
		if v = p.x[n] + c; i>>30&1 != 0 {
			v = p.x[n] - c
		}
		sp = true
	}
	p.result(i, d, v, sp)
}

func (p *processor) result(i, d uint32, v uint64, sp bool) {
	if i>>31 == 0 {
		v = uint64(uint32(v))
	}
	if d != 31 || sp {
		p.x[d] = v
	}
}
