package unwind

import (
	"fmt"

	"procdump/arch"
)

// callEntry is that of code without ORC data which a return address at the
// stack pointer ends: a jump to an address where nothing is.
var callEntry = orcEntry{spReg: orcRegSP, spOffset: 8, bpReg: orcRegUndefined, typ: orcCall}

// frameEntry is that of code without ORC data that keeps frame pointers, such
// as what the kernel compiled for BPF.
var frameEntry = orcEntry{spReg: orcRegBP, spOffset: 16, bpReg: orcRegPrevSP, bpOffset: -16, typ: orcCall}

// orcStep follows unwind_next_frame of arch/x86/kernel/unwind_orc.c.
func (w *walker) orcStep(s *state) (state, error) {
	u := w.u
	addr := s.pc
	if !s.exact {
		addr--
	}
	next := state{reliable: true, fp: s.fp}
	var e orcEntry
	if u.code.contains(addr) {
		var err error
		if e, err = u.orc.find(addr); err != nil {
			return next, err
		}
	} else if ret, err := u.mem.word(s.sp); s.exact && err == nil && u.code.contains(ret) {
		e = callEntry
	} else {
		e, next.reliable = frameEntry, false
	}

	switch e.typ {
	case orcEndOfStack:
		return next, errEnd
	case orcUndefined:
		return next, fmt.Errorf("the kernel has no unwind data for %s", u.code.at(s.pc, s.exact))
	}
	sp, err := w.orcSP(s, &e)
	if err != nil {
		return next, err
	}
	switch e.typ {
	case orcCall:
		if next.pc, err = u.mem.word(sp - 8); err != nil {
			return next, fmt.Errorf("read the stack: %w", err)
		}
		next.sp = sp
		next.exact = e.signal
	case orcRegs, orcRegsPartial:
		// Of an interrupt frame without the other registers, pt_regs would
		// begin this many bytes before.
		const beforeIP = x86IP * 8
		at := sp
		if next.full = e.typ == orcRegs; !next.full {
			at = sp - beforeIP
			if next.prev = s.regs; !s.full {
				next.prev = s.prev
			}
		}
		if next.regs, err = w.readRegs(at, next.full); err != nil {
			return next, err
		}
		next.pc, next.sp, next.exact = next.regs.PC(), next.regs.SP(), true
	}
	return next, w.orcBP(&next, &e, sp)
}

// readRegs reads pt_regs; of a partial one the registers before ip are zero.
func (w *walker) readRegs(at uint64, full bool) (*Regs, error) {
	m := w.u.k.Machine
	b := make([]byte, 8*ptRegs(m))
	from := 0
	if !full && m == arch.AMD64 {
		from = x86IP * 8
	}
	if err := w.u.mem.read(b[from:], at+uint64(from)); err != nil {
		return nil, fmt.Errorf("read the registers of an interrupt: %w", err)
	}
	return regsOf(m, b), nil
}

// orcSP computes the stack pointer of the caller.
func (w *walker) orcSP(s *state, e *orcEntry) (uint64, error) {
	off := uint64(int64(e.spOffset))
	switch e.spReg {
	case orcRegSP:
		return s.sp + off, nil
	case orcRegBP:
		return s.fp + off, nil
	case orcRegSPIndirect:
		at, add := s.sp, off
		if !w.u.orc.layout.indirectAfter {
			at, add = s.sp+off, 0
		}
		v, err := w.u.mem.word(at)
		if err != nil {
			return 0, fmt.Errorf("read the stack: %w", err)
		}
		return v + add, nil
	case orcRegBPIndirect:
		v, err := w.u.mem.word(s.fp + off)
		if err != nil {
			return 0, fmt.Errorf("read the stack: %w", err)
		}
		return v, nil
	}
	number, ok := map[uint8]int{orcRegDX: x86DX, orcRegDI: x86DI, orcRegR10: x86R10, orcRegR13: x86R13}[e.spReg]
	regs := s.regs
	if !s.full {
		regs = s.prev
	}
	if !ok || regs == nil {
		return 0, fmt.Errorf("the register that leads to the caller of %s is not known", w.u.code.at(s.pc, s.exact))
	}
	return regs.values[number], nil
}

// orcBP sets rbp of the caller. sp is what orcSP computed.
func (w *walker) orcBP(next *state, e *orcEntry, sp uint64) error {
	off := uint64(int64(e.bpOffset))
	var at uint64
	switch e.bpReg {
	case orcRegUndefined:
		switch {
		case next.regs != nil && next.full:
			next.fp = next.regs.FP()
		case next.regs != nil && next.prev != nil:
			next.fp = next.prev.FP()
		}
		return nil
	case orcRegPrevSP:
		at = sp + off
	case orcRegBP:
		at = next.fp + off
	default:
		return fmt.Errorf("unwind: ORC entry with register %d for rbp", e.bpReg)
	}
	v, err := w.u.mem.word(at)
	if err != nil {
		return fmt.Errorf("read the stack: %w", err)
	}
	next.fp = v
	return nil
}
