package unwind

import (
	"encoding/binary"
)

const (
	maxSteps = 1000 // of an expression
	maxDepth = 64   // of its stack
)

// expression evaluates a DWARF expression (DWARF 5 §2.5) with the registers of
// the frame; cfa, if there is one yet, is on its stack at first. Operations that
// call frame information does not use make it fail.
func (u *Unwinder) expression(code []byte, regs *registers, cfa *uint64) (uint64, bool) {
	e := evaluation{u: u, regs: regs, code: code, r: reader{b: code, word: u.m.word}}
	if cfa != nil {
		e.push(*cfa)
	}
	for range maxSteps {
		if !u.spend(1) {
			return 0, false
		}
		if len(e.r.b) == 0 {
			v := e.pop()
			return v, !e.bad && !e.r.bad
		}
		e.step(e.r.u8())
		if e.bad || e.r.bad {
			return 0, false
		}
	}
	return 0, false
}

type evaluation struct {
	u     *Unwinder
	regs  *registers
	code  []byte
	r     reader
	stack []uint64
	bad   bool
}

func (e *evaluation) push(v uint64) {
	if len(e.stack) >= maxDepth {
		e.bad = true
		return
	}
	e.stack = append(e.stack, e.u.m.trim(v))
}

func (e *evaluation) pop() uint64 {
	n := len(e.stack)
	if n == 0 {
		e.bad = true
		return 0
	}
	v := e.stack[n-1]
	e.stack = e.stack[:n-1]
	return v
}

// signed is a value with its sign.
func (e *evaluation) signed(v uint64) int64 {
	if e.u.m.word == 4 {
		return int64(int32(v))
	}
	return int64(v)
}

func (e *evaluation) pick(i int) {
	if i >= len(e.stack) {
		e.bad = true
		return
	}
	e.push(e.stack[len(e.stack)-1-i])
}

// step carries out one operation (DWARF 5, 7.7.1).
func (e *evaluation) step(op byte) {
	r := &e.r
	switch {
	case op >= 0x30 && op <= 0x4f: // DW_OP_lit0…31
		e.push(uint64(op - 0x30))
	case op >= 0x70 && op <= 0x8f: // DW_OP_breg0…31
		e.base(uint64(op-0x70), r.sleb())
	case op >= 0x08 && op <= 0x11:
		e.constant(op)
	case op >= 0x12 && op <= 0x17:
		e.shuffle(op)
	case op >= 0x1a && op <= 0x27 && op != 0x1f && op != 0x20 && op != 0x23:
		e.binary(op)
	case op >= 0x29 && op <= 0x2e:
		e.compare(op)
	default:
		e.other(op)
	}
}

func (e *evaluation) base(reg uint64, off int64) {
	v, ok := e.regs.get(reg)
	if reg == uint64(e.u.m.ra) {
		v, ok = e.regs.pc, true
	}
	if !ok {
		e.bad = true
		return
	}
	e.push(v + uint64(off))
}

func (e *evaluation) constant(op byte) {
	r := &e.r
	switch op {
	case 0x08:
		e.push(uint64(r.u8()))
	case 0x09:
		e.push(uint64(int8(r.u8())))
	case 0x0a:
		e.push(r.u16())
	case 0x0b:
		e.push(uint64(int16(r.u16())))
	case 0x0c:
		e.push(r.u32())
	case 0x0d:
		e.push(uint64(int32(r.u32())))
	case 0x0e, 0x0f:
		e.push(r.u64())
	case 0x10:
		e.push(r.uleb())
	case 0x11:
		e.push(uint64(r.sleb()))
	}
}

func (e *evaluation) shuffle(op byte) {
	switch op {
	case 0x12: // DW_OP_dup
		e.pick(0)
	case 0x13: // DW_OP_drop
		e.pop()
	case 0x14: // DW_OP_over
		e.pick(1)
	case 0x15: // DW_OP_pick
		e.pick(int(e.r.u8()))
	case 0x16: // DW_OP_swap
		a, b := e.pop(), e.pop()
		e.push(a)
		e.push(b)
	case 0x17: // DW_OP_rot
		a, b, c := e.pop(), e.pop(), e.pop()
		e.push(a)
		e.push(c)
		e.push(b)
	}
}

func (e *evaluation) binary(op byte) {
	b, a := e.pop(), e.pop()
	switch op {
	case 0x1a: // DW_OP_and
		e.push(a & b)
	case 0x1b: // DW_OP_div
		if b == 0 {
			e.bad = true
			return
		}
		e.push(uint64(e.signed(a) / e.signed(b)))
	case 0x1c: // DW_OP_minus
		e.push(a - b)
	case 0x1d: // DW_OP_mod
		if b == 0 {
			e.bad = true
			return
		}
		e.push(a % b)
	case 0x1e: // DW_OP_mul
		e.push(a * b)
	case 0x21: // DW_OP_or
		e.push(a | b)
	case 0x22: // DW_OP_plus
		e.push(a + b)
	case 0x24: // DW_OP_shl
		e.push(a << min(b, 64))
	case 0x25: // DW_OP_shr
		e.push(a >> min(b, 64))
	case 0x26: // DW_OP_shra
		e.push(uint64(e.signed(a) >> min(b, 64)))
	case 0x27: // DW_OP_xor
		e.push(a ^ b)
	}
}

func (e *evaluation) compare(op byte) {
	b, a := e.signed(e.pop()), e.signed(e.pop())
	holds := [...]bool{a == b, a >= b, a > b, a <= b, a < b, a != b}[op-0x29]
	if holds {
		e.push(1)
	} else {
		e.push(0)
	}
}

func (e *evaluation) other(op byte) {
	r := &e.r
	switch op {
	case 0x03: // DW_OP_addr
		e.push(r.address())
	case 0x06: // DW_OP_deref
		v, ok := e.u.word(e.pop())
		e.bad = e.bad || !ok
		e.push(v)
	case 0x94: // DW_OP_deref_size
		e.deref(int(r.u8()))
	case 0x19: // DW_OP_abs
		if v := e.pop(); e.signed(v) < 0 {
			e.push(-v)
		} else {
			e.push(v)
		}
	case 0x1f: // DW_OP_neg
		e.push(-e.pop())
	case 0x20: // DW_OP_not
		e.push(^e.pop())
	case 0x23: // DW_OP_plus_uconst
		e.push(e.pop() + r.uleb())
	case 0x28: // DW_OP_bra
		if off := int16(r.u16()); e.pop() != 0 {
			e.jump(off)
		}
	case 0x2f: // DW_OP_skip
		e.jump(int16(r.u16()))
	case 0x92: // DW_OP_bregx
		reg := r.uleb()
		e.base(reg, r.sleb())
	case 0x96: // DW_OP_nop
	default:
		e.bad = true
	}
}

func (e *evaluation) deref(n int) {
	if n < 1 || n > e.u.m.word {
		e.bad = true
		return
	}
	var b [8]byte
	if k, _ := e.u.set.ReadMemory(b[:n], e.pop()); k < n {
		e.bad = true
	}
	e.push(binary.LittleEndian.Uint64(b[:]))
}

func (e *evaluation) jump(off int16) {
	to := len(e.code) - len(e.r.b) + int(off)
	if to < 0 || to > len(e.code) {
		e.bad = true
		return
	}
	e.r.b = e.code[to:]
}
