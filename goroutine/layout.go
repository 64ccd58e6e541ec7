package goroutine

import (
	"encoding/binary"
	"slices"

	"procdump/snapshot"
)

// The first words of struct g, which no version of Go has moved:
//
//	stack.lo, stack.hi, stackguard0, stackguard1, _panic, _defer, m,
//	sched: sp, pc, g, ctxt, …
const (
	gStackLo = 0
	gStackHi = 1
	gPanic   = 4
	gM       = 6
	gSchedSP = 7
	gSchedPC = 8
	gSchedG  = 9
)

// layout is where the other fields lie. What ends in no comment counts words.
type layout struct {
	gobuf                int // words of sched
	bp                   int // 0: none
	lr                   int
	syscallSP, syscallBP int // the program counter follows the former
	status, goid         int // in bytes
	since, reason        int // in bytes
	created              int // 0: it was not found; ancestors and startpc follow
}

// gSize is how much of a struct g is read, in bytes.
const gSize = 640

// layouts are the forms that struct g has had. After sched follow syscallsp,
// syscallpc, since Go 1.23 syscallbp, stktopsp, param, atomicstatus u32,
// stackLock u32, goid u64, schedlink, waitsince i64, waitreason u8. A gobuf is
// sp, pc, g, ctxt, until Go 1.24 ret, lr, bp.
func layouts(word int) []layout {
	var all []layout
	for _, v := range []struct{ gobuf, syscalls int }{{6, 3}, {7, 3}, {7, 2}} {
		l := layout{gobuf: v.gobuf, syscallSP: gSchedSP + v.gobuf}
		l.lr = l.syscallSP - 2
		if word == 8 { // i386 keeps no frame pointers
			l.bp = l.syscallSP - 1
			if v.syscalls == 3 {
				l.syscallBP = l.syscallSP + 2
			}
		}
		l.status = (l.syscallSP + v.syscalls + 2) * word
		l.goid = l.status + 8
		l.since = l.goid + 8 + word
		l.reason = l.since + 8
		all = append(all, l)
	}
	return all
}

func (f *finder) at(b []byte, word int) uint64 {
	if f.word == 8 {
		return f.u64(b, word*8)
	}
	return uint64(f.u32(b, word*4))
}

func (f *finder) u32(b []byte, off int) uint32 { return binary.LittleEndian.Uint32(b[off:]) }
func (f *finder) u64(b []byte, off int) uint64 { return binary.LittleEndian.Uint64(b[off:]) }

// pointer reads one from memory, 0 if it is not there.
func (f *finder) pointer(addr uint64) uint64 {
	var b [8]byte
	if n, _ := f.set.ReadMemory(b[:f.word], addr); n < f.word {
		return 0
	}
	return binary.LittleEndian.Uint64(b[:])
}

// g reads a struct g, nil if it is not there.
func (f *finder) g(addr uint64) []byte {
	b := make([]byte, gSize)
	if n, _ := f.set.ReadMemory(b, addr); n < gSize || addr == 0 {
		return nil
	}
	return b
}

// plausible tells whether what was read at an address is a goroutine's struct g
// of that form: its sched.g is itself.
func (f *finder) plausible(b []byte, addr uint64, l *layout) bool {
	const scan = 0x1000 // the garbage collector walks its stack
	status := f.u32(b, l.status) &^ scan
	if f.at(b, gSchedG) != addr {
		// Of one that never ran on, such as those of threads that C has begun.
		return f.at(b, gSchedG) == 0 && (status == uint32(Dead) || status == uint32(DeadExtra))
	}
	return status >= uint32(Runnable) && status <= uint32(DeadExtra) && f.u64(b, l.goid) != 0 && f.u64(b, l.goid) < 1<<60 &&
		f.at(b, gStackLo) <= f.at(b, gStackHi)
}

// sample is how many goroutines are looked at to tell what is a list of them,
// and which form they have.
const sample = 64

// allgs searches the variables that begin as zero for the slice of goroutines:
// {array, length, capacity}.
func (f *finder) allgs() (array uint64, n int) {
	w := uint64(f.word)
	for b := f.im.Variables(f.module.BSS); uint64(len(b)) >= 3*w; b = b[w:] {
		p, length, capacity := f.at(b, 0), f.at(b, 1), f.at(b, 2)
		if length <= uint64(n) || length > capacity || capacity > 1<<30 || p%w != 0 || p < 4096 {
			continue
		}
		if f.goroutines(p, int(min(length, sample))) {
			array, n = p, int(length)
		}
	}
	return array, n
}

