package unwind

import "procdump/image/pe"

// windowsVolatileARM64 is how many registers from x0 on a function of Windows need
// not keep for its caller
// (https://learn.microsoft.com/cpp/build/arm64-windows-abi-conventions); x18 is
// the same in all functions.
const windowsVolatileARM64 = 18

// armFrame is a function of arm64 that is being left.
type armFrame struct {
	u    *Unwinder
	next *registers // its caller's, as far as they are known
	// signed tells that the link register may have an authentication code.
	signed bool
	// interrupted tells that next are the registers of code that was interrupted.
	interrupted bool
	// returned tells that they are, but that it stands behind a call.
	returned bool
}

// stepWindowsARM64 finds the caller by the table of an image for arm64.
func (u *Unwinder) stepWindowsARM64(cur *walk, x *pe.Image, rva uint32) (next walk, end ending, ok bool) {
	f, ok, none := x.Function(rva)
	if !ok && !(none && cur.link) {
		return next, goesOn, false
	}
	link := u.m.link
	next.registers, next.frame = cur.registers, Frame{How: ByPE}
	for n := range windowsVolatileARM64 {
		next.forget(n)
	}
	if !cur.link {
		next.forget(link) // a call has come between
	}
	w := armFrame{u: u, next: &next.registers}
	if ok && !w.undo(x, f, rva) {
		return next, goesOn, false
	}
	if w.interrupted {
		next.frame.Exact = !w.returned
		_, next.link = next.get(uint64(link))
		next.link = next.link && !w.returned
		return next, goesOn, true
	}
	lr, known := next.get(uint64(link))
	next.forget(link)
	if !known {
		return next, noStack, false
	}
	if w.signed {
		lr = u.plain(lr)
	}
	// A function without an entry calls none and keeps nothing on the stack. Some of
	// assembly do, all the same.
	if none && lr != 0 && !u.returns(lr) && !u.recorded(lr) {
		return next, goesOn, false
	}
	next.pc = lr
	return next, goesOn, true
}

// undo undoes what a function has done before the instruction at a place in it.
func (w *armFrame) undo(x *pe.Image, f pe.Function, rva uint32) bool {
	all, ok := x.UndoARM64(f, rva)
	if !ok || !w.u.spend(8+len(all)) {
		return false
	}
	for _, one := range all {
		if !w.undoOne(one) {
			return false
		}
	}
	return true
}

func (w *armFrame) undoOne(one pe.Undo) bool {
	m := w.u.m
	sp, ok := w.next.get(uint64(m.sp))
	if !ok {
		return false
	}
	switch one.Kind {
	case pe.UndoLoad:
		for i := range one.Count {
			w.load(one.Reg+i, sp+one.Offset+8*uint64(i))
		}
		w.next.set(m.sp, sp+one.Size)
	case pe.UndoFP:
		fp, ok := w.next.get(uint64(m.fp))
		w.next.set(m.sp, fp-one.Offset)
		return ok
	case pe.UndoSigned:
		w.signed = true
	case pe.UndoToCode:
		w.interrupted = true
		w.next.pc, ok = w.next.get(uint64(m.link))
		w.next.forget(m.link)
		if w.signed {
			w.next.pc = w.u.plain(w.next.pc)
		}
		return ok
	default:
		return w.saved(structures[one.Kind], sp)
	}
	return true
}

// load reads a register that a function has saved.
func (w *armFrame) load(reg int, addr uint64) {
	if v, ok := w.u.word(addr); ok {
		w.next.set(reg, v)
	} else {
		w.next.forget(reg)
	}
}

// structure is where registers lie in a structure of Windows (winnt.h; of the
// kernel's own trap frame its public symbols tell).
type structure struct {
	pc, sp uint64
	flags  int // where ContextFlags is, -1: there are none
	parts  []part
}

// part are registers that lie one after another.
type part struct {
	reg, count int
	at         uint64
}

var structures = map[pe.UndoKind]structure{
	pe.UndoTrapFrame: {pc: 0x148, sp: 0x98, flags: -1, parts: []part{{0, 19, 0xa0}, {30, 1, 0x138}, {29, 1, 0x140}}},
	// What pushes it keeps the other registers, or saves them elsewhere.
	pe.UndoMachineFrame: {sp: 0, pc: 8, flags: -1},
	pe.UndoContext:      {pc: 0x108, sp: 0x100, flags: 0, parts: []part{{0, 31, 8}}},
	// The registers of arm64 in the places that amd64's CONTEXT has for its own.
	pe.UndoContextEC: {pc: 0xf8, sp: 0x98, flags: 0x30, parts: []part{{8, 1, 0x78}, {0, 2, 0x80}, {27, 1, 0x90}, {29, 1, 0xa0},
		{25, 2, 0xa8}, {2, 4, 0xb8}, {19, 4, 0xd8}, {30, 1, 0x120}, {6, 1, 0x130}, {7, 1, 0x140}, {9, 1, 0x150}, {10, 1, 0x160},
		{11, 1, 0x170}, {12, 1, 0x180}, {15, 1, 0x190}}},
}

// unwoundToCall is a flag of a CONTEXT: its program counter is a return address.
const unwoundToCall = 0x20000000

// saved takes the registers of interrupted code from a structure on the stack.
func (w *armFrame) saved(s structure, at uint64) bool {
	pc, ok := w.u.word(at + s.pc)
	sp, known := w.u.word(at + s.sp)
	if !ok || !known {
		return false
	}
	for _, p := range s.parts {
		for i := range p.count {
			w.load(p.reg+i, at+p.at+8*uint64(i))
		}
	}
	w.interrupted, w.returned = true, false
	if s.flags >= 0 {
		flags, _ := w.u.word(at + uint64(s.flags))
		w.returned = flags&unwoundToCall != 0
	}
	w.next.pc = pc
	w.next.set(w.u.m.sp, sp)
	return true
}
