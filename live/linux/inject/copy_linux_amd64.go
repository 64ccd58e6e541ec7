package inject

import (
	"encoding/binary"
	"errors"
	"math"
	"syscall"
	"time"

	"procdump/internal/sys/procmem"
	"procdump/internal/sys/ptrace"
)

// Flags of clone(2).
const (
	cloneVM           = 0x100
	cloneFiles        = 0x400
	cloneParentSetTID = 0x100000
)

const (
	closeRangeUnshare = 2  // CLOSE_RANGE_UNSHARE of close_range(2)
	getSubreaper      = 37 // PR_GET_CHILD_SUBREAPER of prctl(2)
)

// Subreaper tells whether the process is the one that orphans below it go to
// (PR_SET_CHILD_SUBREAPER of prctl(2)).
func (s *Seat) Subreaper() (bool, error) {
	// Its answer goes where the frame of a clone is to be, which is not in use.
	n, err := s.Call(s.c.prctl, getSubreaper, s.waiting)
	if err != nil || n < 0 {
		return false, err
	}
	var answer [4]byte
	if err := s.read(answer[:], s.waiting); err != nil {
		return false, s.failed(err)
	}
	if err := procmem.Write(s.th.TID, s.frames, s.at); err != nil {
		return false, s.failed(err)
	}
	return answer != [4]byte{}, nil
}

// Copy clones the process, without what the process would see of it: no signal
// at the copy's end, and nobody for wait(2). The copy has the memory, written to
// by either of the two only for itself; it has no descriptor, and blocks every
// signal. It dies with its tracer.
//
// An orphan is made by a child that ends at once, and goes to the first process
// of the PID namespace. Otherwise the copy is the process's child, and Collect
// must take it away in the end.
func (s *Seat) Copy(orphan bool) (c *Copy, err error) {
	c = &Copy{Own: !orphan}
	if orphan {
		err = s.byChild(func(helper int) (err error) {
			c.PID, err = s.copyIn(helper)
			return err
		})
	} else {
		c.Inner, err = s.bear(cloneFiles, func(pid int) error {
			c.PID = pid
			return nil
		})
	}
	if err == nil {
		err = orLost(s.strip(c.PID))
	}
	if err != nil {
		s.Discard(c)
		return nil, err
	}
	return c, nil
}

// byChild has something done by a child that shares the process's memory and its
// descriptors. It ends after that, and nothing is left of it.
func (s *Seat) byChild(do func(pid int) error) error {
	inner, err := s.bear(cloneFiles|cloneVM, func(pid int) error {
		err := do(pid)
		End(pid)
		return err
	})
	if err != nil {
		return err
	}
	return s.collect(inner)
}

// bear makes the thread clone its process. raise is told of the child, which
// stands at its birth. Its number within the process's PID namespace is returned.
// If anything fails nothing is left of the child.
func (s *Seat) bear(flags uint64, raise func(pid int) error) (inner int, err error) {
	born := s.waiting + firstArgument(s.th.Machine, s.th.Site)
	if err := s.begin(s.call(s.waiting, s.c.clone, flags|cloneParentSetTID, s.dying, born)); err != nil {
		return 0, s.failed(err)
	}
	child, failed := 0, error(nil)
	n, err := s.perform(s.th.TID, func(pid int) {
		child = pid
		if failed = s.born(pid); failed == nil {
			failed = raise(pid)
		}
	})
	switch {
	case err != nil:
		s.abandon(child, born)
		return 0, err
	case n < 0:
		return 0, refusedClone(n)
	case failed != nil:
		End(child)
		if err := s.collect(int(n)); err != nil {
			return 0, err
		}
		return 0, orLost(failed)
	}
	return int(n), nil
}

// abandon ends the child of a clone that the thread may not have come to the end
// of, and takes it away from the process. It is 0 if it is not known; at the
// address born its number within the PID namespace is.
func (s *Seat) abandon(child int, born uint64) {
	if child == 0 {
		child = s.unseen(s.th.TID)
	}
	if child == 0 {
		return
	}
	End(child)
	var inner [4]byte
	if s.read(inner[:], born) == nil && s.halt() == nil {
		_ = s.collect(int(binary.LittleEndian.Uint32(inner[:]))) // fails if the process is gone
	}
}

