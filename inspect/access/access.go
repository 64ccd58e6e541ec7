// Package access says what an instruction of amd64 or i386 does with memory: it
// reads or writes so many bytes at an address, which it has from registers. So
// a fault can be explained by the instruction that it happened at.
//
// Instructions are decoded by golang.org/x/arch/x86/x86asm. Of those that gather
// from many addresses at once nothing is said.
package access

import (
	"cmp"
	"strings"

	"golang.org/x/arch/x86/x86asm"

	"procdump/arch"
)

// Access is a use of memory.
type Access struct {
	Write bool
	Bytes int // 0: not known
	Addr  uint64
	// Base is the register that the address was computed from, "" if there is
	// none, and Value what it held.
	Base  string
	Value uint64
	// Index is the register that an element of an array was chosen by, "" if
	// there is none; Scale is the size of an element.
	Index      string
	IndexValue uint64
	Scale      int
	// Instruction is the instruction in the syntax of Intel's manuals.
	Instruction string
}

// longest is the length of the longest instruction, in bytes.
const longest = 15

// operand is one in memory.
type operand struct {
	mem   x86asm.Mem
	write bool
	bytes int
}

// Of returns the accesses of the instruction that code begins with, which a
// thread with these registers stands at. false: it is not known.
func Of(code []byte, r *arch.Registers) ([]Access, bool) {
	mode := 64
	if r.Machine == arch.I386 {
		mode = 32
	} else if r.Machine != arch.AMD64 {
		return nil, false
	}
	code = code[:min(len(code), longest)]
	inst, err := decode(code, mode)
	if err != nil || inst.Op == 0 {
		return nil, false
	}
	text := syntax(&inst, r.PC())
	var all []Access
	for _, o := range operands(&inst, mode) {
		a, ok := resolve(&o, r, r.PC()+uint64(inst.Len), mode)
		if ok {
			a.Instruction = text
			all = append(all, a)
		}
	}
	return all, true
}

func decode(code []byte, mode int) (inst x86asm.Inst, err error) {
	defer func() {
		if recover() != nil {
			err = x86asm.ErrUnrecognized
		}
	}()
	return x86asm.Decode(code, mode)
}

// syntax is an instruction in words of assembly, "" if there are none for it.
func syntax(inst *x86asm.Inst, pc uint64) (s string) {
	defer func() {
		if recover() != nil {
			s = ""
		}
	}()
	return strings.ToLower(x86asm.IntelSyntax(*inst, pc, nil))
}

// readers only read their first operand.
var readers = map[x86asm.Op]bool{x86asm.CMP: true, x86asm.TEST: true, x86asm.BT: true, x86asm.PUSH: true, x86asm.CALL: true,
	x86asm.JMP: true, x86asm.MUL: true, x86asm.DIV: true, x86asm.IDIV: true, x86asm.UCOMISD: true, x86asm.UCOMISS: true,
	x86asm.COMISD: true, x86asm.COMISS: true, x86asm.PTEST: true, x86asm.SCASB: true, x86asm.SCASW: true, x86asm.SCASD: true,
	x86asm.SCASQ: true, x86asm.CMPSB: true, x86asm.CMPSW: true, x86asm.CMPSD: true, x86asm.CMPSQ: true, x86asm.FLD: true,
	x86asm.FILD: true, x86asm.LDMXCSR: true, x86asm.FLDCW: true, x86asm.FXRSTOR: true, x86asm.XRSTOR: true, x86asm.LODSB: true,
	x86asm.LODSW: true, x86asm.LODSD: true, x86asm.LODSQ: true, x86asm.FADD: true, x86asm.FSUB: true, x86asm.FMUL: true,
	x86asm.FDIV: true, x86asm.FSUBR: true, x86asm.FDIVR: true, x86asm.FCOM: true, x86asm.FCOMP: true, x86asm.FIADD: true,
	x86asm.FISUB: true, x86asm.FISUBR: true, x86asm.FIMUL: true, x86asm.FIDIV: true, x86asm.FIDIVR: true, x86asm.FICOM: true,
	x86asm.FICOMP: true, x86asm.FBLD: true, x86asm.FLDENV: true, x86asm.FRSTOR: true, x86asm.FXRSTOR64: true,
	x86asm.XRSTOR64: true, x86asm.CLFLUSH: true, x86asm.LCALL: true, x86asm.LJMP: true}

