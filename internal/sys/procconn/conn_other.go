//go:build !linux

package procconn

import "time"

// Conn does not exist here.
type Conn struct{}

// Open does not work here.
func Open(Options) (*Conn, error) {
	return nil, &UnavailableError{Cause: "it is Linux's", Remedy: "use what this system has"}
}

// Filtered is for connectors that do not exist here.
func (*Conn) Filtered() bool { return false }

// Interrupt is for connectors that do not exist here.
func (*Conn) Interrupt() {}

// Close is for connectors that do not exist here.
func (*Conn) Close() error { return nil }

// Read is for connectors that do not exist here.
func (*Conn) Read(events []Event, _ time.Duration) ([]Event, bool, error) {
	return events, false, ErrClosed
}

// Urgent does not work here.
func Urgent() error {
	return &UnavailableError{Cause: "it is Linux's", Remedy: "use what this system has"}
}

// Boot is not known here.
func Boot() time.Time { return time.Time{} }