// unseen finds a child that nobody was told of: the kernel tells nothing of it if
// its parent was killed as it was made. 0: there is none.
func (s *Seat) unseen(parent int) int {
	const tries = 50
	for range tries {
		running := false
		for _, pid := range s.th.Tracees() {
			if pid == parent || pid == s.th.TID {
				continue
			}
			b, err := ptrace.Regs64(pid)
			if err != nil {
				running = true // perhaps on its way to its first stop
				continue
			}
			if r := decodeRegisters(b); r[regRSP] == s.dying {
				return pid
			}
		}
		if !running {
			break
		}
		ptrace.Nap(2 * time.Millisecond)
	}
	return 0
}

// orLost turns the end of a child into a refusal: the process is still there.
func orLost(err error) error {
	if errors.Is(err, ErrGone) {
		return refuse("the clone was killed as it was made (is memory short?)")
	}
	return err
}

// born takes the first stop of a child, and makes it die with its tracer.
func (s *Seat) born(pid int) error {
	if _, err := s.await(pid, true, math.MaxInt64); err != nil {
		return err
	}
	if err := ptrace.SetOptions(pid, ptrace.ExitKill|ptrace.TraceSysGood|ptrace.TraceClone); err != nil {
		return s.failed(err)
	}
	return nil
}

// copyIn clones the process from its child helper, which shares its memory. The
// clone may be there where there is an error, too.
func (s *Seat) copyIn(helper int) (pid int, err error) {
	if err := s.place(helper, s.c.clone, cloneFiles); err != nil {
		return 0, err
	}
	var failed error
	n, err := s.perform(helper, func(child int) {
		pid = child
		failed = s.born(child)
	})
	switch {
	case err != nil && pid == 0:
		return s.unseen(helper), err
	case err != nil:
		return pid, err
	case n < 0:
		return 0, refusedClone(n)
	}
	return pid, failed
}

// place gives a child the registers of a call, after which it would end.
func (s *Seat) place(pid int, number uint64, args ...uint64) error {
	r := s.call(s.dying, number, args...)
	if err := ptrace.SetRegs64(pid, r.encode()); err != nil {
		return s.failed(err)
	}
	return nil
}

// strip closes every descriptor of the copy. It shares them with the process
// until then, so that none is opened a second time and no lock is given up.
func (s *Seat) strip(pid int) error {
	if err := s.place(pid, s.c.closeRange, 0, 1<<32-1, closeRangeUnshare); err != nil {
		return err
	}
	n, err := s.perform(pid, nil)
	switch {
	case err != nil:
		return err
	case n < 0:
		return refuse("the clone cannot let go of the process's descriptors (close_range(2), Linux 5.9): %v", syscall.Errno(-n))
	}
	return nil
}

func refusedClone(result int64) error {
	switch e := syscall.Errno(-result); e {
	case syscall.EAGAIN:
		return refuse("no more processes are allowed (pids.max of its cgroup, or RLIMIT_NPROC)")
	case syscall.ENOMEM:
		return refuse("the kernel grants no memory for it (vm.overcommit_memory)")
	default:
		return refuse("clone: %v", e)
	}
}

// Discard ends a copy while the thread is still there to collect it.
func (s *Seat) Discard(c *Copy) {
	if c.PID == 0 {
		return
	}
	End(c.PID)
	if c.Own && c.Inner > 0 {
		_ = s.Collect(c)
	}
}

// Collect takes a copy that has ended away from the process, whose child it is.
func (s *Seat) Collect(c *Copy) error { return s.collect(c.Inner) }

func (s *Seat) collect(inner int) error {
	const noHang = 1 // WNOHANG
	_, err := s.Call(s.c.wait4, uint64(inner), 0, waitAll|noHang, 0)
	if err != nil && s.halt() == nil {
		// It is there, and would have what is left of the child for ever.
		_, err = s.Call(s.c.wait4, uint64(inner), 0, waitAll|noHang, 0)
	}
	return err
}

// End kills a copy and waits until nothing is left of it for its tracer to see.
// If it was killed before, and its end was collected, another process may have its
// PID by now: that one is left alone.
func End(pid int) {
	var w ptrace.Waiter
	if _, err := w.Peek(pid); errors.Is(err, syscall.ECHILD) {
		return
	}
	_ = syscall.Kill(pid, syscall.SIGKILL) // ESRCH: it has ended
	for nap := 10 * time.Microsecond; !ptrace.TakeEnd(pid); nap = min(2*nap, time.Millisecond) {
		ptrace.Nap(nap)
	}
}
