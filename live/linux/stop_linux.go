package linux

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"procdump/internal/sys/ptrace"
)

// stopTimeout is how long one waits for a thread that does not stop: one in
// uninterruptible sleep (D), such as a vfork parent or one that waits for a
// dead file server.
const stopTimeout = 2 * time.Second

// stopped is one thread that is held.
type stopped struct {
	tid    int
	signal int // what it was about to take; handed back when it goes on
}

// missed is a thread that could not be stopped.
type missed struct {
	tid   int
	state byte
	why   string
}

// stopAll seizes and stops every thread of a process, until no new one
// appears. It must run on the tracer's thread. On an error nothing is left
// stopped.
func stopAll(ctx context.Context, pid int) (held []stopped, lost []missed, begin time.Time, err error) {
	seen := map[int]bool{}
	defer func() {
		if err != nil {
			release(held)
			held = nil
		}
	}()
	// A listing may end early when a thread dies under it, and a thread that
	// was found dead may have left a child: two quiet listings make sure.
	for quiet := 0; quiet < 2; quiet++ {
		if ctx.Err() != nil {
			return held, lost, begin, context.Cause(ctx)
		}
		ids, err := tids(pid)
		if err != nil {
			return held, lost, begin, orGoneProc(err)
		}
		var fresh []int
		for _, tid := range ids {
			if seen[tid] {
				continue
			}
			seen[tid], quiet = true, -1
			ok, err := seize(pid, tid, 0)
			if err != nil {
				return held, lost, begin, err
			}
			if ok {
				fresh = append(fresh, tid)
			}
		}
		if len(fresh) == 0 {
			continue
		}
		if begin.IsZero() {
			begin = time.Now()
		}
		// However long one thread took, the next ones get a fair chance.
		deadline := begin.Add(stopTimeout)
		if least := time.Now().Add(stopTimeout / 10); deadline.Before(least) {
			deadline = least
		}
		for _, tid := range fresh {
			_ = ptrace.Interrupt(tid) // ESRCH: it is exiting; waiting will tell
		}
		h, l, err := await(ctx, pid, fresh, deadline)
		held, lost = append(held, h...), append(lost, l...)
		if err != nil {
			return held, lost, begin, err
		}
	}
	if len(held) == 0 && !allAsleep(lost) {
		if len(lost) > 0 {
			return nil, lost, begin, fmt.Errorf("stop process %d: %w", pid, noneStopped(lost))
		}
		return nil, nil, begin, ErrGone
	}
	return held, lost, begin, nil
}

// seize attaches to a thread. It reports false for one that has exited, and an
// error where it may not be attached to.
func seize(pid, tid, options int) (bool, error) {
	err := ptrace.SeizeWith(tid, options)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, syscall.ESRCH):
		return false, nil
	case errors.Is(err, syscall.EPERM):
		// The kernel says EPERM, too, of a thread that is exiting or a zombie.
		st, serr := readStat(procPath(pid, "task", fmt.Sprint(tid), "stat"))
		const pfExiting = 0x4 // PF_EXITING
		switch {
		case serr == nil && (st.state == 'Z' || st.state == 'X' || st.flags&pfExiting != 0), errors.Is(orGoneProc(serr), ErrGone):
			return false, nil
		case serr != nil:
			return false, fmt.Errorf("attach to thread %d: %w", tid, serr)
		}
	}
	return false, fmt.Errorf("attach to thread %d: %w", tid, err)
}

// await waits until each of the threads has stopped, ended, or been given up.
func await(ctx context.Context, pid int, tids []int, deadline time.Time) (held []stopped, lost []missed, err error) {
	nap := 20 * time.Microsecond
	for {
		rest := tids[:0]
		for _, tid := range tids {
			s, err := ptrace.Wait(tid)
			switch {
			case err != nil:
				return held, lost, fmt.Errorf("wait for thread %d: %w", tid, err)
			case s.Stopped:
				held = append(held, stopped{tid, s.Signal})
			case !s.Gone && (nap < time.Millisecond || !ended(pid, tid)):
				rest = append(rest, tid)
			}
		}
		if len(rest) == 0 {
			return held, lost, nil
		}
		if len(rest) < len(tids) {
			nap = 20 * time.Microsecond
		}
		tids = rest
		if ctx.Err() != nil {
			return held, lost, context.Cause(ctx)
		}
		if time.Now().After(deadline) {
			break
		}
		ptrace.Nap(nap)
		nap = min(nap*2, 2*time.Millisecond)
	}
	for _, tid := range tids {
		lost = append(lost, missedThread(pid, tid))
	}
	return held, lost, nil
}

// ended tells whether a thread has exited. Of a leader that exits while other
// threads live, waiting says nothing.
func ended(pid, tid int) bool {
	st, err := readStat(procPath(pid, "task", fmt.Sprint(tid), "stat"))
	return errors.Is(orGoneProc(err), ErrGone) || st.state == 'Z' || st.state == 'X'
}

// missedThread describes a thread that did not stop in time.
func missedThread(pid, tid int) missed {
	st, _ := readStat(procPath(pid, "task", fmt.Sprint(tid), "stat"))
	return missed{tid, st.state, fmt.Sprintf("did not stop within %v: it waits in the kernel, uninterruptibly", stopTimeout)}
}

func noneStopped(lost []missed) error {
	return fmt.Errorf("none of its %d threads stopped within %v (state %c: waiting in the kernel, which nothing can interrupt): %w",
		len(lost), stopTimeout, lost[0].state, syscall.ETIMEDOUT)
}

// release lets threads go on, each with the signal it was about to take.
// A thread in a group-stop goes back to it by itself.
func release(held []stopped) {
	for _, t := range held {
		_ = ptrace.Detach(t.tid, t.signal) // ESRCH: it was killed meanwhile
	}
}

func orGoneProc(err error) error {
	if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ESRCH) {
		return ErrGone
	}
	return err
}
