package arch

import (
	"bytes"
	"encoding/binary"
)

// ContextFlags of i386 (winnt.h, CONTEXT_i386 and its parts).
const (
	contextI386         = 0x10000
	contextI386Parts    = 0x17 // CONTROL | INTEGER | SEGMENTS | DEBUG_REGISTERS
	contextI386Float    = 0x8
	contextI386Extended = 0x20
)

// Offsets in the i386 CONTEXT.
const (
	i386FSAVE     = 28
	i386FSAVESize = 108 // without Cr0NpxState, which follows it
	i386FXSAVE    = 204
)

var i386Fields = []field{
	{"gs", 140, 4}, {"fs", 144, 4}, {"es", 148, 4}, {"ds", 152, 4}, {"edi", 156, 4}, {"esi", 160, 4},
	{"ebx", 164, 4}, {"edx", 168, 4}, {"ecx", 172, 4}, {"eax", 176, 4}, {"ebp", 180, 4}, {"eip", 184, 4},
	{"cs", 188, 4}, {"eflags", 192, 4}, {"esp", 196, 4}, {"ss", 200, 4},
}

func (r *Registers) contextI386([]byte) []byte {
	b := make([]byte, contextI386Size)
	flags := uint32(contextI386 | contextI386Parts)
	if fp := r.Set(NT_PRFPREG); len(fp) >= i386FSAVESize {
		flags |= contextI386Float
		copy(b[i386FSAVE:i386FSAVE+i386FSAVESize], fp)
	}
	if fx := r.i386fxsave(); fx != nil {
		flags |= contextI386Extended
		copy(b[i386FXSAVE:], fx)
	}
	binary.LittleEndian.PutUint32(b, flags)
	r.store(b, i386Fields)
	return b
}

func (r *Registers) i386fxsave() []byte {
	for _, typ := range []uint32{NT_PRXFPREG, NT_X86_XSTATE} {
		if fx := r.Set(typ); len(fx) >= fxsaveSize {
			return fx[:fxsaveSize]
		}
	}
	return nil
}

func fromContextI386(b []byte) (Registers, bool) {
	if len(b) < i386FXSAVE {
		return Registers{}, false
	}
	flags := binary.LittleEndian.Uint32(b)
	if flags&contextI386 == 0 {
		return Registers{}, false
	}
	r := Registers{Machine: I386}
	r.load(b, i386Fields)
	r.SetGP("orig_eax", 0xffffffff)
	// The segment registers are 16 bits wide; Windows leaves the upper halves
	// undefined.
	for _, s := range []string{"cs", "ds", "es", "fs", "gs", "ss"} {
		v, _ := r.GP(s)
		r.SetGP(s, v&0xffff)
	}
	if flags&contextI386Float != 0 {
		r.Put(NT_PRFPREG, bytes.Clone(b[i386FSAVE:i386FSAVE+i386FSAVESize]))
	}
	if flags&contextI386Extended != 0 && len(b) >= contextI386Size {
		r.Put(NT_PRXFPREG, bytes.Clone(b[i386FXSAVE:i386FXSAVE+fxsaveSize]))
	}
	return r, true
}
