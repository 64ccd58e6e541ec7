package live

import "fmt"

// Error says why the running kernel cannot be read and what to do about it.
type Error struct {
	What   string // "read kernel memory"
	Cause  string
	Remedy string
	Err    error // fs.ErrPermission, errors.ErrUnsupported, or the file's; may be nil
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %s; %s", e.What, e.Cause, e.Remedy) }

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }
