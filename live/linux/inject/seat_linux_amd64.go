package inject

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"syscall"
	"time"

	"procdump/arch"
	"procdump/internal/sys/procmem"
	"procdump/internal/sys/ptrace"
)

// Seat is a thread that is made to perform system calls. All its methods must
// be called by the thread's tracer.
type Seat struct {
	th      Thread
	c       conventions
	regs    registers // the thread's own
	mask    uint64
	moved   bool // the registers are not the thread's own
	bound   bool // nor are the signal mask and the ptrace options
	cloned  bool // a child was born
	at      uint64
	frames  []byte // what was written at at
	saved   []byte // what was there
	waiting uint64 // addresses of the frames
	homing  uint64
	dying   uint64
}

// Sit prepares a thread that stands in a PTRACE_EVENT_STOP. The error is a
// *Refusal where the thread is not fit for it. Leave must be called in the end.
func Sit(th Thread) (*Seat, error) {
	s := &Seat{th: th, c: conventionsOf[th.Machine]}
	if s.c.arguments == nil {
		return nil, refuse("no system call can be injected into %v code", th.Machine)
	}
	b, err := ptrace.Regs64(th.TID)
	if err != nil {
		return nil, fmt.Errorf("read registers of thread %d: %w", th.TID, err)
	}
	s.regs = decodeRegisters(b)
	if s.mask, err = ptrace.Sigmask(th.TID); err != nil {
		return nil, fmt.Errorf("read signal mask of thread %d: %w", th.TID, err)
	}
	if err := s.fit(); err != nil {
		return nil, err
	}
	fp, at, err := s.floating()
	if err != nil {
		return nil, err
	}
	s.layOut(fp, at)
	if uint64(len(s.frames))+s.at > th.Room+th.RoomSize {
		return nil, refuse("its stack has no room below what is in use")
	}
	return s, s.write()
}

// fit tells whether the thread would find its way back.
func (s *Seat) fit() error {
	tid := s.th.TID
	// The code segments of user mode (arch/x86/include/asm/segment.h).
	segments := map[uint64]arch.Machine{0x33: arch.AMD64, 0x23: arch.I386}
	if segments[s.regs[regCS]] != s.th.Machine {
		return refuse("it runs code of another machine")
	}
	read := func(p []byte, addr uint64) error { return s.read(p, addr) }
	if !s.th.Site.Check(s.th.Machine, read) {
		return refuse("the code that an injected call needs is not where it was")
	}
	if on, err := ptrace.Dispatched(tid); err == nil && on {
		return refuse("its system calls are dispatched to itself (PR_SET_SYSCALL_USER_DISPATCH)")
	}
	if n, err := ptrace.Regset(tid, arch.NT_X86_SHSTK, make([]byte, 64)); err == nil && n > 0 {
		return refuse("it has a shadow stack")
	}
	return s.noSequence(ptrace.RseqArea(tid))
}

// noSequence refuses a thread that stands in a restartable sequence, which would
// not be told that the thread was elsewhere meanwhile. area is where its struct
// rseq is; err says that the kernel does not tell.
func (s *Seat) noSequence(area uint64, err error) error {
	switch {
	case int64(s.regs[regOrigRAX]) >= 0:
		return nil // in a system call, and so in no restartable sequence
	case errors.Is(err, syscall.ESRCH):
		return ErrGone
	case err != nil && !s.th.TellsRseq:
		return refuse("it may stand in a restartable sequence, which this kernel does not tell (Linux 5.13)")
	case err != nil || area == 0:
		return nil
	}
	// struct rseq (rseq(2)): two words of 32 bits, then the address of the
	// critical section, which a thread without one may leave set.
	var critical [8]byte
	if err := s.read(critical[:], area+8); err != nil || critical != [8]byte{} {
		return refuse("it stands in a restartable sequence")
	}
	return nil
}

// floating reads the floating-point state in the form of a signal frame.
func (s *Seat) floating() ([]byte, int, error) {
	set := func(typ uint32) []byte {
		b := make([]byte, 16<<10)
		n, err := ptrace.Regset(s.th.TID, typ, b)
		if err != nil {
			return nil
		}
		return b[:n]
	}
	xsave, fsave := set(arch.NT_X86_XSTATE), []byte(nil)
	plain := uint32(arch.NT_PRFPREG)
	if s.th.Machine == arch.I386 {
		fsave, plain = set(arch.NT_PRFPREG), arch.NT_PRXFPREG
	}
	if xsave == nil {
		xsave = set(plain)
	}
	fp, at := floating(s.th.Machine, xsave, fsave)
	if fp == nil {
		return nil, 0, refuse("its floating-point registers cannot be read")
	}
	return fp, at, nil
}

