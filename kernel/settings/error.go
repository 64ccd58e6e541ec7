package settings

import (
	"fmt"
	"strings"
)

// Error says which setting is wrong, where, and what to do about it.
type Error struct {
	File   string // "" if it does not come from a file
	Line   int    // 0 if unknown
	Key    string // as written; "" if it is about the file as a whole
	What   string
	Remedy string // "" if there is none
	Err    error  // the cause, may be nil
}

// Error returns all of it in one line.
func (e *Error) Error() string {
	var b strings.Builder
	if e.File != "" {
		b.WriteString(e.File)
		if e.Line > 0 {
			fmt.Fprintf(&b, ", line %d", e.Line)
		}
		b.WriteString(": ")
	}
	if e.Key != "" {
		b.WriteString(e.Key + ": ")
	}
	b.WriteString(e.What)
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	if e.Remedy != "" {
		b.WriteString("; " + e.Remedy)
	}
	return b.String()
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// wrong makes an Error about the value of a key.
func wrong(key, remedy, what string, args ...any) *Error {
	return &Error{Key: key, What: fmt.Sprintf(what, args...), Remedy: remedy}
}
