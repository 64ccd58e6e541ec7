// Package unwind finds the frames of a thread's stack in a snapshot: who called
// whom, from the thread's registers and its stack memory.
//
// It goes by call frame information (DWARF 5 §6.4; .eh_frame as in the Linux
// Standard Base, Core, 10.6), which it takes from the image in the dump, from
// the file that was mapped, from Breakpad's symbol file or from its debug
// information, through signal handlers and the vdso; by the table of Go's runtime
// in Go's code; by the tables of functions of Windows images; and, where all this
// is missing, by what the code goes on to do, by frame pointers and at last by
// whatever on the stack looks like a return address. Frames found in the latter
// ways are marked.
//
// Stacks of amd64, i386 and arm64 threads are known. An Unwinder is for one
// goroutine at a time. Whatever the dump holds, it ends in bounded time.
package unwind

import (
	"encoding/binary"
	"fmt"

	"procdump/arch"
	"procdump/image"
	"procdump/snapshot"
)

// How tells by what a frame was found.
type How uint8

const (
	ByRegisters    How = iota // it is the innermost
	ByCFI                     // call frame information
	ByGo                      // the table of Go's runtime
	ByPE                      // the table of functions of a Windows image
	ByContext                 // the registers that the kernel saved when it called a signal handler
	ByCall                    // the return address of a call to where no code is
	ByLink                    // the link register, after a call of what seems to be this function
	ByCode                    // what the code does up to its return instruction
	ByFramePointer            // the chain of frame pointers
	ByScan                    // it looked like a return address
	ByRuntime                 // the data of what runs a script
)

// String returns a word for who reads a report.
func (h How) String() string {
	return [...]string{"registers", "cfi", "go", "pe", "signal", "call", "link-register", "code", "frame-pointer", "scan", "runtime"}[h]
}

// Guess tells whether the frame may be none.
func (h How) Guess() bool { return h >= ByLink }

// Frame is one function's part of a stack.
type Frame struct {
	PC, SP uint64
	How    How
	// Exact tells that PC is where the function stood: it is the innermost or
	// was interrupted by a signal. Else PC is where it goes on after a call,
	// which may belong to another line or function.
	Exact bool
	// Signal tells that this is the code that a signal handler returns to.
	Signal bool
	// Script is the function of a script that this frame is one of, which has
	// no address then; an Unwinder finds none.
	Script *Script
}

// Script is a function of a script at a place of its source.
type Script struct {
	Language string // "python"
	Function string
	File     string // "" if it is not known
	Line     int    // 0 if it is not known
}

// CodePC is the address to look up names and lines by. Nobody has called what a
// signal handler returns to: it is the beginning of that code.
func (f Frame) CodePC() uint64 {
	if f.Exact || f.Signal || f.PC == 0 {
		return f.PC
	}
	return f.PC - 1
}

// Stack are the frames of one thread, the innermost first.
type Stack struct {
	Frames []Frame
	// Complete tells that the last frame is known to be the outermost.
	Complete bool
	// Cut tells that there are more frames than were asked for.
	Cut bool
	// Switched tells that the last frame has gone to this stack from another.
	Switched bool
	// End says in words why the stack ends early; "" if it does not.
	End string
}

// Unwinder finds the stacks of one process.
type Unwinder struct {
	p      *snapshot.Process
	set    *image.Set
	m      *machine
	tables map[*image.Image]*tables
	rows   map[uint64]*row // by address; nil: no call frame information
	ways   map[way]entrance
	work   int    // what was spent of maxWork
	auth   uint64 // bits of an address that may be a pointer authentication code
}

// maxWork bounds how much an Unwinder does for all stacks together: words that
// are looked at, steps of expressions, call frame information that is read and its
// instructions. Sound
// dumps of thousands of threads need a small part of it; damaged ones can be
// made to need any number.
const maxWork = 64 << 20

// spend takes n units of work and tells whether they were there.
func (u *Unwinder) spend(n int) bool {
	u.work += n
	return u.work <= maxWork
}

// maxRows bounds how many addresses are remembered.
const maxRows = 1 << 14

// New returns an unwinder for a process. Other machines than amd64, i386 and
// arm64 are errors.ErrUnsupported.
func New(p *snapshot.Process, set *image.Set) (*Unwinder, error) {
	m := machines[p.Machine()]
	if m == nil {
		return nil, fmt.Errorf("find stacks of %v threads: %w", p.Machine(), errUnsupported)
	}
	u := &Unwinder{p: p, set: set, m: m, tables: map[*image.Image]*tables{}, rows: map[uint64]*row{}, ways: map[way]entrance{}}
	if p.Machine() == arch.ARM64 {
		u.auth = authentication(p)
	}
	return u, nil
}

// Stack returns at most limit frames of a thread.
func (u *Unwinder) Stack(t *snapshot.Thread, limit int) Stack {
	var s Stack
	if t.Registers.Machine != u.p.Machine() || t.Registers.Set(arch.NT_PRSTATUS) == nil {
		s.End = "the dump holds no registers of this thread"
		return s
	}
	u.walk(&s, walk{registers: u.m.start(&t.Registers), frame: Frame{Exact: true}, link: true}, limit)
	return s
}

