package unwind

import (
	"encoding/binary"

	"procdump/arch"
)

const (
	// guessSpan is how far a stack is searched whose end is not known.
	guessSpan = usualStack
	// maxGuessed bounds the guesses of one trace.
	maxGuessed = 48
)

// guess adds, as not reliable, the words from a frame's stack pointer on that
// are return addresses: the way out where a stack cannot be followed.
func (w *walker) guess(s state) {
	if w.u.code.unknown() {
		return
	}
	at, ok := w.areaOf(s.sp)
	if !ok || at == entryArea {
		at = area{at.name, s.sp, (s.sp + guessSpan) &^ (guessSpan - 1)}
	}
	for sp, n := (s.sp+7)&^7, 0; sp+8 <= at.hi && sp >= s.sp && n < maxGuessed; sp += 8 {
		v, err := w.u.mem.word(sp)
		if err != nil {
			return
		}
		if w.u.k.Machine == arch.ARM64 {
			v = w.u.k.Space.StripPAC(v)
		}
		if !w.u.code.contains(v) || !w.afterCall(v) {
			continue
		}
		n++
		w.trace.Frames = append(w.trace.Frames, Frame{PC: v, SP: sp + 8, Stack: at.name, Location: w.u.code.at(v, false)})
	}
}

// afterCall tells whether the instruction before an address is a call, as far
// as can be told: of code that is not in the dump it is believed.
func (w *walker) afterCall(pc uint64) bool {
	if w.u.k.Machine == arch.ARM64 {
		var b [4]byte
		if pc&3 != 0 {
			return false
		}
		if err := w.u.mem.read(b[:], pc-4); err != nil {
			return true
		}
		i := binary.LittleEndian.Uint32(b[:])
		return i>>26 == 0x25 || // BL
			i&0xfffffc1f == 0xd63f0000 || // BLR
			i&0xfefff800 == 0xd63f0800 // BLRAA, BLRAAZ, BLRAB, BLRABZ
	}
	var b [7]byte
	if err := w.u.mem.read(b[:], pc-7); err != nil {
		return true
	}
	if b[2] == 0xe8 { // call rel32
		return true
	}
	// call *r/m64: ff /2, with a register (2 bytes), or memory (2, 3, 4, 6 or 7)
	for _, n := range []int{2, 3, 4, 6, 7} {
		if b[7-n] == 0xff && b[8-n]>>3&7 == 2 {
			return true
		}
	}
	return false
}