// layOut makes the frames: see the package comment.
func (s *Seat) layOut(fp []byte, fpAt int) {
	const align = 64
	s.at = (s.th.Room + align - 1) &^ (align - 1)
	s.waiting, s.homing, s.dying = s.at, s.at+frameSize, s.at+2*frameSize
	area := (s.at+3*frameSize+uint64(fpAt)+align-1)&^(align-1) - uint64(fpAt)
	s.frames = make([]byte, area-s.at, area-s.at+uint64(len(fp)))
	s.frames = append(s.frames, fp...)
	put := func(addr uint64, r registers, fp uint64) {
		copy(s.frames[addr-s.at:], frame(s.th.Machine, s.th.Site, r, s.mask, fp))
	}
	// The child's number is not known yet: the kernel writes it here
	// (CLONE_PARENT_SETTID). Without a child there is nobody to wait for.
	const nobody = 1<<31 - 1
	put(s.waiting, s.call(s.homing, s.c.wait4, nobody, 0, waitAll, 0), 0)
	put(s.homing, s.regs.home(s.c), area)
	put(s.dying, s.call(s.dying, s.c.exitGroup, 0), 0)
}

// waitAll is __WALL of wait4(2): children without an exit signal, too.
const waitAll = 0x40000000

// call returns the registers that make a system call and then return to the
// frame at stack.
func (s *Seat) call(stack, number uint64, args ...uint64) registers {
	r := s.regs
	r[regRIP], r[regRSP] = s.th.Site.Call, stack
	r[regRAX], r[regOrigRAX] = number, ^uint64(0)
	r[regEFlags] &^= trapFlag
	for i, reg := range s.c.arguments {
		r[reg] = 0
		if i < len(args) {
			r[reg] = args[i]
		}
	}
	return r
}

func (s *Seat) read(p []byte, addr uint64) error {
	n, err := procmem.ReadV(s.th.TID, p, []procmem.Vec{{Addr: addr, Size: uint64(len(p))}})
	if err == nil && n < len(p) {
		err = syscall.EFAULT
	}
	return err
}

// write puts the frames onto the stack.
func (s *Seat) write() error {
	s.saved = make([]byte, len(s.frames))
	if err := s.read(s.saved, s.at); err != nil {
		return refuse("the end of its stack cannot be read: %v", err)
	}
	if err := procmem.Write(s.th.TID, s.frames, s.at); err != nil {
		return refuse("the end of its stack cannot be written: %v", err)
	}
	now := make([]byte, len(s.frames))
	if err := s.read(now, s.at); err != nil || !bytes.Equal(now, s.frames) {
		s.putBack()
		return refuse("the end of its stack does not hold what is written to it")
	}
	return nil
}

func (s *Seat) putBack() { _ = procmem.Write(s.th.TID, s.saved, s.at) } // fails if the process is gone

// everySignal is all signals; the kernel leaves SIGKILL and SIGSTOP out.
const everySignal = ^uint64(0)

// begin gives the thread the registers of a call. From now on it finds its own
// way home. Signals wait, so that it meets no handler on the way: blocked only
// now, for a thread with its own registers would never see them again if the
// tracer died.
func (s *Seat) begin(r registers) error {
	if err := ptrace.SetRegs64(s.th.TID, r.encode()); err != nil {
		return err
	}
	s.moved = true
	if s.bound {
		return nil
	}
	if err := ptrace.SetSigmask(s.th.TID, everySignal); err != nil {
		return err
	}
	if err := ptrace.SetOptions(s.th.TID, s.th.Options|ptrace.TraceSysGood|ptrace.TraceClone); err != nil {
		return err
	}
	s.bound = true
	return nil
}

// Call makes the thread perform a system call that does not block, and returns
// its result.
func (s *Seat) Call(number uint64, args ...uint64) (int64, error) {
	if err := s.begin(s.call(s.homing, number, args...)); err != nil {
		return 0, s.failed(err)
	}
	return s.perform(s.th.TID, nil)
}

// patience is how long the thread may take to get into its first system call, or
// to become ready for it on a busy machine. It sleeps longer only in a frozen
// cgroup (freezer of version 2), in which a thread stops for its tracer, but runs
// no more.
const patience = 2 * time.Second

