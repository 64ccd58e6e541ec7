package procconn

import (
	"time"

	"golang.org/x/sys/unix"
)

// Boot is the time at which the clock of Event.Monotonic was 0, by the present
// wall clock.
func Boot() time.Time {
	var ts unix.Timespec
	now := time.Now()
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) != nil {
		return now
	}
	return now.Add(-time.Duration(ts.Nano()))
}
