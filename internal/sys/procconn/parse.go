package procconn

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// What is a kind of event, or a set of kinds (enum proc_cn_event).
type What uint32

// Kinds of events.
const (
	PROC_EVENT_NONE     What = 0 // the answer to a request
	PROC_EVENT_FORK     What = 0x00000001
	PROC_EVENT_EXEC     What = 0x00000002
	PROC_EVENT_UID      What = 0x00000004
	PROC_EVENT_GID      What = 0x00000040
	PROC_EVENT_SID      What = 0x00000080
	PROC_EVENT_PTRACE   What = 0x00000100
	PROC_EVENT_COMM     What = 0x00000200
	PROC_EVENT_COREDUMP What = 0x40000000
	PROC_EVENT_EXIT     What = 0x80000000

	// PROC_EVENT_NONZERO_EXIT in a request asks for PROC_EVENT_EXIT of those
	// threads whose status is not 0.
	PROC_EVENT_NONZERO_EXIT What = 0x20000000
)

// Event is one event. Ids are those of the initial PID namespace.
type Event struct {
	What      What
	CPU       uint32 // that sent the event
	Seq       uint32 // number of the event among those that CPU sent
	Ack       uint32 // of an answer: the request's, plus 1
	Monotonic uint64 // when: CLOCK_MONOTONIC, ns

	PID, TID             int // of the new one for PROC_EVENT_FORK
	ParentPID, ParentTID int // 0 where the kind of event has none

	Status int      // PROC_EVENT_EXIT: wait status (wait(2)) of the thread; an answer: errno
	Comm   [16]byte // PROC_EVENT_COMM: the new name, ended by a NUL
}

// Errors of Parse.
var (
	errFormat  = errors.New("procconn: not a process event")
	errOverrun = errors.New("procconn: the kernel reports lost messages")
)

// Types of netlink messages (<linux/netlink.h>).
const (
	NLMSG_NOOP    = 1
	NLMSG_ERROR   = 2
	NLMSG_DONE    = 3
	NLMSG_OVERRUN = 4
)

// Identity of the process connector among the connector's users.
const (
	CN_IDX_PROC = 1
	CN_VAL_PROC = 1
)

// Sizes of structures, bytes.
const (
	nlHeaderSize  = 16 // struct nlmsghdr
	cnHeaderSize  = 20 // struct cn_msg
	evHeaderSize  = 16 // struct proc_event without event_data
	messageHeader = nlHeaderSize + cnHeaderSize
)

var native = binary.NativeEndian

// Parse appends the events of a datagram to events. An error is about the rest
// of the datagram: what is appended stands. Messages of other users of the
// connector, and kinds of events that are not known, are passed over.
func Parse(b []byte, events []Event) ([]Event, error) {
	for len(b) > 0 {
		if len(b) < nlHeaderSize {
			return events, fmt.Errorf("%w: %d bytes left, a header has %d", errFormat, len(b), nlHeaderSize)
		}
		size := int64(native.Uint32(b))
		if size < nlHeaderSize || size > int64(len(b)) {
			return events, fmt.Errorf("%w: length %d of %d bytes", errFormat, size, len(b))
		}
		switch kind := native.Uint16(b[4:]); kind {
		case NLMSG_NOOP:
		case NLMSG_OVERRUN:
			return events, errOverrun
		case NLMSG_ERROR:
			return events, fmt.Errorf("%w: an error message", errFormat)
		default:
			// The connector sends its messages as NLMSG_DONE; the type says
			// nothing of the content.
			e, ok, err := parseMessage(b[nlHeaderSize:size])
			if err != nil {
				return events, err
			}
			if ok {
				events = append(events, e)
			}
		}
		b = b[min(int64(len(b)), (size+3)&^3):] // NLMSG_ALIGN
	}
	return events, nil
}

// parseMessage reads a cn_msg with its event.
func parseMessage(b []byte) (e Event, ok bool, err error) {
	if len(b) < cnHeaderSize {
		return Event{}, false, fmt.Errorf("%w: %d bytes of a connector message", errFormat, len(b))
	}
	if native.Uint32(b) != CN_IDX_PROC || native.Uint32(b[4:]) != CN_VAL_PROC {
		return Event{}, false, nil
	}
	size := int(native.Uint16(b[16:]))
	data := b[cnHeaderSize:]
	if size < evHeaderSize || size > len(data) {
		return Event{}, false, fmt.Errorf("%w: %d of %d bytes of an event", errFormat, size, len(data))
	}
	data = data[:size]
	e = Event{
		Seq: native.Uint32(b[8:]), Ack: native.Uint32(b[12:]),
		What: What(native.Uint32(data)), CPU: native.Uint32(data[4:]), Monotonic: native.Uint64(data[8:]),
	}
	return parseData(e, data[evHeaderSize:])
}

// parseData reads event_data: words of 32 bits, in which each pair of ids has
// that of the thread first.
func parseData(e Event, data []byte) (Event, bool, error) {
	var need int
	switch e.What {
	case PROC_EVENT_NONE:
		need = 1
	case PROC_EVENT_EXEC, PROC_EVENT_UID, PROC_EVENT_GID, PROC_EVENT_SID, PROC_EVENT_PTRACE:
		need = 2
	case PROC_EVENT_FORK, PROC_EVENT_COREDUMP, PROC_EVENT_EXIT:
		need = 4
	case PROC_EVENT_COMM:
		need = 6
	default:
		return Event{}, false, nil
	}
	if len(data) < 4*need {
		return Event{}, false, fmt.Errorf("%w: %d bytes of data of event %#x, want %d", errFormat, len(data), uint32(e.What), 4*need)
	}
	word := func(i int) uint32 { return native.Uint32(data[4*i:]) }
	id := func(i int) int { return int(int32(word(i))) }
	switch e.What {
	case PROC_EVENT_NONE:
		e.Status = int(word(0))
		return e, true, nil
	case PROC_EVENT_FORK:
		e.ParentTID, e.ParentPID, e.TID, e.PID = id(0), id(1), id(2), id(3)
		return e, true, nil
	case PROC_EVENT_COREDUMP:
		e.ParentTID, e.ParentPID = id(2), id(3)
	case PROC_EVENT_EXIT:
		e.Status = int(word(2))
		// Parents are there since Linux 4.18.
		if len(data) >= 4*6 {
			e.ParentTID, e.ParentPID = id(4), id(5)
		}
	case PROC_EVENT_COMM:
		copy(e.Comm[:], data[8:])
	}
	e.TID, e.PID = id(0), id(1)
	return e, true, nil
}

// appendRequest makes the message that asks to listen, for the given kinds of
// events, or with 0 in the form of kernels before 6.6 that cannot choose.
func appendRequest(b []byte, port, ack uint32, events What) []byte {
	const listen = 1 // PROC_CN_MCAST_LISTEN
	data := 4
	if events != 0 {
		data = 8 // struct proc_input: mcast_op, event_type
	}
	b = native.AppendUint32(b, uint32(messageHeader+data))
	b = native.AppendUint16(b, NLMSG_DONE)
	b = native.AppendUint16(b, 0)
	b = native.AppendUint32(b, 0)
	b = native.AppendUint32(b, port)

	b = native.AppendUint32(b, CN_IDX_PROC)
	b = native.AppendUint32(b, CN_VAL_PROC)
	b = native.AppendUint32(b, 0)
	b = native.AppendUint32(b, ack)
	b = native.AppendUint16(b, uint16(data))
	b = native.AppendUint16(b, 0)

	b = native.AppendUint32(b, listen)
	if events != 0 {
		b = native.AppendUint32(b, uint32(events))
	}
	return b
}
