package unwind

import (
	"errors"
	"fmt"
)

// frameStep goes by frame pointers, for kernels with
// CONFIG_UNWINDER_FRAME_POINTER (arch/x86/kernel/unwind_frame.c): rbp points to
// the caller's rbp, behind which the return address lies. Entry code sets the
// lowest bit of rbp; the rest is the address of pt_regs then.
func (w *walker) frameStep(s *state) (state, error) {
	next := state{reliable: true}
	switch {
	case s.fp == 0:
		return next, errEnd
	case s.fp&1 == 1:
		regs, err := w.readRegs(s.fp&^1, true)
		if err != nil {
			return next, err
		}
		next.regs, next.full, next.exact = regs, true, true
		next.pc, next.sp, next.fp = regs.PC(), regs.SP(), regs.FP()
		return next, nil
	case s.fp&7 != 0 || s.fp < s.sp && w.sameArea(s.fp, s.sp):
		return next, fmt.Errorf("the frame pointer %#x leads to no frame", s.fp)
	}
	var err error
	if next.pc, err = w.u.mem.word(s.fp + 8); err != nil {
		return next, fmt.Errorf("read the stack: %w", err)
	}
	next.sp = s.fp + 16
	if next.fp, err = w.u.mem.word(s.fp); err != nil {
		return next, fmt.Errorf("read the stack: %w", err)
	}
	if next.pc == 0 && next.fp == 0 { // the end of a kernel thread
		return next, errEnd
	}
	return next, nil
}

func (w *walker) sameArea(a, b uint64) bool {
	x, ok := w.areaOf(a)
	y, ok2 := w.areaOf(b)
	return ok && ok2 && x == y
}

// Kinds of struct frame_record_meta (arch/arm64/include/asm/stacktrace/frame.h,
// since 6.14), which follow a frame record of zeros.
const (
	armMetaFinal = 1
	armMetaRegs  = 2
)

// armStep goes by arm64's frame records: x29 points to the caller's x29 and the
// return address. A record of zeros ends the stack, or says that pt_regs holds
// it; older kernels put an interrupted place into such a record.
func (w *walker) armStep(s *state) (state, error) {
	next := state{reliable: true}
	if s.fp == 0 {
		return next, errEnd
	}
	if s.fp&7 != 0 || s.fp < s.sp && w.sameArea(s.fp, s.sp) {
		return next, fmt.Errorf("the frame pointer %#x leads to no frame", s.fp)
	}
	fp, err := w.u.mem.word(s.fp)
	pc, err2 := w.u.mem.word(s.fp + 8)
	if err := errors.Join(err, err2); err != nil {
		return next, fmt.Errorf("read the stack: %w", err)
	}
	if fp == 0 && pc == 0 {
		return w.armMeta(s.fp)
	}
	next.pc, next.fp, next.sp = w.u.k.Space.StripPAC(pc), fp, s.fp+16
	return next, nil
}

// armMeta reads what a frame record of zeros says.
func (w *walker) armMeta(record uint64) (state, error) {
	next := state{reliable: true}
	if _, err := w.u.k.BTF(); err != nil {
		return next, errEnd
	}
	if _, err := w.u.k.Field("frame_record_meta", "type"); err != nil {
		return next, errEnd // before 6.14
	}
	kind, err := w.u.mem.word(record + 16)
	if err != nil || kind != armMetaRegs {
		return next, errEnd
	}
	f, err := w.u.k.Field("pt_regs", "stackframe")
	if err != nil {
		return next, errEnd
	}
	regs, err := w.readRegs(record-f.Offset, true)
	if err != nil {
		return next, err
	}
	next.regs, next.full, next.exact = regs, true, true
	next.pc, next.sp, next.fp = regs.PC(), regs.SP(), regs.FP()
	return next, nil
}
