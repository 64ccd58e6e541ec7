// Package goroutine finds the goroutines of a Go program in a snapshot, those
// that are on no thread, too: what they wait for, who began them, where they
// stand, and what they panic with.
//
// It needs no debug information and no symbols. The program's list of goroutines
// (runtime.allgs) is found among its variables by what it must look like, and
// where a field of struct g lies, which changes with Go's versions
// (runtime/runtime2.go), is found by what the goroutines at hand hold. Programs
// of Go 1.20 and later, on amd64, i386 and (not tried yet) arm64, are known. A
// dump must hold the program's variables and heap; mini dumps do not.
package goroutine

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sort"

	"procdump/arch"
	"procdump/image"
	"procdump/image/pclntab"
	"procdump/snapshot"
)

// Status is what a goroutine does (runtime/runtime2.go, _Grunnable and so on).
type Status uint8

const (
	Idle      Status = 0
	Runnable  Status = 1
	Running   Status = 2
	Syscall   Status = 3
	Waiting   Status = 4
	Dead      Status = 6
	CopyStack Status = 8
	Preempted Status = 9
	Leaked    Status = 10 // waits for what nobody can do any more, since Go 1.26
	DeadExtra Status = 11 // of a thread that Go did not begin, while it is in C
)

var statusNames = [...]string{Idle: "idle", Runnable: "runnable", Running: "running", Syscall: "syscall", Waiting: "waiting", 5: "?",
	Dead: "dead", 7: "?", CopyStack: "copystack", Preempted: "preempted", Leaked: "waiting (leaked)", DeadExtra: "waiting for cgo callback"}

// String returns the word that Go's own traces have for it.
func (s Status) String() string {
	if int(s) < len(statusNames) {
		return statusNames[s]
	}
	return "?"
}

// Goroutine is one goroutine.
type Goroutine struct {
	ID     uint64
	Parent uint64 // the goroutine that began it, 0 if it is not known
	Status Status
	// Reason is what it waits for, in the runtime's words: "chan receive".
	Reason string
	// WaitSince is since when the garbage collector has seen it wait, in
	// nanoseconds of the machine's monotonic clock; 0: it has not seen it.
	WaitSince int64
	// Created is where the go statement goes on that began it, Start where the
	// function begins that it runs; 0 if they are not known.
	Created, Start uint64
	Stack          snapshot.Range
	// Where it goes on: of one that runs, where it was when it last left its
	// stack. FP is 0 if it is not known, and LR, the link register, if it holds
	// no return address or the machine has none.
	PC, SP, FP, LR uint64
	// TID is the thread that runs it, 0 if none does.
	TID int
	// OnThread tells that the thread is on the goroutine's stack now.
	OnThread bool
	// Panic is what it panics with, as Go prints it; "" if it does not.
	Panic string
}

// System tells whether a goroutine is the runtime's own, by the name of the
// function that it runs.
func System(start string) bool {
	switch start {
	case "runtime.main", "runtime.corostart", "runtime.handleAsyncEvent":
		return false
	}
	return len(start) > 8 && start[:8] == "runtime."
}

var (
	// ErrNone means that the process runs no program of Go.
	ErrNone = errors.New("no program of Go")
	// ErrNotHere means that the dump does not hold the goroutines, or that
	// they have a form that is not known.
	ErrNotHere = errors.New("the goroutines were not found")
)

// List are the goroutines of a process.
type List struct {
	All []Goroutine // those that have not ended, in the order of their beginning
	// LeftOut is how many there are more.
	LeftOut int
}

// maxGoroutines bounds how many are read.
const maxGoroutines = 1 << 18

// Find returns the goroutines of a process.
func Find(p *snapshot.Process, set *image.Set) (*List, error) {
	f, err := newFinder(p, set)
	if err != nil {
		return nil, err
	}
	array, n := f.allgs()
	if n == 0 {
		return nil, fmt.Errorf("%w: the dump does not hold the variables or the heap of the program", ErrNotHere)
	}
	l := &List{}
	if n > maxGoroutines {
		l.LeftOut = n - maxGoroutines
		n = maxGoroutines
	}
	f.calibrate(array, n)
	for i := range n {
		if g, ok := f.goroutine(f.pointer(array + uint64(i*f.word))); ok {
			l.All = append(l.All, g)
		}
	}
	last := uint64(0)
	for i := range l.All {
		last = max(last, l.All[i].ID)
	}
	for i := range l.All {
		if g := &l.All[i]; g.Parent > last { // before Go 1.21 another field was there
			g.Parent = 0
		}
	}
	f.threads(l.All)
	return l, nil
}