// stringSize are the bytes of an element of a string.
var stringSize = map[x86asm.Op]int{
	x86asm.MOVSB: 1, x86asm.MOVSW: 2, x86asm.MOVSD: 4, x86asm.MOVSQ: 8, x86asm.STOSB: 1, x86asm.STOSW: 2, x86asm.STOSD: 4, x86asm.STOSQ: 8,
	x86asm.LODSB: 1, x86asm.LODSW: 2, x86asm.LODSD: 4, x86asm.LODSQ: 8, x86asm.SCASB: 1, x86asm.SCASW: 2, x86asm.SCASD: 4, x86asm.SCASQ: 8,
	x86asm.CMPSB: 1, x86asm.CMPSW: 2, x86asm.CMPSD: 4, x86asm.CMPSQ: 8,
}

// untouched name memory that they do not use.
var untouched = map[x86asm.Op]bool{x86asm.LEA: true, x86asm.NOP: true, x86asm.PREFETCHNTA: true, x86asm.PREFETCHT0: true,
	x86asm.PREFETCHT1: true, x86asm.PREFETCHT2: true, x86asm.PREFETCHW: true}

// operands are the places in memory that an instruction uses, those that it
// does not name among them: the top of the stack.
func operands(inst *x86asm.Inst, mode int) []operand {
	if untouched[inst.Op] {
		return nil
	}
	var all []operand
	for i, arg := range inst.Args {
		if m, ok := arg.(x86asm.Mem); ok {
			// IMUL with two or three operands writes a register; with one it reads.
			write := i == 0 && !readers[inst.Op] && inst.Op != x86asm.IMUL
			all = append(all, operand{m, write, cmp.Or(inst.MemBytes, stringSize[inst.Op])})
		}
	}
	word, sp := mode/8, x86asm.RSP
	if mode == 32 {
		sp = x86asm.ESP
	}
	switch inst.Op {
	case x86asm.PUSH, x86asm.CALL:
		all = append(all, operand{x86asm.Mem{Base: sp, Disp: -int64(word)}, true, word})
	case x86asm.POP, x86asm.RET, x86asm.LEAVE:
		all = append(all, operand{x86asm.Mem{Base: sp}, false, word})
	}
	return all
}

// resolve computes an operand's address. next is that of the instruction that
// follows.
func resolve(o *operand, r *arch.Registers, next uint64, mode int) (Access, bool) {
	m := o.mem
	a := Access{Write: o.write, Bytes: o.bytes, Addr: uint64(m.Disp)}
	if m.Base != 0 {
		if m.Base == x86asm.RIP || m.Base == x86asm.EIP {
			a.Addr += next
		} else {
			v, ok := value(m.Base, r)
			if !ok {
				return a, false
			}
			a.Base, a.Value = strings.ToLower(m.Base.String()), v
			a.Addr += v
		}
	}
	if m.Scale != 0 && m.Index != 0 {
		v, ok := value(m.Index, r)
		if !ok {
			return a, false
		}
		a.Index, a.IndexValue, a.Scale = strings.ToLower(m.Index.String()), v, int(m.Scale)
		a.Addr += v * uint64(m.Scale)
	}
	if mode == 32 {
		a.Addr = uint64(uint32(a.Addr))
	}
	switch m.Segment {
	case x86asm.FS, x86asm.GS:
		if mode == 32 { // gs is the thread pointer's there
			a.Addr = uint64(uint32(a.Addr + r.TLS()))
			break
		}
		base, _ := r.GP(strings.ToLower(m.Segment.String()) + "_base")
		a.Addr += base
	}
	return a, true
}

// value is what a register holds: a whole one, or the lower half of one.
func value(reg x86asm.Reg, r *arch.Registers) (uint64, bool) {
	name := strings.ToLower(reg.String())
	if v, ok := r.GP(name); ok {
		return v, true
	}
	switch {
	case r.Machine != arch.AMD64:
		return 0, false
	case len(name) > 1 && name[0] == 'e':
		name = "r" + name[1:]
	case strings.HasSuffix(name, "l"):
		name = strings.TrimSuffix(name, "l")
	}
	v, ok := r.GP(name)
	return uint64(uint32(v)), ok
}
