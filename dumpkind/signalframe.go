package dumpkind

import (
	"encoding/binary"

	"procdump/arch"
	"procdump/snapshot"
)

// frameLayout is where struct ucontext keeps what interests us, in bytes from
// its start (asm/ucontext.h, asm/sigcontext.h of each machine).
type frameLayout struct {
	stackBase, stackSize int // of uc_stack
	sp, pc               int
	cs                   int // code segment, 2 bytes; 0: the machine has none
}

var frameLayouts = map[arch.Machine]frameLayout{
	arch.AMD64: {16, 32, 160, 168, 184},
	arch.I386:  {8, 16, 48, 76, 80},
	arch.ARM64: {16, 32, 432, 440, 0},
}

// signalFrameSP looks on an alternate signal stack for what the kernel saved
// there, and returns the stack pointer of the interrupted code, or 0. The frame
// is known by its uc_stack, which describes the very stack it lies on.
func signalFrameSP(th *snapshot.Thread, stack []byte) uint64 {
	l, ok := frameLayouts[th.Registers.Machine]
	if !ok {
		return 0
	}
	sp, w := th.Registers.SP(), th.Registers.Machine.PointerSize()
	cs, _ := th.Registers.GP("cs")
	const minAlt, maxAlt = 1024, 64 << 20
	for off, end := 0, len(stack)-max(l.pc+w, l.cs+2); off <= end; off += w {
		lo := word(stack[off+l.stackBase:], w)
		if sp-lo >= maxAlt { // or above sp; most words end here
			continue
		}
		size := word(stack[off+l.stackSize:], w)
		if sp-lo >= size || size < minAlt || size > maxAlt {
			continue
		}
		if l.cs != 0 && cs != 0 && uint64(binary.LittleEndian.Uint16(stack[off+l.cs:])) != cs {
			continue
		}
		if old := word(stack[off+l.sp:], w); old-lo >= size {
			return old
		}
	}
	if th.Registers.Machine == arch.I386 {
		return oldSignalFrameSP(th, stack)
	}
	return 0
}

// oldSignalFrameSP looks for the i386 frame of a handler that was installed
// without SA_SIGINFO. It is a bare struct sigcontext, known by its selectors,
// by esp and esp_at_signal being the same, and by where they point.
func oldSignalFrameSP(th *snapshot.Thread, stack []byte) uint64 {
	const sp, cs, spAtSignal, ss, size = 28, 60, 68, 72, 76
	wantCS, _ := th.Registers.GP("cs")
	wantSS, _ := th.Registers.GP("ss")
	le := binary.LittleEndian
	for off := 0; off+size <= len(stack) && wantCS != 0; off += 4 {
		b := stack[off:]
		old := uint64(le.Uint32(b[sp:]))
		if uint64(le.Uint16(b[cs:])) == wantCS && uint64(le.Uint16(b[ss:])) == wantSS &&
			uint64(le.Uint32(b[spAtSignal:])) == old && !th.Stack.Contains(old) {
			return old
		}
	}
	return 0
}

// interrupted returns the region of the stack that a thread on an alternate
// signal stack was interrupted on, and the part of it in use, from the red zone
// to the region's end or to the thread's control block; nil if there is none.
// stack is what the thread's own stack, the alternate one, holds.
func interrupted(p *snapshot.Process, th *snapshot.Thread, stack []byte) (*snapshot.Region, snapshot.Range) {
	sp := signalFrameSP(th, stack)
	if sp == 0 || th.Stack.Contains(sp) {
		return nil, snapshot.Range{}
	}
	g := stackRegion(p, sp)
	if g == nil {
		return nil, snapshot.Range{}
	}
	low := max(g.Addr, sp-min(sp, th.Registers.Machine.RedZone()))
	end := g.End()
	if tls := th.Registers.TLS(); tls > sp && tls < end {
		end = min(end, tls+4096)
	}
	if g.Contains(th.Registers.SP()) {
		// Both stacks are pieces of one heap (Go): nothing tells where it ends.
		const piece = 256 << 10
		end = min(end, low+piece)
	}
	return g, snapshot.Range{Addr: low, Size: end - low}
}

// stackRegion returns the region of a stack pointer; of one that has left its
// stack by overflow, the stack's.
func stackRegion(p *snapshot.Process, sp uint64) *snapshot.Region {
	const guard = 1 << 20
	for i := firstAfter(p, sp); i < len(p.Regions); i++ {
		g := &p.Regions[i]
		switch {
		case g.Addr > sp && g.Addr-sp > guard:
			return nil
		case g.Perm&snapshot.Read != 0:
			return g
		}
	}
	return nil
}