// Resume returns at most limit frames of a stack that no thread is on: of what
// will go on at pc with that stack pointer and, if they are not 0, frame pointer
// and link register.
func (u *Unwinder) Resume(pc, sp, fp, lr uint64, limit int) Stack {
	cur := walk{frame: Frame{How: ByGo}}
	cur.pc = pc
	cur.set(u.m.sp, sp)
	if fp != 0 {
		cur.set(u.m.fp, fp)
	}
	if lr != 0 && u.m.link != 0 {
		cur.set(u.m.link, lr)
		cur.link = true
	}
	// What has not begun goes on where its code begins, which nobody has called.
	f := u.set.GoFunc(pc)
	cur.frame.Exact = f != nil && f.Entry == pc
	var s Stack
	u.walk(&s, cur, limit)
	return s
}

// walk adds the frames of a stack, at most limit in all.
func (u *Unwinder) walk(s *Stack, cur walk, limit int) {
	for {
		cur.frame.PC = cur.pc
		cur.frame.SP, _ = cur.get(uint64(u.m.sp))
		if len(s.Frames) == limit {
			s.Cut = true
			return
		}
		s.Frames = append(s.Frames, cur.frame)
		next, end := u.step(&cur)
		s.Frames[len(s.Frames)-1].Signal = cur.frame.Signal
		if end != goesOn {
			s.Complete, s.End, s.Switched = end == outermost, end.text(), end == otherStack
			return
		}
		cur = next
	}
}

// walk is where a walk along a stack stands.
type walk struct {
	registers
	frame Frame
	// link tells that the link register may still hold the return address: no
	// call of this frame has come between.
	link bool
	// loose tells that the stack pointer is somewhere between the frame before
	// and this one.
	loose bool
}

// ending is why a stack ends.
type ending int

const (
	goesOn ending = iota
	outermost
	otherStack
	noStack
	damaged
	noTable
	tooLong
)

func (e ending) text() string {
	switch e {
	case otherStack:
		return "it goes on on another stack"
	case noStack:
		return "the dump does not hold the stack that it goes on in"
	case damaged:
		return "what follows on the stack is no return address"
	case noTable:
		return "there is no call frame information of this code, and nothing on the stack looks like its caller"
	case tooLong:
		return "the dump's stacks are too long to be followed"
	}
	return ""
}

// step finds the caller of a frame.
func (u *Unwinder) step(cur *walk) (walk, ending) {
	if !u.spend(1) {
		return walk{}, tooLong
	}
	// Call frame information of arm64's vdso, before Linux 5.8, leads past the
	// function that was interrupted.
	if u.m.link != 0 {
		if next, ok := u.stepSignal(cur); ok {
			return u.check(cur, next, goesOn)
		}
	}
	pc := cur.frame.CodePC()
	im := u.set.Find(pc)
	if next, end, ok := u.stepGo(cur, im, pc); ok {
		return u.check(cur, next, end)
	}
	if next, end, ok := u.stepWindows(cur, im, pc); ok {
		return u.check(cur, next, end)
	}
	if row := u.row(im, pc); row != nil {
		cur.frame.Signal = row.signal
		if row.symbols {
			return u.stepSymbols(cur, row)
		}
		if next, end, ok := u.apply(cur, row); ok {
			return u.check(cur, next, end)
		}
		return u.guess(cur, noStack)
	}
	if next, ok := u.stepSignal(cur); ok {
		return u.check(cur, next, goesOn)
	}
	return u.guess(cur, noTable)
}

// check holds what a table says against what a stack can be: the caller's part
// is above, and its address is one of code.
func (u *Unwinder) check(cur *walk, next walk, end ending) (walk, ending) {
	if end != goesOn {
		return next, end
	}
	if next.pc == 0 {
		return next, outermost
	}
	sp, ok := next.get(uint64(u.m.sp))
	// A function that has not called another one may have nothing on the stack.
	leaf := u.m.link != 0 && cur.link && sp == cur.frame.SP
	if !ok || sp <= cur.frame.SP && !cur.frame.Signal && !leaf {
		return next, damaged
	}
	if !next.frame.Exact && !u.code(next.pc-1) {
		from := next
		from.frame = Frame{}
		return u.guess(&from, damaged)
	}
	return next, goesOn
}

// code tells whether an address is one of code that may run.
func (u *Unwinder) code(addr uint64) bool {
	// A minidump of Windows need not tell what may run.
	if u.p.System.OS == "windows" {
		if im := u.set.Find(addr); im != nil {
			x := im.PE()
			return x == nil || x.Code(uint32(addr-im.Module.Addr))
		}
	}
	if i := u.p.FindRegion(addr); i >= 0 && u.p.Regions[i].Perm != 0 {
		return u.p.Regions[i].Perm&snapshot.Execute != 0
	}
	return u.set.Find(addr) != nil
}

// word reads a word of the stack.
func (u *Unwinder) word(addr uint64) (uint64, bool) {
	var b [8]byte
	if n, _ := u.set.ReadMemory(b[:u.m.word], addr); n < u.m.word {
		return 0, false
	}
	return binary.LittleEndian.Uint64(b[:]), true
}
