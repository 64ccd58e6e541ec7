package bpf

import (
	"fmt"

	"github.com/cilium/ebpf/asm"
)

// program is decoded instructions.
type program struct{ code []instruction }

// instruction is one, with its target found.
type instruction struct {
	op       asm.OpCode
	dst, src uint8
	off      int16
	imm      uint64
	target   int // of a jump or call: index
}

// decode checks a program and finds its targets, so that running it needs no
// more than bounds of memory and steps.
func (m *Machine) decode(all asm.Instructions) (*program, error) {
	index, at, functions := map[int]int{}, make([]int, len(all)), map[string]int{}
	raw := 0
	for i := range all {
		index[raw], at[i] = i, raw
		if s := all[i].Symbol(); s != "" {
			functions[s] = i
		}
		raw += int(all[i].Width())
	}
	p := &program{code: make([]instruction, len(all))}
	for i := range all {
		in := &all[i]
		c := instruction{op: in.OpCode, dst: uint8(in.Dst), src: uint8(in.Src), off: in.Offset, imm: uint64(in.Constant)}
		if c.dst > 10 || c.src > 10 {
			return nil, fmt.Errorf("%w: %v", ErrProgram, in)
		}
		switch class := in.OpCode.Class(); class {
		case asm.LdClass:
			if in.IsLoadFromMap() {
				x := m.names[in.Reference()]
				if x == nil {
					return nil, fmt.Errorf("%w: map %q", ErrProgram, in.Reference())
				}
				if c.imm = x.handle; in.Src == asm.PseudoMapValue {
					c.imm = x.base + uint64(in.Constant)>>32
				}
			}
		case asm.LdXClass, asm.StClass, asm.StXClass:
			if n := in.OpCode.Size().Sizeof(); n != 1 && n != 2 && n != 4 && n != 8 {
				return nil, fmt.Errorf("%w: %v", ErrProgram, in)
			}
			if class == asm.StXClass && in.OpCode.Mode() == asm.AtomicMode && in.OpCode.AtomicOp() != asm.AddAtomic {
				return nil, fmt.Errorf("%w: %v", ErrProgram, in)
			}
		case asm.ALUClass, asm.ALU64Class:
		case asm.JumpClass, asm.Jump32Class:
			if err := c.aim(in, i, at, index, functions); err != nil {
				return nil, err
			}
		default:
			return nil, fmt.Errorf("%w: %v", ErrProgram, in)
		}
		p.code[i] = c
	}
	return p, nil
}

// aim finds where a jump or call goes.
func (c *instruction) aim(in *asm.Instruction, i int, at []int, index map[int]int, functions map[string]int) error {
	ok := true
	switch op := in.OpCode.JumpOp(); {
	case op == asm.Exit, op == asm.Call && in.IsBuiltinCall():
	case op == asm.Call:
		c.target, ok = functions[in.Reference()]
		c.src = uint8(asm.PseudoCall)
	default:
		off := int(in.Offset)
		if op == asm.Ja && in.OpCode.Class() == asm.Jump32Class {
			off = int(in.Constant)
		}
		c.target, ok = index[at[i]+1+off]
	}
	if !ok {
		return fmt.Errorf("%w: %v goes nowhere", ErrProgram, in)
	}
	return nil
}
