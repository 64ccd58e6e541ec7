package linux

import (
	"errors"
	"fmt"
	"runtime"
	"syscall"

	"procdump/arch"
	"procdump/internal/sys/ptrace"
)

// regsets are the register sets to ask for after NT_PRSTATUS, in the order in
// which the kernel writes them to a core. Which of them exist depends on the
// CPU and the kernel; the others are refused.
var regsets = map[string][]uint32{
	"amd64": {arch.NT_PRFPREG, arch.NT_PRXFPREG, arch.NT_X86_XSTATE, arch.NT_386_TLS, arch.NT_X86_SHSTK},
	"arm64": {arch.NT_PRFPREG, arch.NT_ARM_TLS, arch.NT_ARM_HW_BREAK, arch.NT_ARM_HW_WATCH, arch.NT_ARM_SYSTEM_CALL,
		arch.NT_ARM_SVE, arch.NT_ARM_PAC_MASK, arch.NT_ARM_TAGGED_ADDR_CTRL, arch.NT_ARM_SSVE, arch.NT_ARM_ZA,
		arch.NT_ARM_ZT, arch.NT_ARM_FPMR, arch.NT_ARM_GCS},
}

// regReader reads registers of stopped threads; it belongs to one tracer.
type regReader struct {
	view64 bool // give 32-bit threads' registers in the 64-bit layout
	refuse map[refusal]bool
	buf    []byte
}

type refusal struct {
	machine arch.Machine
	typ     uint32
}

func newRegReader(view64 bool) *regReader {
	return &regReader{view64: view64, refuse: map[refusal]bool{}, buf: make([]byte, 64<<10)}
}

// read reads all registers of a stopped thread. What kind of thread it is
// shows in the size of its general-purpose set: the kernel chooses by the code
// segment that the thread runs in.
func (rr *regReader) read(tid int) (arch.Registers, error) {
	var r arch.Registers
	n, err := ptrace.Regset(tid, arch.NT_PRSTATUS, rr.buf)
	if err != nil {
		return r, fmt.Errorf("read registers of thread %d: %w", tid, err)
	}
	gp := append([]byte(nil), rr.buf[:n]...)
	for _, m := range []arch.Machine{arch.AMD64, arch.I386, arch.ARM64} {
		if m.GPSize() == n {
			r.Machine = m
		}
	}
	if r.Machine == arch.Unknown {
		return r, fmt.Errorf("read registers of thread %d: set of %d bytes is of no machine known here", tid, n)
	}
	wide := r.Machine == arch.I386 && rr.view64
	if wide {
		if gp, err = ptrace.Regs64(tid); err != nil {
			return r, fmt.Errorf("read 64-bit registers of thread %d: %w", tid, err)
		}
		r.Machine = arch.AMD64
	}
	r.Put(arch.NT_PRSTATUS, gp)
	if r.Machine == arch.AMD64 && !wide {
		rr.extended(tid, &r)
	}
	for _, typ := range regsets[runtime.GOARCH] {
		if rr.refuse[refusal{r.Machine, typ}] || r.Set(typ) != nil {
			continue
		}
		n, err := ptrace.Regset(tid, typ, rr.buf)
		if err != nil {
			if !errors.Is(err, syscall.ESRCH) && !errors.Is(err, syscall.EIO) {
				rr.refuse[refusal{r.Machine, typ}] = true
			}
			continue
		}
		if n == 0 || wide && (typ == arch.NT_PRFPREG || typ == arch.NT_386_TLS) {
			continue
		}
		if wide && typ == arch.NT_PRXFPREG {
			typ = arch.NT_PRFPREG // FXSAVE, as a 64-bit thread has it
		}
		r.Put(typ, append([]byte(nil), rr.buf[:n]...))
	}
	return r, nil
}

// fxsaveSize is that of FXSAVE's form, with which XSAVE's begins, fxsaveUsed how
// much of it the processor fills in, and xsaveSize that of the least form of
// XSAVE, with its header.
const fxsaveSize, fxsaveUsed, xsaveSize = 512, 416, 576

// extended reads all that XSAVE saves of a 64-bit thread. It begins with what
// the kernel gives as NT_PRFPREG (copy_xstate_to_uabi_buf,
// arch/x86/kernel/fpu/xstate.c), but for what the processor leaves to software:
// that is one request less of each thread.
func (rr *regReader) extended(tid int, r *arch.Registers) {
	n, err := ptrace.Regset(tid, arch.NT_X86_XSTATE, rr.buf)
	if err != nil || n < xsaveSize {
		return
	}
	fx := make([]byte, fxsaveSize)
	copy(fx, rr.buf[:fxsaveUsed])
	r.Put(arch.NT_PRFPREG, fx)
	r.Put(arch.NT_X86_XSTATE, append([]byte(nil), rr.buf[:n]...))
}
