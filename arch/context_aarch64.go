package arch

import "encoding/binary"

// ContextFlags of arm64: Microsoft's form, and the one that Breakpad had before.
const (
	contextARM64      = 0x400000
	contextARM64Old   = 0x80000000
	contextARM64Parts = 0x3 // CONTROL | INTEGER, in both
	contextARM64Float = 0x4 // in both
)

// Offsets in both arm64 CONTEXTs. The integer registers x0…x30, sp and pc
// coincide with the kernel's user_pt_regs behind the first 8 bytes.
const (
	arm64X = 8

	arm64CPSR = 4
	arm64V    = 272
	arm64FPCR = 784
	arm64FPSR = 788

	arm64OldCPSR = 272
	arm64OldFPSR = 276
	arm64OldFPCR = 280
	arm64OldV    = 284
)

// struct user_fpsimd_state: 32 vector registers, fpsr, fpcr, 8 bytes of padding.
const (
	fpsimdV    = 512
	fpsimdFPSR = 512
	fpsimdFPCR = 516
	fpsimdSize = 528
)

const arm64Words = 33 // x0…x30, sp, pc

func (r *Registers) contextARM64(gp []byte) []byte {
	b := make([]byte, contextARM64Size)
	flags := uint32(contextARM64 | contextARM64Parts)
	copy(b[arm64X:arm64X+arm64Words*8], gp)
	copy(b[arm64CPSR:arm64CPSR+4], gp[arm64Words*8:])
	if fp := r.Set(NT_PRFPREG); len(fp) >= fpsimdFPCR+4 {
		flags |= contextARM64Float
		copy(b[arm64V:arm64V+fpsimdV], fp)
		copy(b[arm64FPSR:arm64FPSR+4], fp[fpsimdFPSR:])
		copy(b[arm64FPCR:arm64FPCR+4], fp[fpsimdFPCR:])
	}
	binary.LittleEndian.PutUint32(b, flags)
	return b
}

func fromContextARM64(b []byte) (Registers, bool) {
	if len(b) < contextARM64OldSize {
		return Registers{}, false
	}
	flags := binary.LittleEndian.Uint32(b)
	switch {
	case flags&contextARM64Old != 0:
		return arm64Registers(b, flags, arm64OldCPSR, arm64OldV, arm64OldFPSR, arm64OldFPCR), true
	case flags&contextARM64 != 0 && len(b) >= contextARM64Size:
		return arm64Registers(b, flags, arm64CPSR, arm64V, arm64FPSR, arm64FPCR), true
	}
	return Registers{}, false
}

func arm64Registers(b []byte, flags uint32, cpsr, v, fpsr, fpcr int) Registers {
	gp := make([]byte, ARM64.GPSize())
	copy(gp, b[arm64X:arm64X+arm64Words*8])
	copy(gp[arm64Words*8:], b[cpsr:cpsr+4])
	r := Registers{Machine: ARM64}
	r.Put(NT_PRSTATUS, gp)
	if flags&contextARM64Float != 0 {
		fp := make([]byte, fpsimdSize)
		copy(fp, b[v:v+fpsimdV])
		copy(fp[fpsimdFPSR:], b[fpsr:fpsr+4])
		copy(fp[fpsimdFPCR:], b[fpcr:fpcr+4])
		r.Put(NT_PRFPREG, fp)
	}
	return r
}
