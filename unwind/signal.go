package unwind

import (
	"bytes"

	"procdump/arch"
)

// trampoline is code that signal handlers return to, and where it finds the
// registers that the kernel saved.
type trampoline struct {
	code []byte
	// context is where struct sigcontext lies: that far above the stack
	// pointer, or, if through is set, above what the word there points to.
	context uint64
	through bool
}

// trampolines are known by their code where there is no call frame information
// for them: musl's, Go's and that of arm64's vdso. The kernel's layout of a
// signal's frame is in arch/x86/include/asm/sigframe.h, where the handler's
// return has taken its first word, and in arch/arm64/kernel/signal.c.
var trampolines = map[arch.Machine][]trampoline{
	arch.AMD64: {
		// mov $__NR_rt_sigreturn, %rax; syscall. Above the stack pointer lies
		// struct ucontext: flags, link, stack_t of 24 bytes, sigcontext.
		{code: []byte{0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05}, context: 40},
	},
	arch.I386: {
		// mov $__NR_rt_sigreturn, %eax; int $0x80. Above: signal number,
		// pointers to siginfo and to ucontext (flags, link, 12 bytes, sigcontext).
		{code: []byte{0xb8, 0xad, 0, 0, 0, 0xcd, 0x80}, context: 8, through: true},
		// pop %eax; mov $__NR_sigreturn, %eax; int $0x80. Above: signal
		// number, sigcontext.
		{code: []byte{0x58, 0xb8, 0x77, 0, 0, 0, 0xcd, 0x80}, context: 4},
	},
	arch.ARM64: {
		// mov x8, #__NR_rt_sigreturn; svc #0. Above: siginfo of 128 bytes,
		// struct ucontext: flags, link, stack_t of 24 bytes, room for 1024
		// signals, and at the next multiple of 16 sigcontext
		// (arch/arm64/include/uapi/asm/ucontext.h).
		{code: []byte{0x68, 0x11, 0x80, 0xd2, 0x01, 0, 0, 0xd4}, context: 128 + 176},
	},
}

const realContext = 20 // of struct ucontext on i386: where sigcontext begins

// stepSignal finds the registers that a signal interrupted, if the frame is the
// code that a handler returns to.
func (u *Unwinder) stepSignal(cur *walk) (next walk, ok bool) {
	m := u.m
	sp, known := cur.get(uint64(m.sp))
	if !known {
		return next, false
	}
	var code [16]byte
	n := u.read(code[:], cur.pc)
	for _, t := range trampolines[u.p.Machine()] {
		if n < len(t.code) || !bytes.Equal(code[:len(t.code)], t.code) {
			continue
		}
		at := sp + t.context
		if t.through {
			p, ok := u.word(at)
			if !ok {
				return next, false
			}
			at = p + realContext
		}
		next.frame, next.link = Frame{How: ByContext, Exact: true}, true
		for i, reg := range m.context {
			v, ok := u.word(m.trim(at + uint64(i*m.word)))
			switch {
			case !ok:
				return next, false
			case reg == m.ra:
				next.pc = v
			case reg >= 0:
				next.set(reg, v)
			}
		}
		cur.frame.Signal = true
		return next, true
	}
	return next, false
}
