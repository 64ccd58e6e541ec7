// Package unwind finds the stacks of a Linux kernel in a dump, with nothing but
// the dump: no debug information is needed.
//
// Three ways are known, tried in this order at each frame:
//
//	ORC             x86-64 with CONFIG_UNWINDER_ORC: the tables that the kernel and
//	                its modules carry to unwind themselves, in their forms of 4.14
//	                to 6.3 and since 6.4
//	frame pointers  arm64, and x86-64 with CONFIG_UNWINDER_FRAME_POINTER
//	guess           words on the stack that are return addresses
//
// Stacks of interrupts, exceptions, non-maskable interrupts and of the entry
// code are followed to what they interrupted, up to user mode. Frames of the
// guess, and those behind a frame that could not be relied on, are marked.
//
// The memory is not trusted: a damaged stack or table leads to a trace that
// says where it broke off, never to a panic or an endless loop.
//
// Documentation/arch/x86/orc-unwinder.rst, arch/x86/kernel/unwind_orc.c,
// arch/x86/kernel/unwind_frame.c, arch/arm64/kernel/stacktrace.c.
package unwind

import (
	"errors"
	"fmt"

	"procdump/arch"
	"procdump/kernel/layout"
)

// maxFrames bounds a trace. The deepest stacks of a kernel have some 150.
const maxFrames = 256

// Frame is one function on a stack.
type Frame struct {
	// PC is the address of the next instruction: that of a return, or, if Exact
	// is set, of the instruction that was interrupted or was about to run.
	PC    uint64
	Exact bool
	SP    uint64
	// Reliable says that the frame was found by the rules, not by a guess.
	Reliable bool
	// Stack names the kind of stack it lies on where that is not the task's own:
	// "irq", "nmi", "exception", "entry".
	Stack string
	// Regs are the registers at an interrupt or exception in this frame, or nil.
	Regs *Regs
	Location
}

// Trace is a stack, the innermost frame first.
type Trace struct {
	Frames []Frame
	// User are the registers of user mode where the stack leads to it.
	User *Regs
	// Broken says why the stack could not be followed to its end; "" if it was.
	Broken string
}

// Unwinder unwinds the stacks of one kernel. It is not safe for concurrent use.
type Unwinder struct {
	k      *layout.Kernel
	mem    *memory
	code   *code
	orc    *orc
	stacks *stacks
}

// New prepares to unwind. What the kernel does not export makes the traces
// worse; Warnings tells.
func New(k *layout.Kernel) *Unwinder {
	u := &Unwinder{k: k, mem: newMemory(k)}
	u.code = newCode(k)
	u.stacks = newStacks(k)
	if k.Machine == arch.AMD64 {
		u.orc = newORC(k, u.mem, u.code.modules)
	}
	return u
}

// Warnings says what is missing for good traces.
func (u *Unwinder) Warnings() []string {
	var all []string
	if u.code.err != nil {
		return append(all, fmt.Sprintf("stacks are guesses without names of functions: %v", u.code.err))
	}
	if u.code.modulesErr != nil {
		all = append(all, fmt.Sprintf("stacks have no names of the modules' functions: %v", u.code.modulesErr))
	}
	if u.orc != nil && u.orc.err != nil && u.code.err == nil {
		all = append(all, fmt.Sprintf("stacks may be wrong, for they are found without the kernel's ORC tables: %v", u.orc.err))
	}
	return all
}

// Locate names the code at an address.
func (u *Unwinder) Locate(addr uint64) Location { return u.code.locate(addr) }

// errNoStack says that nothing is known of a task's stack.
var errNoStack = errors.New("the kernel does not export where its stack is")

// Task unwinds the stack of a task that does not run.
func (u *Unwinder) Task(t layout.Task) Trace {
	if t.SP == 0 {
		return Trace{Broken: errNoStack.Error()}
	}
	w := u.walk(t, -1)
	s := state{sp: t.SP, reliable: true}
	if u.k.Machine == arch.ARM64 {
		s.pc, s.fp = u.k.Space.StripPAC(t.PC), t.FP
	} else if err := u.inactive(t.SP, &s); err != nil {
		w.trace.Broken = err.Error()
		return w.trace
	}
	return w.run(s)
}

