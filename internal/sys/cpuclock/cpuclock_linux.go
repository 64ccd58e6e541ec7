package cpuclock

import (
	"time"

	"golang.org/x/sys/unix"
)

// Process returns the CPU time that all threads of a process, ended ones
// included, have used, to the nanosecond. It needs no privileges. The PID is
// one of the caller's PID namespace. A PID that nobody has is EINVAL.
func Process(pid int) (time.Duration, error) {
	// The clock of a process, as clock_getcpuclockid(3) computes it: the
	// complement of the PID above CPUCLOCK_SCHED (linux/posix-timers_types.h).
	const sched = 2
	var t unix.Timespec
	if err := unix.ClockGettime(^int32(pid)<<3|sched, &t); err != nil {
		return 0, err
	}
	return time.Duration(t.Nano()), nil
}
