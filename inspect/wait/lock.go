package wait

import (
	"encoding/binary"
	"fmt"
	"strings"

	"procdump/arch"
	"procdump/snapshot"
)

// before and after are how many bytes round a futex are kept, of the lock that it
// is part of, and least is how many from the futex on must be there.
const before, after, least = 16, 32, 12

// futex is a word that a thread waits for to change, and what lies round it.
type futex struct {
	addr uint64
	pi   bool // with priority inheritance: the word is its holder
	// timed tells that the thread goes on at some moment, whoever holds the lock.
	timed bool
	near  [before + after]byte
	have  bool
}

// Operations of futex(2) that wait; the others of the number are flags.
const (
	opMask     = 0x7f
	opWait     = 0
	opLockPI   = 6
	opBitset   = 9
	opRequeue  = 11
	opLockPI2  = 13
	ownerMask  = 0x3fffffff // FUTEX_TID_MASK
	ownerEnded = 0x40000000 // FUTEX_OWNER_DIED
)

// futexOf returns the futex that a call waits for, or nil. What was restarted
// may be one, too: it has the same arguments.
func (w *Waits) futexOf(c *Call) *futex {
	if c.Name != "futex" && c.Name != "futex_time64" && c.Name != restarted {
		return nil
	}
	f := &futex{addr: c.Args[0], timed: c.Args[3] != 0}
	switch c.Args[1] & opMask {
	case opLockPI, opLockPI2:
		f.pi = true
	case opWait, opBitset, opRequeue:
	default:
		return nil
	}
	// The lock may begin or end its memory.
	for back := before; back >= 0 && !f.have; back -= 4 {
		n, _ := w.memory.ReadMemory(f.near[before-back:], f.addr-uint64(back))
		f.have = n >= back+least
	}
	return f
}

// at is the 32-bit word so many bytes from the futex.
func (f *futex) at(off int) uint32 { return binary.LittleEndian.Uint32(f.near[before+off:]) }

// waiting are how functions of the C library begin, and what a thread waits for in
// them.
var waiting = []struct{ begin, kind string }{
	{"pthread_mutex_", Mutex}, {"lll_mutex_lock", Mutex}, {"cxa_guard_acquire", Once}, {"pthread_once", Once},
	{"pthread_rwlock_", RWLock}, {"pthread_cond_", Condition}, {"cnd_", Condition}, {"mtx_", Mutex},
	{"sem_wait", Semaphore}, {"sem_timedwait", Semaphore}, {"sem_clockwait", Semaphore}, {"pthread_join", Thread},
	{"pthread_timedjoin", Thread}, {"pthread_clockjoin", Thread}, {"thrd_join", Thread}, {"pthread_barrier_wait", Barrier},
}

// kindOf tells by the innermost functions what a thread waits for, "" if it is
// in none of those that are known.
func kindOf(functions []string) string {
	const most = 6
	low := ""
	for _, f := range functions[:min(len(functions), most)] {
		f = plainName(f)
		for _, k := range waiting {
			if strings.HasPrefix(f, k.begin) {
				return k.kind
			}
		}
		// All locks of the library go by this; it says nothing of those above.
		if strings.HasPrefix(f, "lll_lock_wait") {
			low = Library
		}
	}
	return low
}

// plainName is a name of the C library without what it puts in front of the names
// that programs know: ___pthread_mutex_lock, __GI___pthread_once, __new_sem_wait.
func plainName(function string) string {
	s := strings.TrimLeft(function, "_")
	s = strings.TrimLeft(strings.TrimPrefix(s, "GI_"), "_")
	return strings.TrimPrefix(strings.TrimPrefix(s, "new_"), "old_")
}

