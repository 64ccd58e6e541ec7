// Package hang tells whether a process is hung: alive, but not answering.
//
//   - DState: one of its threads sleeps in the kernel and cannot be woken.
//   - Endpoint: a server does not answer requests (HTTP, or TCP connections).
//   - X11: a window does not answer the ping of window managers (_NET_WM_PING).
//
// A check is asked for its opinion again and again with the present time, says
// it at once, and never waits: what takes time runs beside it. Hung is what has
// not answered, or not moved, for Limit.
package hang

import (
	"errors"
	"fmt"
	"time"
)

// Limit is how long a process has to be silent to be hung: the 5 seconds after
// which Windows, too, calls a window hung (IsHungAppWindow).
const Limit = 5 * time.Second

// Period is the least time between two requests to the process.
const Period = time.Second

// ErrGone means that the process has ended.
var ErrGone = errors.New("process has ended")

// State is a check's opinion.
type State int

const (
	Unknown   State = iota // nothing can be said, or not yet
	Answering              // all is well
	Silent                 // not answering, but for less than Limit
	Hung                   // not answering for Limit
)

var stateNames = [...]string{"unknown", "answering", "silent", "hung"}

func (s State) String() string {
	if s < 0 || int(s) >= len(stateNames) {
		return fmt.Sprintf("state %d", int(s))
	}
	return stateNames[s]
}

// Checker is what all checks of this package are. It is not safe for concurrent
// use.
type Checker interface {
	// Check returns the present state and, unless that is Answering, the
	// reason in words. now has to be the time at which it is called. An error
	// says that nothing can be said any more.
	Check(now time.Time) (State, string, error)
	// Forget drops what was observed. It has to be called after procdump has
	// itself stopped the process, which then could not answer.
	Forget()
	// Close ends what runs beside the check.
	Close() error
}

var (
	_ Checker = (*DState)(nil)
	_ Checker = (*Endpoint)(nil)
	_ Checker = (*X11)(nil)
)

// seconds writes a duration as people say it.
func seconds(d time.Duration) string {
	return fmt.Sprintf("%g s", d.Truncate(100*time.Millisecond).Seconds())
}
