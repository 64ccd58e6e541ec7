// Package wait says what the threads of a snapshot wait for: the system call
// that a thread is in with its file, or the lock, and who holds it. From who
// holds what follows which threads wait for each other for ever.
//
// A system call is known by the registers: the kernel leaves those that a
// thread called it with, and a result that no call returns. Locks are those of
// the GNU C library: a mutex names its holder, as do locks with priority
// inheritance and robust ones of any library (futex(2)). Of other locks, such
// as those of Rust, only the place in memory is known.
//
// New reads all that it needs of the process's memory; the threads may go on
// then.
package wait

import (
	"cmp"

	"procdump/snapshot"
)

// Memory is the memory of the process.
type Memory interface {
	ReadMemory(p []byte, addr uint64) (int, error)
}

// What a thread may wait for.
const (
	Mutex     = "mutex"
	RWLock    = "rwlock"
	Condition = "condition variable"
	Semaphore = "semaphore"
	Thread    = "thread" // its end
	Barrier   = "barrier"
	Once      = "once" // another's initialisation
	Library   = "lock of the C library"
	Futex     = "futex" // a lock of an unknown kind
	Other     = "call"  // something else that the kernel has been asked for
)

// Wait is what a thread waits for.
type Wait struct {
	Kind string // one of the above
	Call string // name of the system call, "" if it is not known
	// Addr is the address of the lock; of a condition variable, of other locks
	// and of a thread's end, that of its futex; 0 if there is none.
	Addr uint64
	// Owner is the thread that must act first: the lock's holder; 0 if it is not
	// known.
	Owner int
	// Timed tells that it waits for some time only.
	Timed bool
	// Text says all this in words: "mutex 0x5000, held by thread 12".
	Text string
}

// Waits are those of a process's threads.
type Waits struct {
	p       *snapshot.Process
	memory  Memory
	calls   []*Call
	texts   []string
	futexes []*futex
	threads map[uint32]int // by the number that the process itself has for them
	whole   bool           // threads has all
	glibc   bool           // numbers of threads are where glibc has them
	byTLS   map[uint64]int // by thread pointer
	files   map[int]string // by descriptor
}

// New looks at the system calls of all threads, at most limit.
func New(p *snapshot.Process, m Memory, limit int) *Waits {
	w := &Waits{p: p, memory: m, threads: map[uint32]int{}, byTLS: map[uint64]int{}, files: map[int]string{}}
	w.number()
	for _, f := range p.Files {
		w.files[f.FD] = f.Target
	}
	for i := range p.Threads[:min(len(p.Threads), limit)] {
		c := w.callOf(&p.Threads[i])
		text, f := "", (*futex)(nil)
		if c != nil {
			text, f = w.text(c), w.futexOf(c)
		}
		w.calls, w.texts, w.futexes = append(w.calls, c), append(w.texts, text), append(w.futexes, f)
	}
	w.memory = nil
	return w
}

// Of says what a thread waits for, by its place in the process's threads and
// the names of the functions that it is in, the innermost first; nil: nothing
// that is known.
func (w *Waits) Of(i int, functions []string) *Wait {
	if i >= len(w.calls) || w.calls[i] == nil {
		return nil
	}
	c := w.calls[i]
	if f := w.futexes[i]; f != nil {
		if kind := kindOf(functions); kind != "" || c.Name != restarted {
			return w.lock(c, f, kind, functions)
		}
	}
	return &Wait{Kind: Other, Call: c.Name, Text: w.texts[i]}
}

// number finds which numbers the process itself has for its threads. In a
// container they are others than the dump's: these count only if that of the main
// thread, which is known, lies where those of all are looked for.
func (w *Waits) number() {
	main := uint32(0) // in a container
	if n := w.p.Info.NSPID; len(n) > 1 {
		main = uint32(n[len(n)-1])
	}
	w.whole = len(w.p.Info.MissedThreads) == 0
	for i := range w.p.Threads {
		t := &w.p.Threads[i]
		w.glibc = w.glibc || t.TID == w.p.PID && w.ownNumber(t) == cmp.Or(main, uint32(w.p.PID))
	}
	for i := range w.p.Threads {
		t := &w.p.Threads[i]
		if tls := t.Registers.TLS(); tls != 0 {
			w.byTLS[tls] = t.TID
		}
		own := uint32(t.TID)
		switch {
		case main == 0:
		case t.TID == w.p.PID:
			own = main
		case w.glibc:
			own = w.ownNumber(t)
		default:
			own = 0
		}
		if own == 0 {
			w.whole = false
			continue
		}
		w.threads[own] = t.TID
	}
}
