package inject

import (
	"encoding/binary"

	"procdump/arch"
)

// registers is struct user_regs_struct of amd64, which ptrace(2) uses for a
// 32-bit thread, too.
type registers [27]uint64

// Indices of registers (sys/user.h).
const (
	regR15 = iota
	regR14
	regR13
	regR12
	regRBP
	regRBX
	regR11
	regR10
	regR9
	regR8
	regRAX
	regRCX
	regRDX
	regRSI
	regRDI
	regOrigRAX
	regRIP
	regCS
	regEFlags
	regRSP
	regSS
	regFSBase
	regGSBase
	regDS
	regES
	regFS
	regGS
)

func decodeRegisters(b []byte) (r registers) {
	for i := range r {
		r[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	return r
}

func (r *registers) encode() []byte {
	b := make([]byte, 0, 8*len(r))
	for _, v := range r {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}

// trapFlag is the flag by which a program steps through itself.
const trapFlag = 0x100

// conventions are how a machine's system calls are numbered and called.
type conventions struct {
	arguments                                         []int // indices of registers
	clone, wait4, exitGroup, prctl, closeRange, pause uint64
	restart                                           uint64 // length of the instruction that enters the kernel
}

var conventionsOf = map[arch.Machine]conventions{
	arch.AMD64: {[]int{regRDI, regRSI, regRDX, regR10, regR8, regR9}, 56, 61, 231, 157, 436, 34, 2},
	arch.I386:  {[]int{regRBX, regRCX, regRDX, regRSI, regRDI, regRBP}, 120, 114, 252, 172, 436, 29, 2},
}

// Errors that a system call returns inside the kernel when a signal or a stop
// interrupts it (linux/errno.h). The kernel begins the call anew, or goes on
// with it, when the thread runs on.
const (
	restartSys     = -512
	restartNoIntr  = -513
	restartNoHand  = -514
	restartBlocked = -516
)

// restarts tells whether a result is one of them.
func restarts(result int64) bool {
	switch result {
	case restartSys, restartNoIntr, restartNoHand, restartBlocked:
		return true
	}
	return false
}

// home returns the registers with which a thread goes on that finds its way back
// by a signal frame: what the kernel would have made of an interrupted system
// call it must make itself. One that the kernel would go on with for the rest of
// its time limit has its whole time once more, for a signal frame ends what the
// kernel remembers of it; if it was interrupted before, nobody knows any more
// which call it was, and it ends with EINTR.
func (r registers) home(c conventions) registers {
	if int64(r[regOrigRAX]) < 0 {
		return r
	}
	if restarts(int64(r[regRAX])) {
		r[regRAX] = r[regOrigRAX]
		r[regRIP] -= c.restart
	}
	return r
}

// frameSize bounds the size of a signal frame, in bytes, with what lies on the
// stack before it: 64-bit 8+304, 32-bit 12+16+128+116.
const frameSize = 320

// badStack is a stack_t's ss_flags that sigaltstack(2) refuses: so rt_sigreturn
// leaves the thread's alternate stack as it is.
const badStack = 0x7f

// frame makes what lies at a stack pointer from which, after pops words, a
// "return" goes to rt_sigreturn, which loads the registers. fp is the address of
// the floating-point state; 0: it is reset.
func frame(m arch.Machine, site Site, r registers, mask, fp uint64) []byte {
	if m == arch.I386 {
		return frame32(site, r, mask, fp)
	}
	// struct rt_sigframe (arch/x86/include/asm/sigframe.h): the return address;
	// struct ucontext: flags, link, stack_t (24), struct sigcontext (256), mask.
	le := binary.LittleEndian
	b := make([]byte, 8, frameSize)
	le.PutUint64(b, site.Return)
	const xstate, ss, strictSS = 1, 2, 4 // UC_FP_XSTATE, UC_SIGCONTEXT_SS, UC_STRICT_RESTORE_SS
	b = le.AppendUint64(b, xstate|ss|strictSS)
	b = le.AppendUint64(b, 0)
	b = le.AppendUint64(b, 0)
	b = le.AppendUint64(b, badStack)
	b = le.AppendUint64(b, 0)
	for _, i := range []int{regR8, regR9, regR10, regR11, regR12, regR13, regR14, regR15, regRDI, regRSI,
		regRBP, regRBX, regRDX, regRAX, regRCX, regRSP, regRIP, regEFlags} {
		b = le.AppendUint64(b, r[i])
	}
	for _, i := range []int{regCS, regGS, regFS, regSS} {
		b = le.AppendUint16(b, uint16(r[i]))
	}
	b = append(b, make([]byte, 4*8)...) // err, trapno, oldmask, cr2
	b = le.AppendUint64(b, fp)
	b = append(b, make([]byte, 8*8)...)
	return le.AppendUint64(b, mask)
}

// firstArgument is the offset in a frame of the register of a system call's first
// argument.
func firstArgument(m arch.Machine, site Site) uint64 {
	if m == arch.I386 {
		return uint64(4*site.pops) + 4*(4+32+5) + 8*4 // pretcode…info, flags…stack; bx is the ninth word
	}
	return 8 + 40 + 8*8 // rdi is the ninth register
}

// frame32 makes struct rt_sigframe_ia32: the return address, three arguments,
// siginfo (128); struct ucontext_ia32: flags, link, stack_t (12), struct
// sigcontext_32 (88), mask.
func frame32(site Site, r registers, mask, fp uint64) []byte {
	le := binary.LittleEndian
	b := make([]byte, 4*site.pops, frameSize)
	b = le.AppendUint32(b, uint32(site.Return))
	b = append(b, make([]byte, 12+128)...)
	b = le.AppendUint32(b, 1) // UC_FP_XSTATE
	b = le.AppendUint32(b, 0)
	b = le.AppendUint32(b, 0)
	b = le.AppendUint32(b, badStack)
	b = le.AppendUint32(b, 0)
	word := func(i int) { b = le.AppendUint32(b, uint32(r[i])) }
	for _, i := range []int{regGS, regFS, regES, regDS, regRDI, regRSI, regRBP, regRSP, regRBX, regRDX, regRCX, regRAX} {
		word(i)
	}
	b = append(b, make([]byte, 8)...) // trapno, err
	for _, i := range []int{regRIP, regCS, regEFlags, regRSP, regSS} {
		word(i)
	}
	b = le.AppendUint32(b, uint32(fp))
	b = append(b, make([]byte, 8)...) // oldmask, cr2
	return le.AppendUint64(b, mask)
}

// Offsets and values of the part of an XSAVE area that is the software's, in a
// signal frame (struct _fpx_sw_bytes).
const (
	legacySize  = 512 // FXSAVE
	softwareAt  = 464
	headerAt    = 512 // of XSAVE: which components are in use
	minXSave    = 576
	xsaveMagic1 = 0x46505853
	xsaveMagic2 = 0x46505845

	// tileData is the one component that a process must ask for before it may
	// use it. It is the last one, and the kernel takes a frame of another
	// process only without it.
	tileData     = 1 << 18
	tileDataSize = 8192

	// savedSize is the size of what precedes the FXSAVE area in a 32-bit frame
	// (struct fregs_state), of which ptrace(2) gives 108 bytes.
	savedSize = 112
)

// floating makes the floating-point state of a signal frame from the register
// sets NT_X86_XSTATE, or NT_PRFPREG of a thread without that, and for a 32-bit
// thread the FSAVE area. at is the offset of the XSAVE area, which is to lie at
// a multiple of 64.
func floating(m arch.Machine, xsave, fsave []byte) (b []byte, at int) {
	if m == arch.I386 {
		b = append(b, fsave...)
		b = append(b, make([]byte, max(0, savedSize-len(b)))...)
		b[108], b[109] = b[4], b[5] // the status word; then the magic of FXSAVE, 0
		at = savedSize
	}
	if len(xsave) < legacySize {
		return nil, 0
	}
	b = append(b, xsave...)
	area := b[at:]
	if len(area) < minXSave {
		clear(area[softwareAt:legacySize])
		return b, at
	}
	le := binary.LittleEndian
	features, used := le.Uint64(area[softwareAt:]), le.Uint64(area[headerAt:])
	size := len(area)
	if features&tileData != 0 && used&tileData == 0 && size > minXSave+tileDataSize {
		size -= tileDataSize
		features &^= tileData
	}
	clear(area[softwareAt:legacySize])
	le.PutUint32(area[softwareAt:], xsaveMagic1)
	le.PutUint32(area[softwareAt+4:], uint32(size+4))
	le.PutUint64(area[softwareAt+8:], features)
	le.PutUint32(area[softwareAt+16:], uint32(size))
	return le.AppendUint32(b[:at+size], xsaveMagic2), at
}
