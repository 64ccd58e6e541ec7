package linux

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"

	"procdump/internal/sys/ptrace"
	"procdump/live/linux/inject"
)

// discardCopy ends a copy that is of no use, while the process still stands. It
// runs on the thread that traces it.
func (s *Stopped) discardCopy() {
	if s.copy == nil {
		return
	}
	c := s.copy
	s.copy = nil
	inject.End(c.PID)
	if c.Own {
		_ = s.collect(c)
	}
}

// dropCopy ends the copy when the dump is done and the process runs on.
func (s *Stopped) dropCopy() {
	if s.copy == nil {
		return
	}
	s.holder.do(func() {
		inject.End(s.copy.PID)
		if s.copy.Own {
			s.collectLater(s.copy)
		}
	})
}

// collectWithin is how long one tries to find the process in a state in which it
// can be made to take a clone away.
const collectWithin = time.Second

// interruptWithin is how long one waits for one thread to stop for that.
const interruptWithin = collectWithin / 4

// collectLater stops one thread once more, for less than a millisecond: the first
// one, or else any other that it can be done with.
func (s *Stopped) collectLater(c *inject.Copy) {
	for begin := time.Now(); time.Since(begin) < collectWithin; ptrace.Nap(10 * time.Millisecond) {
		ids, err := tids(s.target.PID)
		if err != nil {
			return // it has ended, and nothing of it is left
		}
		slices.Sort(ids)
		gone := true
		for _, tid := range ids[:min(len(ids), maxSeats)] {
			held, err := interruptOne(s.target.PID, tid)
			gone = gone && errors.Is(err, ErrGone)
			if err != nil {
				continue
			}
			s.held = []stopped{held}
			err = s.collect(c)
			release(s.held)
			if err == nil {
				return
			}
		}
		if gone {
			return
		}
	}
}

// interruptOne stops one thread of a process.
func interruptOne(pid, tid int) (held stopped, err error) {
	ok, err := seize(pid, tid, 0)
	switch {
	case err != nil:
		return held, err // somebody else traces it
	case !ok:
		return held, ErrGone // the first thread may have exited before the others
	}
	_ = ptrace.Interrupt(tid)
	for begin := time.Now(); time.Since(begin) < interruptWithin; ptrace.Nap(20 * time.Microsecond) {
		switch st, err := ptrace.Wait(tid); {
		case err != nil || st.Gone:
			return held, ErrGone
		case st.Stopped:
			return stopped{tid, st.Signal}, nil
		}
	}
	// It is let go of with the end of the thread that traces it.
	return held, syscall.ETIMEDOUT
}

// collect makes the process take a clone that has ended away. The threads of
// held stand.
func (s *Stopped) collect(c *inject.Copy) error {
	text, err := os.ReadFile(procPath(s.held[0].tid, "maps")) // the first thread may have exited
	if err != nil {
		return err
	}
	regions, err := parseMaps(text)
	if err != nil {
		return err
	}
	seat, _, err := s.sit(s.room(regions))
	if err != nil {
		return err
	}
	err = seat.Collect(c)
	return errors.Join(err, seat.Leave())
}

// tracees lists the processes whose first thread the calling thread traces.
func tracees() (pids []int) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	tracer := syscall.Gettid()
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && tracerOf(pid) == tracer {
			pids = append(pids, pid)
		}
	}
	return pids
}
