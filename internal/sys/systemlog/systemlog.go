// Package systemlog writes lines to the system's log: to its log server, at
// /dev/log, or to the kernel's log where none listens. On other systems than
// Linux it writes nothing.
package systemlog

import "procdump/internal/sys/kmsg"

// Level says how much a line matters.
type Level = kmsg.Level

// The levels.
const (
	Warning = kmsg.Warning
	Notice  = kmsg.Notice
)
