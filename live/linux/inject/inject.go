package inject

import (
	"errors"
	"fmt"

	"procdump/arch"
)

// ErrGone means that the process ended under the injection.
var ErrGone = errors.New("the process has ended")

// Refusal says why no system call is injected into a thread; it is as it was.
type Refusal struct{ Why string }

func (r *Refusal) Error() string { return r.Why }

// Unwrap says that it is a thing that cannot be done here.
func (r *Refusal) Unwrap() error { return errors.ErrUnsupported }

func refuse(format string, args ...any) error { return &Refusal{fmt.Sprintf(format, args...)} }

// Thread says where and how to inject.
type Thread struct {
	TID     int
	Machine arch.Machine
	Site    Site
	// Room is where memory begins that nobody uses, and that can be written:
	// below all that is in use of the process's first stack.
	Room, RoomSize uint64
	Options        int // the thread's ptrace options

	// TellsRseq says that the kernel is one that tells of restartable sequences,
	// Linux 5.13, unless it has none.
	TellsRseq bool
	// Ready tells whether the thread has a processor, or waits for one.
	Ready func() bool
	// Tracees lists the processes that the calling thread traces.
	Tracees func() []int
}

// RoomFor is how many bytes of room a thread of most machines needs.
const RoomFor = 8 << 10

// Copy is a process that was cloned. It stands, traced, at its birth: it has
// never run.
type Copy struct {
	PID   int  // in the tracer's PID namespace
	Inner int  // in that of the process
	Own   bool // it is a child of the process, which Collect takes it from
}