// newFinder returns what finds the goroutines of a process.
func newFinder(p *snapshot.Process, set *image.Set) (*finder, error) {
	var table *pclntab.Table
	var module *image.GoModule
	var im *image.Image
	for _, im = range set.All() {
		if table = im.Go(); table != nil {
			module = im.GoModule()
			break
		}
	}
	word := p.Machine().PointerSize()
	switch {
	case table == nil:
		return nil, ErrNone
	case word == 0:
		return nil, fmt.Errorf("%w: %v programs are not known", ErrNotHere, p.Machine())
	case module == nil:
		return nil, fmt.Errorf("%w: the dump does not hold the variables of the program, or it is older than Go 1.20", ErrNotHere)
	}
	return &finder{p: p, set: set, im: im, table: table, module: module, word: word, left: maxSought}, nil
}

// finder finds the goroutines of one process.
type finder struct {
	p      *snapshot.Process
	set    *image.Set
	im     *image.Image
	table  *pclntab.Table
	module *image.GoModule
	word   int
	layout layout
	text   []string // of wait reasons
	ms     map[uint64]int
	left   int // of maxSought
}

// goroutine reads one; false: it has ended, or it is none.
func (f *finder) goroutine(at uint64) (Goroutine, bool) {
	b, l := f.g(at), &f.layout
	if b == nil || !f.plausible(b, at, l) {
		return Goroutine{}, false
	}
	g := Goroutine{ID: f.u64(b, l.goid), Status: Status(f.u32(b, l.status) & 0xff), WaitSince: int64(f.u64(b, l.since))}
	switch g.Status {
	case Idle, Dead, DeadExtra:
		return g, false
	case Waiting, Leaked:
		if r := int(b[l.reason]); r < len(f.text) {
			g.Reason = f.text[r]
		}
	}
	lo, hi := f.at(b, gStackLo), f.at(b, gStackHi)
	g.Stack = snapshot.Range{Addr: lo, Size: hi - lo}
	g.SP, g.PC = f.at(b, gSchedSP), f.at(b, gSchedPC)
	if l.bp > 0 {
		g.FP = f.at(b, l.bp)
	}
	if f.p.Machine() == arch.ARM64 {
		g.LR = f.at(b, l.lr)
	}
	if g.Status == Syscall {
		if sp, pc := f.at(b, l.syscallSP), f.at(b, l.syscallSP+1); g.Stack.Contains(sp) && pc != 0 {
			g.SP, g.PC, g.FP, g.LR = sp, pc, 0, 0
			if l.syscallBP > 0 {
				g.FP = f.at(b, l.syscallBP)
			}
		}
	}
	if l.created > 0 {
		g.Created, g.Start = f.at(b, l.created), f.at(b, l.created+2)
		g.Parent = f.u64(b, (l.created*f.word)-8)
		if f.table.Find(g.Start) == nil {
			g.Created, g.Start, g.Parent = 0, 0, 0
		}
	}
	if m := f.at(b, gM); m != 0 && (g.Status == Running || g.Status == Syscall || g.Status == Waiting) {
		g.TID = f.thread(m)
	}
	g.Panic = f.panicText(f.at(b, gPanic))
	return g, true
}

// thread returns the thread of a struct m: its procid follows its first
// goroutine, a gobuf and a u32.
func (f *finder) thread(m uint64) int {
	if tid, ok := f.ms[m]; ok {
		return tid
	}
	off := (f.word + f.layout.gobuf*f.word + 4 + 7) &^ 7
	if f.word == 4 {
		off = f.word + f.layout.gobuf*f.word + 4
	}
	var b [8]byte
	tid := 0
	if n, _ := f.set.ReadMemory(b[:], m+uint64(off)); n == 8 {
		tid = int(f.u64(b[:], 0))
	}
	f.ms[m] = tid
	return tid
}

// threads says which goroutines are on a thread's stack. The program knows its
// threads by the numbers of its own PID namespace, which may be others.
func (f *finder) threads(all []Goroutine) {
	type place struct {
		sp  uint64
		tid int
	}
	known, places := map[int]bool{}, []place{}
	for i := range f.p.Threads {
		t := &f.p.Threads[i]
		known[t.TID] = true
		places = append(places, place{t.Registers.SP(), t.TID})
	}
	slices.SortStableFunc(places, func(a, b place) int { return cmp.Compare(a.sp, b.sp) })
	for i := range all {
		g := &all[i]
		if !known[g.TID] {
			g.TID = 0
		}
		if g.Status != Running && g.Status != Syscall && g.Status != CopyStack {
			continue
		}
		// Threads and goroutines are many: the lowest stack pointer in the stack.
		k := sort.Search(len(places), func(k int) bool { return places[k].sp >= g.Stack.Addr })
		if k < len(places) && g.Stack.Contains(places[k].sp) {
			g.TID, g.OnThread = places[k].tid, true
		}
	}
}
