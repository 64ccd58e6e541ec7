package target

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// Child is a program that Launch started.
type Child struct {
	PID     int
	Program string // the file that was executed

	done chan struct{}
	once sync.Once
	err  error // valid when done is closed
}

// Done is closed when the program has ended.
func (c *Child) Done() <-chan struct{} { return c.done }

// Err tells how the program ended, an *Error of the kind ErrEnded; nil while it runs.
func (c *Child) Err() error {
	select {
	case <-c.done:
		return c.err
	default:
		return nil
	}
}

// reap waits for the end of the program and collects it. It must not wait in
// wait4(2) or waitid(2) before: for a child that this process also traces they
// return, and swallow, the ptrace stops that the tracer waits for. A pidfd
// becomes readable only at the end (pidfd_open(2)).
func (c *Child) reap(pidfd int) {
	if pidfd >= 0 {
		defer syscall.Close(pidfd)
	}
	for !awaitExit(pidfd, c.PID) {
	}
	var status syscall.WaitStatus
	for {
		pid, err := syscall.Wait4(c.PID, &status, syscall.WNOHANG|wAll, nil)
		switch {
		case err == syscall.EINTR:
			continue
		case err == nil && pid == 0:
			// Threads of a traced program that are still to be collected by
			// the tracer come first.
			time.Sleep(10 * time.Millisecond)
			continue
		case err != nil:
			c.finish("it has ended") // a tracer in this process was faster
			return
		}
		if status.Exited() || status.Signaled() {
			c.finish(endText(status))
			return
		}
	}
}

const wAll = 0x40000000 // __WALL

func (c *Child) finish(how string) {
	c.once.Do(func() {
		c.err = &Error{Kind: ErrEnded, PID: c.PID, Cause: fmt.Sprintf("%s (%d) ended: %s", c.Program, c.PID, how)}
		close(c.done)
	})
}

// awaitExit blocks until the process has ended; false means: ask again. On
// kernels without pidfds (before 5.4) it looks at /proc.
func awaitExit(pidfd, pid int) bool {
	if pidfd < 0 {
		time.Sleep(50 * time.Millisecond)
		s, ok := Proc.stat(pid)
		return !ok || s.finished
	}
	const pollIn = 1
	poll := struct {
		fd              int32
		events, revents int16
	}{fd: int32(pidfd), events: pollIn}
	n, _, errno := syscall.Syscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&poll)), 1, 0, 0, 0, 0)
	if errno != 0 && errno != syscall.EINTR {
		time.Sleep(50 * time.Millisecond)
	}
	return errno == 0 && n == 1
}

// Ready waits until the program is worth dumping: it has initialised itself as
// far as to block for the first time (no thread runs at two looks 10 ms apart),
// or it has run for a second. If it ends before, the error tells how.
func (c *Child) Ready(ctx context.Context) error {
	const (
		interval = 10 * time.Millisecond
		enough   = time.Second
	)
	tick := time.NewTicker(interval)
	defer tick.Stop()
	limit := time.NewTimer(enough)
	defer limit.Stop()
	idle := false
	for {
		select {
		case <-c.done:
			return c.err
		case <-ctx.Done():
			return fmt.Errorf("wait for %s (%d): %w", c.Program, c.PID, ctx.Err())
		case <-limit.C:
			return nil
		case <-tick.C:
		}
		// Launch returned after execve(2): this is the program's own image.
		was := idle
		idle = Proc.idle(c.PID)
		if was && idle {
			return nil
		}
	}
}

// idle tells whether no thread of a process runs. The first one must sleep or
// be stopped: in state D it may well still be loading its libraries.
func (fs FS) idle(pid int) bool {
	tids, err := numbers(fs.of(pid, "task"))
	if err != nil || len(tids) == 0 {
		return false
	}
	for _, tid := range tids {
		b, err := readFile(fs.of(pid, "task", strconv.Itoa(tid), "stat"))
		if err != nil {
			continue // this thread has just ended
		}
		s, ok := parseStat(b)
		if !ok {
			return false
		}
		switch s.state {
		case 'S', 'T':
		case 'D':
			if tid == pid {
				return false
			}
		default:
			return false
		}
	}
	return true
}
