//go:build !linux

package target

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
)

type details struct{}

// ID is the identity of the process, its PID here.
func (p *Process) ID() ID { return ID{PID: p.PID} }

func unsupported(verb string) error {
	return fmt.Errorf("%s: not available on %s yet: %w", verb, runtime.GOOS, errors.ErrUnsupported)
}

// Find is not available on this system.
func Find(Selector) ([]Process, error) { return nil, unsupported("find processes") }

// Get is not available on this system.
func Get(int) (Process, error) { return Process{}, unsupported("read process") }

// Check is not available on this system.
func Check(Process) error { return unsupported("check process") }

// ExplainDenied is not available on this system.
func ExplainDenied(int) error { return unsupported("explain denied access") }

// Child is a launched program.
type Child struct {
	PID     int
	Program string
}

// Launch is not available on this system.
func Launch(string, []string) (*Child, error) { return nil, unsupported("launch program") }

// Ready is not available on this system.
func (*Child) Ready(context.Context) error { return unsupported("wait for program") }

// Done is closed when the program has ended: at once, there is none.
func (*Child) Done() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// Err is not available on this system.
func (*Child) Err() error { return unsupported("wait for program") }

// Announce is not available on this system.
func Announce(int, func()) (io.Closer, error) { return nil, unsupported("announce watched process") }

// Cancel is not available on this system.
func Cancel(int) (int, error) { return 0, unsupported("cancel") }

func columns(io.Writer) int { return 120 }