// inactive reads struct inactive_task_frame (arch/x86/include/asm/switch_to.h),
// which __switch_to_asm leaves at the stack pointer of a task that sleeps.
func (u *Unwinder) inactive(sp uint64, s *state) error {
	// r15, r14, r13, r12, bx, bp, ret_addr
	bp, ret, size := uint64(40), uint64(48), uint64(56)
	if f, err := u.k.Field("inactive_task_frame", "bp"); err == nil {
		bp = f.Offset
	}
	if f, err := u.k.Field("inactive_task_frame", "ret_addr"); err == nil {
		ret, size = f.Offset, f.Offset+8
	}
	var err error
	if s.fp, err = u.mem.word(sp + bp); err != nil {
		return fmt.Errorf("read the stack: %w", err)
	}
	if s.pc, err = u.mem.word(sp + ret); err != nil {
		return fmt.Errorf("read the stack: %w", err)
	}
	s.sp = sp + size
	return nil
}

// Registers unwinds the stack of a processor with these registers, which runs
// the task t; t may be the zero value.
func (u *Unwinder) Registers(r *Regs, t layout.Task, cpu int) Trace {
	w := u.walk(t, cpu)
	if r.User() {
		w.trace.User = r
		return w.trace
	}
	return w.run(state{pc: r.PC(), sp: r.SP(), fp: r.FP(), exact: true, regs: r, full: true, reliable: true})
}

// state is a frame while a stack is walked.
type state struct {
	pc, sp, fp uint64
	exact      bool // pc is no return address
	reliable   bool
	// regs are those that the frame was entered with by an interrupt; full says
	// that they are all there, else just pc and sp. prev are older ones, which
	// hold the others then.
	regs, prev *Regs
	full       bool
}

// errNoUnwindData says that a kernel has tables to unwind its stacks, perhaps,
// but the dump does not have them.
var errNoUnwindData = errors.New("the dump does not have the kernel's unwind data")

// errEnd is the end of a stack.
var errEnd = errors.New("end of stack")

// walker walks one stack.
type walker struct {
	u     *Unwinder
	areas []area
	trace Trace
	seen  map[[2]uint64]bool
}

func (u *Unwinder) walk(t layout.Task, cpu int) *walker {
	u.mem.forget()
	return &walker{u: u, areas: u.stacks.of(t, cpu), seen: make(map[[2]uint64]bool)}
}

// run walks from a state to the end.
func (w *walker) run(s state) Trace {
	for {
		if s.regs != nil && s.regs.User() {
			w.trace.User = s.regs
			return w.trace
		}
		at, onStack := w.areaOf(s.sp)
		if key := [2]uint64{s.pc, s.sp}; w.seen[key] || len(w.trace.Frames) >= maxFrames {
			w.trace.Broken = "it does not end"
			return w.trace
		} else {
			w.seen[key] = true
		}
		f := Frame{PC: s.pc, Exact: s.exact, SP: s.sp, Reliable: s.reliable, Stack: at.name, Location: w.u.code.at(s.pc, s.exact)}
		if s.exact && s.full {
			f.Regs = s.regs
		}
		w.trace.Frames = append(w.trace.Frames, f)
		next, err := w.step(&s)
		if errors.Is(err, errEnd) {
			return w.trace
		}
		if err == nil && onStack && at.holds(next.sp) && next.sp < s.sp {
			err = fmt.Errorf("the stack pointer goes back from %#x to %#x", s.sp, next.sp)
		}
		if err == nil && next.regs == nil && !w.u.code.contains(next.pc) && !w.u.code.unknown() {
			err = fmt.Errorf("%#x is no address of code", next.pc)
		}
		if err != nil {
			w.trace.Broken = err.Error()
			w.guess(s)
			return w.trace
		}
		next.reliable = next.reliable && s.reliable
		s = next
	}
}

// step goes to the caller of a frame, or to what it interrupted.
func (w *walker) step(s *state) (state, error) {
	if w.u.k.Machine == arch.ARM64 {
		return w.armStep(s)
	}
	switch {
	case w.u.orc.err == nil:
		return w.orcStep(s)
	case w.u.code.err == nil && errors.Is(w.u.orc.err, layout.ErrMissing):
		return w.frameStep(s) // a kernel without ORC
	}
	return state{}, errNoUnwindData
}
