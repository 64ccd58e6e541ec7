package bpf

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/cilium/ebpf/asm"
)

// Run runs a program with a context, which is an address, to its end, and
// returns what the last of those that it went on with returns.
func (m *Machine) Run(name string, ctx uint64, env *Env) (uint64, error) {
	for range maxTails {
		p := m.progs[name]
		if p == nil {
			return 0, fmt.Errorf("%w: no program %q", ErrProgram, name)
		}
		r := run{m: m, p: p, env: env}
		regs := registers{1: ctx}
		if err := r.function(0, &regs, 0); err != nil {
			return 0, err
		}
		if r.tail == "" {
			return regs[0], nil
		}
		name = r.tail
	}
	return 0, fmt.Errorf("%w: tail calls", ErrSteps)
}

type registers [11]uint64

// run is a run of one program.
type run struct {
	m    *Machine
	p    *program
	env  *Env
	tail string // the program that goes on
}

// function runs from an instruction to its exit, in a frame of its own.
func (r *run) function(pc int, regs *registers, depth int) error {
	if depth >= maxCalls {
		return fmt.Errorf("%w: calls", ErrSteps)
	}
	clear(r.m.mem(r.m.stack+uint64(depth*stackSize), stackSize))
	regs[10] = r.m.stack + uint64((depth+1)*stackSize)
	for pc < len(r.p.code) {
		if r.m.Steps--; r.m.Steps < 0 {
			return ErrSteps
		}
		in := &r.p.code[pc]
		pc++
		switch in.op.Class() {
		case asm.LdClass:
			regs[in.dst] = in.imm
		case asm.LdXClass:
			if !r.load(in, regs) {
				return ErrAccess
			}
		case asm.StClass, asm.StXClass:
			if !r.store(in, regs) {
				return ErrAccess
			}
		case asm.ALUClass, asm.ALU64Class:
			if !alu(in, regs) {
				return fmt.Errorf("%w: %v", ErrProgram, in.op)
			}
		default:
			switch in.op.JumpOp() {
			case asm.Exit:
				return nil
			case asm.Call:
				if err := r.call(in, regs, depth); err != nil || r.tail != "" {
					return err
				}
			default:
				jumps, ok := jump(in, regs)
				if !ok {
					return fmt.Errorf("%w: %v", ErrProgram, in.op)
				}
				if jumps {
					pc = in.target
				}
			}
		}
	}
	return ErrAccess
}

func (r *run) load(in *instruction, regs *registers) bool {
	n := in.op.Size().Sizeof()
	b := r.m.mem(regs[in.src]+uint64(int64(in.off)), n)
	if b == nil {
		return false
	}
	v := read(b)
	if in.op.Mode() == asm.MemSXMode {
		shift := 64 - 8*n
		v = uint64(int64(v<<shift) >> shift)
	}
	regs[in.dst] = v
	return true
}

func (r *run) store(in *instruction, regs *registers) bool {
	b := r.m.mem(regs[in.dst]+uint64(int64(in.off)), in.op.Size().Sizeof())
	if b == nil {
		return false
	}
	v := in.imm
	if in.op.Class() == asm.StXClass {
		v = regs[in.src]
	}
	if in.op.Mode() == asm.AtomicMode {
		v += read(b)
	}
	switch len(b) {
	case 1:
		b[0] = byte(v)
	case 2:
		binary.LittleEndian.PutUint16(b, uint16(v))
	case 4:
		binary.LittleEndian.PutUint32(b, uint32(v))
	case 8:
		binary.LittleEndian.PutUint64(b, v)
	}
	return true
}

// read reads a number of 1, 2, 4 or 8 bytes.
func read(b []byte) uint64 {
	switch len(b) {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(binary.LittleEndian.Uint16(b))
	case 4:
		return uint64(binary.LittleEndian.Uint32(b))
	}
	return binary.LittleEndian.Uint64(b)
}

