package unwind

import (
	"encoding/binary"

	"procdump/image/pe"
)

// Instructions of an epilog of Windows
// (https://learn.microsoft.com/cpp/build/prolog-and-epilog): at most one that
// frees the stack, any number that take registers from it, and one that leaves
// the function.
//
//	48 83 c4 ib, 48 81 c4 id      add rsp, constant
//	48 8d /4 disp                 lea rsp, [frame register + constant]
//	58+r, 41 58+r                 pop
//	c3, f3 c3, c2 iw              ret
//	eb ib, e9 id, ff /4           jmp, to another function
const maxEpilog = 64 // bytes: 8 registers, and the longest of the others

// epilog finishes an epilog that the function stands in: the return address is on
// top of the stack then. It tells whether there is one, and else changes nothing.
func (w *windowsFrame) epilog(f pe.Function, pc uint64) bool {
	info, ok := w.x.UnwindInfo(f)
	if !ok {
		return false
	}
	b := make([]byte, maxEpilog)
	b = b[:w.u.read(b, pc)]
	size := len(b)
	sp, ok := w.next.get(rsp)
	if !ok {
		return false
	}
	var n int
	if sp, n, ok = w.freesStack(b, info, sp); !ok {
		return false
	}
	b = b[n:]
	saved := *w.next
	w.next.set(rsp, sp)
	for {
		reg, n := pops(b)
		if n == 0 {
			break
		}
		v, ok := w.pop()
		if !ok {
			*w.next = saved
			return false
		}
		w.next.set(windowsRegisters[reg], v)
		b = b[n:]
	}
	if !w.leaves(b, f, pc+uint64(size-len(b))) {
		*w.next = saved
		return false
	}
	return true
}

// freesStack is the stack pointer after an instruction that frees the stack, and
// its length; 0: it is none. false: it is one that no epilog has.
func (w *windowsFrame) freesStack(b []byte, info *pe.UnwindInfo, sp uint64) (uint64, int, bool) {
	constant := func(at, size int) (uint64, bool) {
		if len(b) < at+size {
			return 0, false
		}
		if size == 1 {
			return uint64(int64(int8(b[at]))), true
		}
		return uint64(int64(int32(binary.LittleEndian.Uint32(b[at:])))), true
	}
	if len(b) < 4 || b[0]&0xfe != 0x48 {
		return sp, 0, true
	}
	switch {
	case b[0] == 0x48 && b[1] == 0x83 && b[2] == 0xc4:
		v, ok := constant(3, 1)
		return sp + v, 4, ok
	case b[0] == 0x48 && b[1] == 0x81 && b[2] == 0xc4:
		v, ok := constant(3, 4)
		return sp + v, 7, ok
	case b[1] != 0x8d || b[2]>>3&7 != 4:
		return sp, 0, true
	}
	// REX.B is the fourth bit of the register; rsp and r12 need a SIB byte.
	mod, reg, at := b[2]>>6, b[2]&7|b[0]&1<<3, 3
	if b[2]&7 == 4 {
		if b[3] != 0x24 {
			return 0, 0, false
		}
		at++
	}
	if info.FrameReg == 0 || reg != info.FrameReg || mod != 1 && mod != 2 {
		return 0, 0, false
	}
	size := 1
	if mod == 2 {
		size = 4
	}
	v, ok := constant(at, size)
	frame, known := w.cur.get(uint64(windowsRegisters[reg]))
	return frame + v, at + size, ok && known
}

// pops tells which register an instruction takes from the stack, and its length;
// 0: it is another one.
func pops(b []byte) (reg, n int) {
	switch {
	case len(b) >= 1 && b[0]&0xf8 == 0x58 && b[0] != 0x5c:
		return int(b[0] & 7), 1
	case len(b) >= 2 && b[0] == 0x41 && b[1]&0xf8 == 0x58:
		return int(b[1]&7) + 8, 2
	}
	return 0, 0
}

// leaves tells whether the instruction at a place ends a function.
func (w *windowsFrame) leaves(b []byte, f pe.Function, pc uint64) bool {
	has := func(prefix ...byte) bool { return len(b) >= len(prefix) && string(b[:len(prefix)]) == string(prefix) }
	switch {
	case has(0xc3), has(0xc2), has(0xf3, 0xc3):
		return true
	case has(0xeb) && len(b) >= 2:
		return w.another(f, pc+2+uint64(int64(int8(b[1]))))
	case has(0xe9) && len(b) >= 5:
		return w.another(f, pc+5+uint64(int64(int32(binary.LittleEndian.Uint32(b[1:])))))
	}
	// Through memory, or with the prefix by which compilers mark a jump to another
	// function; without it, it is one of a switch.
	rex := len(b) > 0 && b[0]&0xf8 == 0x48
	if rex {
		b = b[1:]
	}
	if len(b) < 2 || b[0] != 0xff || b[1]>>3&7 != 4 {
		return false
	}
	return b[1]>>6 == 0 && (rex || b[1]&7 == 5) || b[1]>>6 == 3 && rex
}

// another tells whether a jump leads to the beginning of another function, or of
// this one.
func (w *windowsFrame) another(f pe.Function, to uint64) bool {
	if to-w.base >= uint64(w.x.Size) {
		return true
	}
	g, ok, none := w.x.Function(uint32(to - w.base))
	if !ok {
		return none
	}
	if uint64(g.Begin) != to-w.base {
		return false
	}
	mine, known := w.x.Primary(f)
	other, known2 := w.x.Primary(g)
	return known && known2 && (mine != other || g == other)
}
