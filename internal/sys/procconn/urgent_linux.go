package procconn

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Urgent lets the calling thread run before all ordinary ones as soon as it has
// something to do: SCHED_FIFO, priority 1 (sched(7)), not inherited by its
// children. It needs CAP_SYS_NICE. The calling goroutine must be locked to its
// thread for good, and must not compute: the thread would keep all others from
// its CPU.
func Urgent() error {
	err := unix.SchedSetAttr(0, &unix.SchedAttr{
		Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Flags: unix.SCHED_FLAG_RESET_ON_FORK, Priority: 1,
	}, 0)
	if err != nil {
		return fmt.Errorf("set real-time priority: %w", err)
	}
	return nil
}
