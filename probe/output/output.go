// Package output shows what processes write to their standard output, their
// standard error and the syslog socket, line by line, wherever these lead: a
// terminal, a file, a pipe, /dev/null. It is read by BPF when the process's
// system call has done its work, so that the data still go where they were
// meant to go and the process is not stopped (see internal/sys/bpf for what
// that needs and what escapes it).
//
// Standard output and standard error are what the process's descriptors 1 and
// 2 refer to at the moment of the write: what goes there by another descriptor
// counts as well. A message to an AF_UNIX socket is one to syslog if it begins
// with a priority in angle brackets, as in "<14>text", or if it is in the
// native format of systemd-journald.
//
// So as not to slow down a process that does nothing but write, no more is taken
// of each of the three than 50,000 lines a second, and after a pause 20,000 at
// once; a write of more than 128 bytes counts as several lines. What is beyond
// that is counted. When every watched process writes 200,000 times a second more
// than that, none is looked at for a second, or until one of them does less;
// then what they write meanwhile, to whatever file, is only counted.
package output

import "time"

// MaxLine is the longest Text in bytes before escaping.
const MaxLine = 4096

// Line is a line of output.
type Line struct {
	PID, TID int
	// FD is 1 or 2, or -1 for a message to syslog.
	FD     int
	Syslog bool
	// Time is when its last part was written.
	Time time.Time
	// Text is the line without its end and without the priority of syslog.
	// Control characters other than the tab, and bytes that are not UTF-8,
	// are written as \xNN.
	Text string
	// Cut says that the line was longer than Text. What follows comes as
	// another Line, as far as it was not left out.
	Cut bool
}

// partialWait is how long a line may stay without its end, as a prompt does,
// until it is shown.
const partialWait = 200 * time.Millisecond
