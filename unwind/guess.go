package unwind

const (
	maxScan  = 4 << 10 // words of a stack that are looked at for a return address
	maxFrame = 1 << 20 // bytes of a frame that has a frame pointer
)

// guess finds a caller where nothing tells where it is. why is what to say if
// it finds none.
func (u *Unwinder) guess(cur *walk, why ending) (walk, ending) {
	sp, ok := cur.get(uint64(u.m.sp))
	if !ok {
		return walk{}, why
	}
	word := uint64(u.m.word)
	// A call to where no code is has put its return address on top.
	if u.m.link != 0 {
		if next, ok := u.linked(cur, sp); ok {
			return next, goesOn
		}
	} else if cur.frame.Exact && !u.code(cur.pc) {
		if ret, ok := u.word(sp); ok && u.returns(ret) {
			return u.guessed(cur, ret, sp+word, ByCall), goesOn
		}
	}
	// The chain of arm64's frame records ends so (AAPCS64, 6.4.6).
	if fp, ok := cur.get(uint64(u.m.fp)); u.m.link != 0 && ok && fp == 0 && !cur.link {
		return walk{}, outermost
	}
	if next, end, ok := u.ahead(cur); ok {
		return next, end
	}
	next, ok := u.framePointer(cur, sp)
	switch {
	case ok && next.pc == 0:
		return next, outermost
	case ok:
		return next, goesOn
	}
	return u.scan(cur, sp, why)
}

// scan finds a caller by a word of the stack that looks like a return address.
func (u *Unwinder) scan(cur *walk, sp uint64, why ending) (walk, ending) {
	word := uint64(u.m.word)
	for i := range uint64(maxScan) {
		at := sp + i*word
		if !u.spend(1) {
			return walk{}, tooLong
		}
		ret, ok := u.word(at)
		if !ok {
			if i == 0 {
				return walk{}, noStack
			}
			break
		}
		if ret = u.plain(ret); u.returns(ret) {
			next := u.guessed(cur, ret, at+word, ByScan)
			if hardware[u.p.Machine()] != nil && u.set.Find(cur.frame.CodePC()) != nil {
				caller, denied := u.entered(cur, ret, at)
				if denied {
					continue
				}
				if caller != nil {
					caller.set(u.m.sp, at+word)
					caller.pc = ret
					next.registers, next.frame.How = *caller, ByCode
				}
			}
			u.recordBelow(&next, at)
			return next, goesOn
		}
	}
	return walk{}, why
}

// guessed is the frame of a caller whose return address was found below sp.
func (u *Unwinder) guessed(cur *walk, ret, sp uint64, how How) walk {
	next := walk{registers: cur.registers, frame: Frame{How: how}, loose: u.m.link != 0}
	next.pc = ret
	next.set(u.m.sp, u.m.trim(sp))
	return next
}

// framePointer follows the chain of frame pointers: where the register points
// lies the caller's, and above it the return address.
func (u *Unwinder) framePointer(cur *walk, sp uint64) (walk, bool) {
	word := uint64(u.m.word)
	fp, ok := cur.get(uint64(u.m.fp))
	if !ok || fp < sp || fp-sp > maxFrame || fp%word != 0 {
		return walk{}, false
	}
	ret, ok := u.word(fp + word)
	if !ok {
		return walk{}, false
	}
	caller, _ := u.word(fp)
	ret = u.plain(ret)
	if first := u.m.link != 0 && ret == 0 && caller == 0; !first && !u.returns(ret) && !u.recorded(ret) {
		return walk{}, false
	}
	next := u.guessed(cur, ret, fp+2*word, ByFramePointer)
	next.set(u.m.fp, caller)
	return next, true
}

// returns tells whether an address follows a call instruction in code.
func (u *Unwinder) returns(addr uint64) bool {
	if u.m.link != 0 {
		i, ok := u.instruction(addr - 4)
		return ok && addr%4 == 0 && u.code(addr-1) && i.calls()
	}
	const longest = 7
	if addr < longest || !u.code(addr-1) {
		return false
	}
	b := make([]byte, longest)
	if u.read(b, addr-longest) < longest {
		return false
	}
	// e8: relative. ff /2: through a register or memory; the bytes after ff
	// are ModRM, perhaps SIB, and a displacement of 0, 1 or 4 bytes (Intel SDM
	// volume 2, 2.1.3).
	if b[2] == 0xe8 {
		return true
	}
	for length := 2; length <= longest; length++ {
		if m := b[longest-length+1:]; b[longest-length] == 0xff && m[0]>>3&7 == 2 && length == 1+operand(m[0], m[min(1, len(m)-1)]) {
			return true
		}
	}
	return false
}

// operand is the number of bytes of a ModRM byte and what belongs to it.
func operand(modrm, sib byte) int {
	mod, rm := modrm>>6, modrm&7
	n := 1
	if mod != 3 && rm == 4 {
		n++
		if mod == 0 && sib&7 == 5 {
			n += 4
		}
	}
	switch {
	case mod == 1:
		n++
	case mod == 2, mod == 0 && rm == 5:
		n += 4
	}
	return n
}
