package arch

import (
	"bytes"
	"encoding/binary"
)

// ContextFlags of amd64 (winnt.h, CONTEXT_AMD64 and its parts).
const (
	contextAMD64       = 0x100000
	contextAMD64Float  = 0x8
	contextAMD64Parts  = 0x7        // CONTROL | INTEGER | SEGMENTS
	contextAMD64FSBase = 0x80000000 // LLDB's own: fs_base and gs_base are there
)

// Offsets in the amd64 CONTEXT.
const (
	amd64Flags  = 48
	amd64MXCSR  = 52
	amd64FXSAVE = 256
	// The last 48 bytes of an FXSAVE area are the software's. LLDB puts fs_base
	// and gs_base there and says so with a flag that makes Breakpad reject the
	// context; the bytes without the flag disturb no reader.
	amd64FSBase = amd64FXSAVE + fxsaveSoftware
	amd64GSBase = amd64FSBase + 8
)

// Offsets in an FXSAVE area (Intel SDM volume 1, 10.5.1).
const (
	fxsaveSize     = 512
	fxsaveMXCSR    = 24
	fxsaveSoftware = 464
)

var amd64Fields = []field{
	{"cs", 56, 2}, {"ds", 58, 2}, {"es", 60, 2}, {"fs", 62, 2}, {"gs", 64, 2}, {"ss", 66, 2}, {"eflags", 68, 4},
	{"rax", 120, 8}, {"rcx", 128, 8}, {"rdx", 136, 8}, {"rbx", 144, 8}, {"rsp", 152, 8}, {"rbp", 160, 8},
	{"rsi", 168, 8}, {"rdi", 176, 8}, {"r8", 184, 8}, {"r9", 192, 8}, {"r10", 200, 8}, {"r11", 208, 8},
	{"r12", 216, 8}, {"r13", 224, 8}, {"r14", 232, 8}, {"r15", 240, 8}, {"rip", 248, 8},
}

var amd64Bases = []field{{"fs_base", amd64FSBase, 8}, {"gs_base", amd64GSBase, 8}}

func (r *Registers) contextAMD64([]byte) []byte {
	b := make([]byte, contextAMD64Size)
	flags := uint32(contextAMD64 | contextAMD64Parts)
	if fx := r.fxsave(); fx != nil {
		flags |= contextAMD64Float
		copy(b[amd64FXSAVE:], fx)
		copy(b[amd64MXCSR:amd64MXCSR+4], fx[fxsaveMXCSR:])
	}
	binary.LittleEndian.PutUint32(b[amd64Flags:], flags)
	r.store(b, amd64Fields)
	r.store(b, amd64Bases)
	return b
}

// fxsave returns the thread's FXSAVE area, taken from the XSAVE area (whose
// first 512 bytes it is) where the plain regset is missing; nil if it has none.
func (r *Registers) fxsave() []byte {
	for _, typ := range []uint32{NT_PRFPREG, NT_X86_XSTATE} {
		if fx := r.Set(typ); len(fx) >= fxsaveSize {
			return fx[:fxsaveSize]
		}
	}
	return nil
}

func fromContextAMD64(b []byte) (Registers, bool) {
	if len(b) < contextAMD64MinSize {
		return Registers{}, false
	}
	flags := binary.LittleEndian.Uint32(b[amd64Flags:])
	if flags&contextAMD64 == 0 {
		return Registers{}, false
	}
	r := Registers{Machine: AMD64}
	r.load(b, amd64Fields)
	r.SetGP("orig_rax", ^uint64(0))
	switch {
	case len(b) >= contextAMD64Size, flags&contextAMD64FSBase != 0 && len(b) >= amd64GSBase+8:
		r.load(b, amd64Bases)
	}
	if flags&contextAMD64Float != 0 && len(b) >= amd64FXSAVE+fxsaveSize {
		fx := bytes.Clone(b[amd64FXSAVE : amd64FXSAVE+fxsaveSize])
		clear(fx[fxsaveSoftware : fxsaveSoftware+16])
		r.Put(NT_PRFPREG, fx)
	}
	return r, true
}
