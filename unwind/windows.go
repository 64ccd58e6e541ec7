package unwind

import (
	"encoding/binary"

	"procdump/arch"
	"procdump/image"
	"procdump/image/pe"
)

// Windows numbers amd64's registers as instructions do; these are their numbers
// in DWARF.
var windowsRegisters = [16]int{0, 2, 1, 3, 7, 6, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15}

// windowsVolatile are the registers that a function of Windows need not keep for
// its caller (https://learn.microsoft.com/cpp/build/x64-software-conventions):
// rax, rdx, rcx, r8 to r11.
var windowsVolatile = []int{0, 1, 2, 8, 9, 10, 11}

// Operations of an UNWIND_CODE
// (https://learn.microsoft.com/cpp/build/exception-handling-x64).
const (
	uwopPushNonvol    = 0
	uwopAllocLarge    = 1
	uwopAllocSmall    = 2
	uwopSetFPReg      = 3
	uwopSaveNonvol    = 4
	uwopSaveNonvolFar = 5
	uwopEpilog        = 6 // version 1: of XMM registers, as the next three
	uwopSpare         = 7
	uwopSaveXMM       = 8
	uwopSaveXMMFar    = 9
	uwopPushMachFrame = 10
)

// maxChained bounds the entries of one function that lead to each other.
const maxChained = 32

// stepWindows finds the caller of a function in an image of Windows; ok is false
// if its tables do not tell.
func (u *Unwinder) stepWindows(cur *walk, im *image.Image, pc uint64) (next walk, end ending, ok bool) {
	if im == nil {
		return next, goesOn, false
	}
	x := im.PE()
	if x == nil || !x.HasFunctions() || !x.Code(uint32(pc-im.Module.Addr)) {
		return next, goesOn, false
	}
	if !u.spend(64) { // the search of the table
		return next, tooLong, true
	}
	switch m := u.p.Machine(); {
	case m == arch.AMD64 && x.Machine == pe.MachineAMD64:
		return u.stepWindowsAMD64(cur, im, x, pc)
	case m == arch.ARM64 && x.Machine == pe.MachineARM64:
		return u.stepWindowsARM64(cur, x, uint32(pc-im.Module.Addr))
	}
	return next, goesOn, false
}

func (u *Unwinder) stepWindowsAMD64(cur *walk, im *image.Image, x *pe.Image, pc uint64) (next walk, end ending, ok bool) {
	f, ok, none := x.Function(uint32(pc - im.Module.Addr))
	if !ok && !(none && cur.frame.Exact) {
		return next, goesOn, false
	}
	w := windowsFrame{u: u, x: x, base: im.Module.Addr, cur: &cur.registers}
	next.registers, next.frame = cur.registers, Frame{How: ByPE}
	for _, n := range windowsVolatile {
		next.forget(n)
	}
	w.next = &next.registers
	switch {
	case !ok:
		// A function that calls none and keeps nothing on the stack. Some of
		// assembly do, all the same.
		sp, _ := cur.get(rsp)
		if ret, _ := u.word(sp); !u.returns(ret) {
			next, end = u.scan(cur, sp, noTable)
			return next, end, true
		}
	case cur.frame.Exact && w.epilog(f, cur.pc):
	case !w.undo(f, uint32(cur.pc-im.Module.Addr)):
		return next, goesOn, false
	}
	if w.interrupted {
		next.frame.Exact = true
		return next, goesOn, true
	}
	if next.pc, ok = w.pop(); !ok {
		return next, noStack, false
	}
	return next, goesOn, true
}

// windowsFrame is a function that is being left.
type windowsFrame struct {
	u    *Unwinder
	x    *pe.Image
	base uint64
	cur  *registers // in the function
	next *registers // its caller's, as far as they are known
	// interrupted tells that next are the registers of code that was interrupted.
	interrupted bool
}

const rsp = 7 // in DWARF

// pop takes a word from the stack.
func (w *windowsFrame) pop() (uint64, bool) {
	sp, ok := w.next.get(rsp)
	if !ok {
		return 0, false
	}
	v, ok := w.u.word(sp)
	w.next.set(rsp, sp+8)
	return v, ok
}