// jump tells whether a jump is taken; false: it is none that is known.
func jump(in *instruction, regs *registers) (taken, ok bool) {
	a, b := regs[in.dst], in.imm
	if in.op.Source() == asm.RegSource {
		b = regs[in.src]
	}
	sa, sb := int64(a), int64(b)
	if in.op.Class() == asm.Jump32Class {
		a, b, sa, sb = uint64(uint32(a)), uint64(uint32(b)), int64(int32(a)), int64(int32(b))
	}
	switch in.op.JumpOp() {
	case asm.Ja:
		return true, true
	case asm.JEq:
		return a == b, true
	case asm.JNE:
		return a != b, true
	case asm.JGT:
		return a > b, true
	case asm.JGE:
		return a >= b, true
	case asm.JLT:
		return a < b, true
	case asm.JLE:
		return a <= b, true
	case asm.JSet:
		return a&b != 0, true
	case asm.JSGT:
		return sa > sb, true
	case asm.JSGE:
		return sa >= sb, true
	case asm.JSLT:
		return sa < sb, true
	case asm.JSLE:
		return sa <= sb, true
	}
	return false, false
}

// alu does arithmetic; false: it is none that is known.
func alu(in *instruction, regs *registers) bool {
	narrow := in.op.Class() == asm.ALUClass
	a, b := regs[in.dst], in.imm
	if in.op.ALUOp() == asm.Swap {
		regs[in.dst] = swap(in, a)
		return true
	}
	if in.op.Source() == asm.RegSource {
		b = regs[in.src]
	}
	shift := b & 63
	sa, sb, signed := int64(a), int64(b), in.off == 1 // of a division
	if narrow {
		a, b, shift = uint64(uint32(a)), uint64(uint32(b)), b&31
		sa, sb = int64(int32(a)), int64(int32(b))
	}
	switch in.op.ALUOp() {
	case asm.Mov:
		a = b
	case asm.MovSX8:
		a = uint64(int64(int8(b)))
	case asm.MovSX16:
		a = uint64(int64(int16(b)))
	case asm.MovSX32:
		a = uint64(int64(int32(b)))
	case asm.Add:
		a += b
	case asm.Sub:
		a -= b
	case asm.Mul:
		a *= b
	case asm.Div, asm.SDiv:
		a = divide(a, b, sa, sb, signed)
	case asm.Mod, asm.SMod:
		a -= divide(a, b, sa, sb, signed) * b
	case asm.Or:
		a |= b
	case asm.And:
		a &= b
	case asm.Xor:
		a ^= b
	case asm.LSh:
		a <<= shift
	case asm.RSh:
		a >>= shift
	case asm.ArSh:
		a = uint64(sa >> shift)
	case asm.Neg:
		a = -a
	default:
		return false
	}
	if narrow {
		a = uint64(uint32(a))
	}
	regs[in.dst] = a
	return true
}

// divide is 0 for a division by 0.
func divide(a, b uint64, sa, sb int64, signed bool) uint64 {
	switch {
	case b == 0:
		return 0
	case !signed:
		return a / b
	case sb == -1: // the quotient of the smallest number is itself
		return uint64(-sa)
	}
	return uint64(sa / sb)
}

// swap changes the order of a number's bytes: to that of big-endian machines,
// or, of 64-bit arithmetic, in any case. The rest is cut off.
func swap(in *instruction, a uint64) uint64 {
	turn := in.op.Endianness() == asm.BE || in.op.Class() == asm.ALU64Class
	switch {
	case in.imm == 16 && turn:
		return uint64(bits.ReverseBytes16(uint16(a)))
	case in.imm == 16:
		return uint64(uint16(a))
	case in.imm == 32 && turn:
		return uint64(bits.ReverseBytes32(uint32(a)))
	case in.imm == 32:
		return uint64(uint32(a))
	case turn:
		return bits.ReverseBytes64(a)
	}
	return a
}
