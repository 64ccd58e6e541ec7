package unwind

import (
	"procdump/image"
	"procdump/image/pclntab"
)

// apply finds the caller's registers by what call frame information says. It
// fails where the dump does not hold what it leads to.
func (u *Unwinder) apply(cur *walk, r *row) (next walk, end ending, ok bool) {
	m := u.m
	if r.ra < maxColumns && r.rules[r.ra].kind == undefined {
		return next, outermost, true
	}
	var cfa uint64
	if cur.loose && r.cfaExpr == nil && r.cfaReg == uint64(m.sp) {
		cfa, ok = cur.recordCFA(m, r)
	} else if r.cfaExpr != nil {
		cfa, ok = u.expression(r.cfaExpr, &cur.registers, nil)
	} else if cfa, ok = cur.get(r.cfaReg); ok {
		cfa = m.trim(cfa + uint64(r.cfaOff))
	}
	if !ok {
		return next, noStack, false
	}
	next.registers = cur.registers
	next.frame, next.link = Frame{How: ByCFI, Exact: r.signal}, r.signal
	next.set(m.sp, cfa)
	for i := range m.columns {
		if k := r.rules[i].kind; k == unspecified || k == sameValue {
			continue
		}
		if v, ok := u.value(&r.rules[i], &cur.registers, cfa); ok {
			next.set(i, v)
		} else {
			next.forget(i)
		}
	}
	v, ok := u.value(&r.rules[r.ra], &cur.registers, cfa)
	if k := r.rules[r.ra].kind; m.link != 0 && int(r.ra) == m.link && (k == unspecified || k == sameValue) {
		if !cur.link { // it has called without saving its own: nobody called it
			return next, outermost, true
		}
		v, ok = cur.get(r.ra)
	}
	if !ok {
		return next, noStack, false
	}
	if next.pc = v; r.signed {
		next.pc = u.plain(v)
	}
	return next, goesOn, true
}

// recordCFA is the CFA of a function whose stack pointer is not known: its frame
// pointer points to where it has saved its caller's.
func (cur *walk) recordCFA(m *machine, r *row) (uint64, bool) {
	fp, ok := cur.get(uint64(m.fp))
	saved := &r.rules[m.fp]
	return m.trim(fp - uint64(saved.off)), ok && saved.kind == atOffset
}

// value is a register of the caller.
func (u *Unwinder) value(r *rule, regs *registers, cfa uint64) (uint64, bool) {
	m := u.m
	switch r.kind {
	case atOffset:
		return u.word(m.trim(cfa + uint64(r.off)))
	case isOffset:
		return m.trim(cfa + uint64(r.off)), true
	case inRegister:
		return regs.get(uint64(r.off))
	case atExpression:
		at, ok := u.expression(r.expr, regs, &cfa)
		if !ok {
			return 0, false
		}
		return u.word(at)
	case isExpression:
		return u.expression(r.expr, regs, &cfa)
	}
	return 0, false
}

// stepGo finds the caller of a function of Go. ok is false if it is none.
func (u *Unwinder) stepGo(cur *walk, im *image.Image, pc uint64) (next walk, end ending, ok bool) {
	if im == nil {
		return next, goesOn, false
	}
	table := im.Go()
	if table == nil {
		return next, goesOn, false
	}
	f := table.Find(pc)
	if f == nil {
		return next, goesOn, false
	}
	// A signal handler returns to the beginning of a function that no code calls.
	if next, ok := u.stepSignal(cur); ok {
		return next, goesOn, true
	}
	// Go's signal handler is the first function that Go walks, and called by the
	// kernel for another.
	if f.Flags&pclntab.TopFrame != 0 && f.Name != "runtime.sigtramp" {
		return next, outermost, true
	}
	if f.Flags&pclntab.SPWrite != 0 && !cur.frame.Exact {
		return next, otherStack, true
	}
	delta, ok := f.SPDelta(pc)
	sp, known := cur.get(uint64(u.m.sp))
	if !ok || !known {
		return next, goesOn, false
	}
	m := u.m
	// Functions that the runtime has called from a signal handler in the place of
	// code that stood there.
	injected := f.Name == "runtime.sigpanic" || f.Name == "runtime.asyncPreempt"
	next.registers, next.frame, next.link = cur.registers, Frame{How: ByGo, Exact: injected}, injected
	if m.link != 0 {
		end, ok = u.linkedGo(cur, &next, uint64(delta), injected)
		return next, end, ok
	}
	word := uint64(m.word)
	ret := m.trim(sp + uint64(delta))
	if next.pc, ok = u.word(ret); !ok {
		return next, noStack, true
	}
	// Functions of Go on amd64 that have a frame save the frame pointer below
	// their return address.
	if m.fp == 6 && delta >= int64(word) {
		if v, ok := u.word(ret - word); ok {
			next.set(m.fp, v)
		}
	}
	next.set(m.sp, m.trim(ret+word))
	return next, goesOn, true
}