// undo undoes what a function has done to registers and the stack up to a place
// in it.
func (w *windowsFrame) undo(f pe.Function, rva uint32) bool {
	done := rva - f.Begin // bytes of the function that have run
	for range maxChained {
		info, ok := w.x.UnwindInfo(f)
		if !ok || info.Version != 1 && info.Version != 2 || !w.u.spend(8+len(info.Codes)) {
			return false
		}
		if done >= info.Prolog {
			done = ^uint32(0)
		}
		if !w.undoProlog(info, done) {
			return false
		}
		if !info.Chained {
			return true
		}
		f, done = info.Next, ^uint32(0)
	}
	return false
}

// undoProlog undoes what the first bytes of a prolog have done.
func (w *windowsFrame) undoProlog(info *pe.UnwindInfo, done uint32) bool {
	codes, ok := operations(info)
	if !ok {
		return false
	}
	frame, known := w.next.get(rsp)
	for _, c := range codes {
		if c.op == uwopSetFPReg && uint32(c.offset) <= done || info.FrameReg != 0 && done == ^uint32(0) {
			frame, known = w.cur.get(uint64(windowsRegisters[info.FrameReg]))
			frame -= info.FrameOffset
			break
		}
	}
	if !known {
		return false
	}
	for _, c := range codes {
		if uint32(c.offset) > done {
			continue
		}
		if w.interrupted || !w.undoOne(c, frame) {
			return false
		}
	}
	return true
}

// undoOne undoes one operation of a prolog. Values are saved from frame on.
func (w *windowsFrame) undoOne(c operation, frame uint64) bool {
	sp, _ := w.next.get(rsp)
	reg := windowsRegisters[c.info]
	switch c.op {
	case uwopPushNonvol:
		v, ok := w.pop()
		if !ok {
			return false
		}
		if reg != rsp {
			w.next.set(reg, v)
		}
	case uwopAllocLarge, uwopAllocSmall:
		w.next.set(rsp, sp+uint64(c.value))
	case uwopSetFPReg:
		w.next.set(rsp, frame)
	case uwopSaveNonvol, uwopSaveNonvolFar:
		if v, ok := w.u.word(frame + uint64(c.value)); ok {
			w.next.set(reg, v)
		} else {
			w.next.forget(reg)
		}
	case uwopPushMachFrame:
		// The processor has pushed SS, RSP, RFLAGS, CS and RIP, and for some
		// exceptions an error code.
		at := sp + 8*uint64(c.info&1)
		pc, ok := w.u.word(at)
		old, known := w.u.word(at + 24)
		if !ok || !known {
			return false
		}
		w.next.pc, w.interrupted = pc, true
		w.next.set(rsp, old)
	}
	return true
}

// operation is an UNWIND_CODE with the slots that belong to it.
type operation struct {
	offset byte // bytes of the prolog, up to the end of the instruction
	op     byte
	info   byte
	value  uint32 // bytes
}

// operations splits the codes of a function; false: there are unknown ones. Those
// of version 2 that tell where epilogs are come first, two by two; an epilog is
// told by its instructions.
func operations(info *pe.UnwindInfo) ([]operation, bool) {
	var all []operation
	le := binary.LittleEndian
	for b := info.Codes; len(b) > 0; {
		c := operation{offset: b[0], op: b[1] & 15, info: b[1] >> 4}
		slots := 1
		switch c.op {
		case uwopPushNonvol, uwopSetFPReg, uwopPushMachFrame:
		case uwopAllocSmall:
			c.value = uint32(c.info)*8 + 8
		case uwopAllocLarge, uwopSaveNonvol:
			slots = 2
			if c.op == uwopAllocLarge && c.info != 0 {
				slots = 3
			}
		case uwopEpilog:
			// The second of a pair is one, too, or 0.
			if info.Version == 1 || len(b) >= 4 && (b[3]&15 == uwopEpilog || b[2]|b[3] == 0) {
				slots = 2
			}
		case uwopSaveXMM:
			slots = 2
		case uwopSaveNonvolFar, uwopSpare, uwopSaveXMMFar:
			slots = 3
		default:
			return nil, false
		}
		if len(b) < 2*slots {
			return nil, false
		}
		switch slots {
		case 2:
			c.value = 8 * uint32(le.Uint16(b[2:]))
		case 3:
			c.value = le.Uint32(b[2:])
		}
		b = b[2*slots:]
		switch c.op {
		case uwopEpilog, uwopSpare, uwopSaveXMM, uwopSaveXMMFar:
		default:
			all = append(all, c)
		}
	}
	return all, true
}
