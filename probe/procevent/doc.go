// Package procevent notices processes as they appear, execute programs and
// end. The kernel's process connector tells it, within some tens of
// microseconds; where that is not to be had, /proc is read again and again,
// which misses what lives shorter than the time between.
package procevent

import (
	"fmt"
	"time"
)

// Kind is what happened.
type Kind uint8

// Kinds of events.
const (
	// Exec: the process executes another program. When polling, it may also be
	// that another user's process has another name.
	Exec Kind = iota
	// Fork: the process is new, and executes what its parent does.
	Fork
	// Exit: the process has ended; its parent may not have collected it yet.
	Exit
	// Rename: the process has given itself another name (comm).
	Rename
	// Lost: events were lost. Whatever is derived from events must be looked
	// at anew: /proc tells.
	Lost
)

func (k Kind) String() string {
	switch k {
	case Exec:
		return "exec"
	case Fork:
		return "fork"
	case Exit:
		return "exit"
	case Rename:
		return "rename"
	case Lost:
		return "lost"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Unknown is the Status of a process of which none is known.
const Unknown = -1

// Event is something that happened to a process.
type Event struct {
	Kind   Kind
	PID    int       // 0 for Lost
	Parent int       // for Fork and Exit, 0 where it is not known
	Status int       // for Exit: the wait status (wait(2)), or Unknown, as always when polling
	Time   time.Time // when it happened; when polling, when it was noticed
}

// Options say what is wanted.
type Options struct {
	// Proc is the root of a proc file system; "" is /proc. Any other is polled.
	Proc string
	// Fork, Exit and Rename ask for those events too. Exec and Lost always come.
	Fork, Exit, Rename bool
	// Handle, if not nil, gets each event first, on the listening thread, which
	// runs before ordinary ones as soon as an event is there: some tens of
	// microseconds after it happened, where the way through the channel may
	// take milliseconds on a busy machine. The event goes to the channel if it
	// returns true. It must be quick and not wait for anything; to pass work
	// on to a thread that is Urgent, it writes to an eventfd or a pipe, not to
	// a channel.
	Handle func(Event) bool
	// Poll does without the process connector.
	Poll bool
	// PollEvery is the time between two looks at /proc; 0: 10 ms. It grows
	// where many processes run: the looking takes at most a twentieth of a CPU
	// as long as 100 ms are enough for that.
	PollEvery time.Duration
	// ReceiveBuffer is how many bytes of events the kernel keeps; 0: 32 MiB.
	ReceiveBuffer int
}

const defaultPollEvery = 10 * time.Millisecond

// pollText describes polling for users.
func pollText(every time.Duration, why string) string {
	return fmt.Sprintf("polling /proc every %d ms: %s", every.Milliseconds(), why)
}
