// Package procconn listens to the kernel's process connector: netlink messages
// about every fork, exec and exit on the machine (<linux/connector.h>,
// <linux/cn_proc.h>, drivers/connector/cn_proc.c). It exists on Linux only.
//
// A message is a netlink header, a connector header and one event, all in the
// machine's byte order; offsets in bytes:
//
//	 0 nlmsghdr:   len u32, type u16, flags u16, seq u32, port u32
//	16 cn_msg:     idx u32, val u32, seq u32, ack u32, len u16, flags u16
//	36 proc_event: what u32, cpu u32, timestamp_ns u64
//	52 event_data: by what
//
// What the kernel calls pid is the id of a thread, and tgid that of a process;
// here they are TID and PID, as everywhere in user space.
//
// The kernel answers only callers in the initial PID and user namespaces, the
// connector exists only in the initial network namespace, and before Linux 6.6
// the caller needs CAP_NET_ADMIN. Whoever is refused gets an
// *UnavailableError.
package procconn

import (
	"errors"
	"fmt"
)

// Options say what is wanted.
type Options struct {
	// Events are the kinds of interest; the kernel is asked to leave out the
	// others (Linux 6.6 and later), but any may come. 0: all. Only of all
	// events can single lost ones be noticed by their numbers.
	Events What
	// ReceiveBuffer is how many bytes of events the kernel keeps for a reader
	// that is late, about 800 for an event; 0: 32 MiB. Without CAP_NET_ADMIN
	// net.core.rmem_max bounds it.
	ReceiveBuffer int
}

// ErrClosed is the error of a Read that Interrupt ended.
var ErrClosed = errors.New("procconn: closed")

// UnavailableError says why the process connector cannot be used.
type UnavailableError struct {
	Cause  string
	Remedy string
	Err    error // what the system said; nil: nothing
}

func (e *UnavailableError) Error() string {
	return fmt.Sprintf("the kernel's process connector is not available because %s; %s", e.Cause, e.Remedy)
}

// Unwrap makes errors.Is(e, errors.ErrUnsupported) true.
func (e *UnavailableError) Unwrap() []error {
	if e.Err == nil {
		return []error{errors.ErrUnsupported}
	}
	return []error{errors.ErrUnsupported, e.Err}
}