// perform lets a thread run into a system call and to its end. child is told of
// a child that it makes meanwhile.
func (s *Seat) perform(tid int, child func(pid int)) (int64, error) {
	for entered, sig := false, 0; ; {
		if err := ptrace.Syscall(tid, sig); err != nil {
			return 0, s.failed(err)
		}
		// What is begun must come to its end: what is frozen later is waited for.
		c, stuck, err := s.awaitStart(tid, entered || s.cloned)
		if err != nil {
			return 0, err
		}
		sig = 0
		switch {
		case c.Event() == ptrace.EventClone && child != nil:
			pid, err := ptrace.EventMessage(tid)
			if err != nil {
				return 0, s.failed(err)
			}
			s.cloned = true
			child(int(pid))
		case c.Event() == ptrace.EventStop && stuck:
			return 0, refuse("it does not run (its cgroup may be frozen)")
		case c.Event() != 0:
			// A group-stop, which the process goes back to when it is let go.
		case c.Signal() != ptrace.SyscallStop:
			sig = c.Signal() // SIGSTOP, the one that cannot be blocked
		case !entered:
			entered = true
		default:
			n, err := s.result(tid)
			if err != nil || !restarts(n) {
				return n, err
			}
			entered = false // SIGSTOP interrupted it: the kernel begins it anew
		}
	}
}

// awaitStart is await for a thread that is to get into a system call. If it does
// not, and it may, it is stopped: stuck tells that.
func (s *Seat) awaitStart(tid int, forever bool) (c ptrace.Change, stuck bool, err error) {
	limit := patience
	if forever {
		limit = math.MaxInt64
	}
	for {
		if c, err = s.await(tid, true, limit); err != nil || c.TID != 0 {
			return c, false, err
		}
		if !s.th.Ready() {
			break
		}
	}
	if err := ptrace.Interrupt(tid); err != nil {
		return c, false, s.failed(err)
	}
	c, err = s.await(tid, true, math.MaxInt64)
	return c, true, err
}

func (s *Seat) result(tid int) (int64, error) {
	b, err := ptrace.Regs64(tid)
	if err != nil {
		return 0, s.failed(err)
	}
	v := int64(binary.LittleEndian.Uint64(b[8*regRAX:]))
	if s.th.Machine == arch.I386 {
		v = int64(int32(v))
	}
	return v, nil
}

// await waits for the next stop of a thread, and takes it unless it is to be
// left to others. There is none if that takes longer than the limit.
func (s *Seat) await(tid int, take bool, limit time.Duration) (ptrace.Change, error) {
	var w ptrace.Waiter
	for begin := time.Now(); ; {
		c, err := w.Peek(tid)
		switch {
		case errors.Is(err, syscall.ECHILD) || c.Ended:
			return c, ErrGone
		case err != nil:
			return c, fmt.Errorf("wait for thread %d: %w", tid, err)
		case c.TID != 0 && !take:
			return c, nil
		case c.TID != 0:
			if now, err := w.Take(tid); err == nil && now.TID != 0 {
				return now, nil
			}
			continue // killed this moment
		case time.Since(begin) > limit:
			return ptrace.Change{}, nil
		}
		// A small part of the time that it has taken already.
		ptrace.Nap(min(max(time.Since(begin)/32, 5*time.Microsecond), time.Millisecond))
	}
}

func (s *Seat) failed(err error) error {
	if errors.Is(err, syscall.ESRCH) {
		return ErrGone
	}
	return fmt.Errorf("inject a system call into thread %d: %w", s.th.TID, err)
}

// Leave gives the thread its own registers, signal mask and stack back. It
// stands in a PTRACE_EVENT_STOP, as before.
func (s *Seat) Leave() error {
	if !s.moved {
		s.putBack()
		return nil
	}
	if err := s.goHome(); err != nil {
		return err
	}
	s.moved, s.bound = false, false
	s.putBack()
	return nil
}

// halt makes the thread stand in a PTRACE_EVENT_STOP, out of any system call.
func (s *Seat) halt() error {
	tid := s.th.TID
	if err := ptrace.Interrupt(tid); err != nil {
		return s.failed(err)
	}
	for sig := 0; ; {
		if err := ptrace.Cont(tid, sig); err != nil {
			return s.failed(err)
		}
		c, err := s.await(tid, false, math.MaxInt64)
		if err != nil {
			return err
		}
		if c.Event() == ptrace.EventStop {
			return nil
		}
		if sig = c.Signal(); sig == ptrace.SyscallStop || c.Event() != 0 {
			sig = 0
		}
	}
}

func (s *Seat) goHome() error {
	tid := s.th.TID
	// Only in such a stop does the kernel look at what the registers say of an
	// interrupted system call.
	if err := s.halt(); err != nil {
		return err
	}
	if err := ptrace.SetOptions(tid, s.th.Options); err != nil {
		return s.failed(err)
	}
	if err := ptrace.SetSigmask(tid, s.mask); err != nil {
		return s.failed(err)
	}
	if err := ptrace.SetRegs64(tid, s.regs.encode()); err != nil {
		return s.failed(err)
	}
	return nil
}