// lock says which lock a thread waits for, and who holds it.
func (w *Waits) lock(c *Call, f *futex, kind string, functions []string) *Wait {
	out := &Wait{Kind: kind, Call: c.Name, Addr: f.addr, Timed: f.timed}
	if kind == "" {
		out.Kind = Futex
	}
	note := ""
	switch {
	case f.pi:
		if kind == "" {
			out.Kind = Mutex
		}
		note = w.holder(out, f.at(0)&ownerMask, f.have && f.at(0)&ownerEnded != 0)
	case !f.have:
	case kind == Mutex:
		note = w.mutexHolder(out, f)
	case kind == Library:
		note = w.streamHolder(out, f)
	case kind == RWLock:
		note = w.rwlock(out, f, turnOf(functions))
	case kind == Thread:
		if tid, ok := w.threads[f.at(0)]; ok {
			out.Owner = tid
			out.Text = fmt.Sprintf("the end of thread %d", tid)
			return out
		}
		out.Text = "the end of a thread"
		return out
	}
	switch out.Kind {
	case Condition:
		out.Text = fmt.Sprintf("a condition variable (futex %#x)", out.Addr)
	case Barrier, Once:
		out.Text = fmt.Sprintf("%s (futex %#x)", map[string]string{Barrier: "a barrier", Once: "an initialisation by another thread"}[out.Kind], out.Addr)
	case RWLock:
		out.Text = "a rwlock"
		if out.Addr != f.addr || note != "" {
			out.Text = fmt.Sprintf("rwlock %#x", out.Addr)
		}
	default:
		out.Text = fmt.Sprintf("%s %#x", out.Kind, out.Addr)
	}
	out.Text += note
	return out
}

// holder notes who holds a lock, by the number that the process has for it.
func (w *Waits) holder(out *Wait, number uint32, ended bool) string {
	tid, known := w.threads[number]
	switch {
	case number == 0:
		return ""
	case ended, !known && w.whole:
		return fmt.Sprintf(", held by thread %d, which has ended", number)
	case !known:
		return ""
	}
	out.Owner = tid
	return fmt.Sprintf(", held by thread %d", tid)
}

// mutexHolder finds the holder of a mutex, struct __pthread_mutex_s of glibc
// (sysdeps/nptl/bits/struct_mutex.h):
//
//	0  int lock: the futex; of robust ones the holder
//	4  unsigned count
//	8  int owner
//	12 unsigned nusers, 16 int kind (amd64)
func (w *Waits) mutexHolder(out *Wait, f *futex) string {
	const (
		few  = 2  // of a lock that is no thread's number: free, held, held and waited for
		busy = 16 // EBUSY: a lock of musl that does not know its holder
	)
	if n := f.at(0) & ownerMask; n > few && (n != busy || w.glibc) {
		if _, ok := w.threads[n]; ok || f.at(0)&ownerEnded != 0 {
			return w.holder(out, n, f.at(0)&ownerEnded != 0)
		}
	}
	if _, ok := w.threads[f.at(8)]; !ok {
		const mostUsers, mostKind = 1 << 16, 1 << 10
		if f.at(0) != 2 || f.at(12) == 0 || f.at(12) >= mostUsers || f.at(16) >= mostKind || w.p.Machine() != arch.AMD64 {
			return "" // others have no owner there
		}
	}
	return w.holder(out, f.at(8), false)
}

// streamHolder finds the holder of a lock of stdio, _IO_lock_t {int lock, count;
// void *owner}, whose owner is a thread pointer. What the library's other locks,
// such as those of the allocator, have there is no owner.
func (w *Waits) streamHolder(out *Wait, f *futex) string {
	tls := uint64(f.at(8))
	if w.p.Machine().PointerSize() == 8 {
		tls |= uint64(f.at(12)) << 32
	}
	tid, ok := w.byTLS[tls]
	if !ok {
		return ""
	}
	out.Owner = tid
	return fmt.Sprintf(", held by thread %d", tid)
}

// tidAt is where glibc keeps the number that a process itself has for a thread:
// in struct pthread, so far behind the thread pointer.
var tidAt = map[arch.Machine]uint64{arch.AMD64: 0x2d0, arch.I386: 0x68}

// ownNumber is the number that a process in a container has for a thread; 0: it is
// not known.
func (w *Waits) ownNumber(t *snapshot.Thread) uint32 {
	off, b := tidAt[w.p.Machine()], make([]byte, 4)
	if n, _ := w.memory.ReadMemory(b, t.Registers.TLS()+off); off == 0 || n < len(b) {
		return 0
	}
	return binary.LittleEndian.Uint32(b)
}
