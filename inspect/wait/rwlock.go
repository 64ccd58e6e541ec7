package wait

import (
	"fmt"
	"strings"

	"procdump/arch"
)

// turn is what a thread wants of a lock of many readers.
type turn int

const (
	anyTurn turn = iota // it is not known
	reading
	writing
)

// turnOf tells by the innermost functions what a thread waits for a rwlock for.
func turnOf(functions []string) turn {
	for _, f := range functions {
		rest, ok := strings.CutPrefix(plainName(f), "pthread_rwlock_")
		if !ok {
			continue
		}
		rest = strings.TrimPrefix(strings.TrimPrefix(rest, "timed"), "clock")
		switch {
		case strings.HasPrefix(rest, "rdlock"):
			return reading
		case strings.HasPrefix(rest, "wrlock"):
			return writing
		}
	}
	return anyTurn
}

// Bits of what glibc has in a rwlock from 2.25 (nptl/pthread_rwlock_common.c).
const (
	writePhase  = 1 // PTHREAD_RWLOCK_WRPHASE: a writer's turn
	writeLocked = 2 // PTHREAD_RWLOCK_WRLOCKED: a writer has it, or is the next
	waitsOnWord = 4 // PTHREAD_RWLOCK_RWAITING
	readerShift = 3
	futexUsed   = 2 // PTHREAD_RWLOCK_FUTEX_USED
	mostReaders = 1 << 16
)

// rwlock finds a lock of many readers and who has it, struct
// __pthread_rwlock_arch_t of glibc from 2.25 (sysdeps/nptl/bits/struct_rwlock.h):
//
//	0   readers: bits as above, and how many they are
//	4   writers that wait
//	8   futex of the phase: readers wait while it is 3, the next writer while it is 2
//	12  futex of the writers behind that one: they wait while it is 3
//	16  two words that are 0
//	24  number of the writer, and 28 whether processes share the lock; on i386 28 and
//	    the byte at 25
//
// Where a thread's futex is in it follows from its value. Other words may well look
// like a lock, the more so in a container, whose threads have small numbers. Of locks
// of other libraries nothing is said.
func (w *Waits) rwlock(out *Wait, f *futex, t turn) string {
	futexAt := 8
	switch v := f.at(0); {
	case v == futexUsed && t != reading:
	case v == 1|futexUsed && t == reading:
	case v == 1|futexUsed && t == writing:
		futexAt = 12
	case t == reading && v&waitsOnWord != 0 && v&writeLocked != 0:
		futexAt = 0 // with readers, of a lock that prefers writers
	default:
		return ""
	}
	word := func(off int) uint32 { return f.at(off - futexAt) }
	writer, shared := word(24), word(28)
	if w.p.Machine() == arch.I386 {
		writer, shared = word(28), word(24)>>8&0xff
	}
	if word(16) != 0 || word(20) != 0 || shared > 1 {
		return ""
	}
	switch readers := word(0); readers & (writePhase | writeLocked) {
	case writePhase | writeLocked:
		return w.writer(out, f, futexAt, writer)
	case writePhase: // from one writer to the next
		return ""
	default:
		return readBy(out, f, futexAt, readers>>readerShift)
	}
}

// writer notes who writes under a lock.
func (w *Waits) writer(out *Wait, f *futex, futexAt int, number uint32) string {
	if _, ok := w.threads[number]; !ok {
		return "" // of another process that shares it
	}
	out.Addr = f.addr - uint64(futexAt)
	return w.holder(out, number, false)
}

// readBy notes how many read under a lock.
func readBy(out *Wait, f *futex, futexAt int, n uint32) string {
	if n == 0 || n >= mostReaders {
		return ""
	}
	out.Addr = f.addr - uint64(futexAt)
	if n == 1 {
		return ", held by a reader"
	}
	return fmt.Sprintf(", held by %d readers", n)
}