// maxSought bounds how many words of arrays are looked at to find the one of
// goroutines: damaged variables may look like any number of such.
const maxSought = 8 << 20

// goroutines tells whether an array is one of goroutines.
func (f *finder) goroutines(array uint64, n int) bool {
	forms := layouts(f.word)
	live := 0
	for i := range n {
		if f.left--; f.left < 0 {
			return false
		}
		at := f.pointer(array + uint64(i*f.word))
		b := f.g(at)
		if b == nil {
			return false
		}
		if !slices.ContainsFunc(forms, func(l layout) bool { return f.plausible(b, at, &l) }) {
			return false
		}
		if f.at(b, gSchedG) == at {
			live++
		}
	}
	return live > 0
}

// calibrate finds which form the goroutines have: the one that fits most of
// them, best.
func (f *finder) calibrate(array uint64, n int) {
	f.ms = map[uint64]int{}
	f.text = f.reasons()
	var all [][]byte
	for i := 0; i < n && len(all) < sample; i++ {
		at := f.pointer(array + uint64(i*f.word))
		if b := f.g(at); b != nil && f.at(b, gSchedG) == at {
			all = append(all, b)
		}
	}
	best := -1
	for _, l := range layouts(f.word) {
		points := 0
		for _, b := range all {
			points += f.fits(b, &l)
		}
		if points > best {
			best, f.layout = points, l
		}
	}
	f.layout.created = f.created(all)
}

// fits says how well a goroutine has a form.
func (f *finder) fits(b []byte, l *layout) int {
	points := 0
	if f.plausible(b, f.at(b, gSchedG), l) {
		points += 4
	}
	stack := snapshot.Range{Addr: f.at(b, gStackLo), Size: f.at(b, gStackHi) - f.at(b, gStackLo)}
	if l.bp > 0 && stack.Contains(f.at(b, l.bp)) {
		points++
	}
	// Of a goroutine that is in the kernel, where it went there.
	if Status(f.u32(b, l.status)) == Syscall && stack.Contains(f.at(b, l.syscallSP)) && f.table.Find(f.at(b, l.syscallSP+1)) != nil {
		points++
	}
	return points
}

// created finds the fields gopc, ancestors and startpc: every goroutine has an
// address after a call in the first and that of a function's beginning in the last.
func (f *finder) created(all [][]byte) int {
	for i := (f.layout.reason + f.word) / f.word; (i+3)*f.word <= gSize; i++ {
		found := 0
		for _, b := range all {
			from, at := f.at(b, i), f.at(b, i+2)
			if from == 0 && at == 0 { // no go statement began it, but C
				continue
			}
			created, start := f.table.Find(from), f.table.Find(at)
			if created == nil || start == nil || created.Entry == from || start.Entry != at {
				found = -1
				break
			}
			found++
		}
		if found > 0 {
			return i
		}
	}
	return 0
}

// firstReason is the second of the runtime's texts of wait reasons; the first is
// empty.
const firstReason = "GC assist marking"

// reasons reads the runtime's array of texts, which the program's variables hold
// (waitReasonStrings): reasons differ between versions.
func (f *finder) reasons() []string {
	w := uint64(f.word)
	for b := f.im.Variables(f.module.Data); uint64(len(b)) >= 4*w; b = b[w:] {
		if f.at(b, 0) != 0 || f.at(b, 1) != 0 || f.at(b, 3) != uint64(len(firstReason)) || f.text0(f.at(b, 2), len(firstReason)) != firstReason {
			continue
		}
		var all []string
		for ; uint64(len(b)) >= 2*w && len(all) < 256; b = b[2*w:] {
			p, n := f.at(b, 0), f.at(b, 1)
			if n > 64 || n == 0 && len(all) > 0 {
				break
			}
			all = append(all, f.text0(p, int(n)))
		}
		return all
	}
	return nil
}

// text0 reads n bytes of text.
func (f *finder) text0(addr uint64, n int) string {
	b := make([]byte, n)
	k, _ := f.set.ReadMemory(b, addr)
	return string(b[:max(k, 0)])
}
