package unwind

import (
	"encoding/binary"
	"math/bits"

	"procdump/arch"
	"procdump/snapshot"
)

// authentication returns the bits of an address of code that pointer
// authentication may have put a code into: the kernel says it with a thread's
// registers (struct user_pac_mask, arch/arm64/include/uapi/asm/ptrace.h: for
// data, for code). Else it is all that no address in use has.
func authentication(p *snapshot.Process) uint64 {
	for i := range p.Threads {
		if m := p.Threads[i].Registers.Set(arch.NT_ARM_PAC_MASK); len(m) >= 16 {
			return binary.LittleEndian.Uint64(m[8:])
		}
	}
	end := uint64(0)
	for i := range p.Regions {
		end = max(end, p.Regions[i].End())
	}
	for i := range p.Modules {
		end = max(end, p.Modules[i].End())
	}
	if end == 0 {
		end = 1 << 48 // most kernels' limit
	}
	return ^uint64(0) << bits.Len64(end-1)
}

// plain is an address of code without a pointer authentication code.
func (u *Unwinder) plain(addr uint64) uint64 { return addr &^ u.auth }

// instruction is one of arm64 (Arm Architecture Reference Manual, C4.1).
type instruction uint32

func (u *Unwinder) instruction(addr uint64) (instruction, bool) {
	var b [4]byte
	n := u.read(b[:], addr)
	return instruction(binary.LittleEndian.Uint32(b[:])), n == len(b)
}

// calls tells whether it is BL, BLR, or BLRAA and its kin.
func (i instruction) calls() bool { return i>>26 == 0x25 || i&0xfefff000 == 0xd63f0000 }

// target is where a BL at an address leads to.
func (i instruction) target(at uint64) (uint64, bool) {
	return at + uint64(int64(int32(i<<6))>>4), i>>26 == 0x25
}

// linked finds the caller by the link register, where no call has come between:
// surely if nothing ran there, else if it follows a call of what seems to be
// this function.
func (u *Unwinder) linked(cur *walk, sp uint64) (walk, bool) {
	const maxFunction = 64 << 10 // bytes
	lr, ok := cur.get(uint64(u.m.link))
	if lr = u.plain(lr); !ok || !cur.link || !u.returns(lr) {
		return walk{}, false
	}
	next := u.guessed(cur, lr, sp, ByCall)
	next.loose = false
	if !u.code(cur.pc) {
		return next, true
	}
	i, _ := u.instruction(lr - 4)
	to, ok := i.target(lr - 4)
	fp, _ := cur.get(uint64(u.m.fp))
	saved, _ := u.word(fp + uint64(u.m.word))
	if !ok || to > cur.pc || cur.pc-to > maxFunction || u.plain(saved) == lr {
		return walk{}, false
	}
	next.frame.How, next.loose = ByLink, true
	return next, true
}

// recorded tells whether an address in a frame record is one of code that is not
// to be had. Every function of arm64 that calls others keeps such a record, and
// most of i386.
func (u *Unwinder) recorded(addr uint64) bool {
	if u.p.Machine() == arch.AMD64 || u.m.link != 0 && addr%4 != 0 || u.set.Find(addr-1) == nil {
		return false
	}
	var b [4]byte
	return u.read(b[:], addr-4) < len(b)
}

// recordBelow takes the frame pointer that lies below a return address on the
// stack, if it can be one: both are a frame record.
func (u *Unwinder) recordBelow(next *walk, at uint64) {
	if u.m.link == 0 {
		return
	}
	word := uint64(u.m.word)
	if fp, ok := u.word(at - word); ok && fp > at && fp-at < maxFrame && fp%word == 0 {
		next.set(u.m.fp, fp)
	} else {
		next.forget(u.m.fp)
	}
}

// linkedGo finds the caller of a function of Go, which has lowered the stack
// pointer by delta. One that has a frame has its return address at its lower
// end, and its caller's frame pointer below (Go's cmd/internal/obj/arm64).
func (u *Unwinder) linkedGo(cur, next *walk, delta uint64, injected bool) (ending, bool) {
	m := u.m
	sp, _ := cur.get(uint64(m.sp))
	word := uint64(m.word)
	if fp, ok := cur.get(uint64(m.fp)); ok && cur.loose {
		sp = fp + word
	}
	ok := false
	if delta == 0 && cur.link {
		next.pc, ok = cur.get(uint64(m.link))
	} else if next.pc, ok = u.word(sp); ok {
		if fp, ok := u.word(sp - word); ok {
			next.set(m.fp, fp)
		}
	}
	if !ok {
		return noStack, true
	}
	next.set(m.sp, sp+delta)
	if !injected {
		return goesOn, true
	}
	// The signal handler has saved the link register above.
	const saved = 16 // bytes, of which the first 8 are used
	lr, ok := u.word(sp + delta)
	if !ok {
		return noStack, true
	}
	next.set(m.sp, sp+delta+saved)
	next.set(m.link, lr)
	if u.set.GoFunc(next.pc) == nil && u.set.GoFunc(lr) != nil {
		next.pc, next.frame.Exact, next.link = lr, false, false
	}
	return goesOn, true
}
