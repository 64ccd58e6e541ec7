//go:build !linux

package procevent

import (
	"errors"
	"fmt"
	"runtime"
)

// Source does not exist here.
type Source struct{}

// Open does not work on this system.
func Open(Options) (*Source, error) {
	return nil, fmt.Errorf("notice processes: not available on %s yet: %w", runtime.GOOS, errors.ErrUnsupported)
}

// Urgent does not work on this system.
func Urgent() error { return fmt.Errorf("set real-time priority: %w", errors.ErrUnsupported) }

// Events is for sources that do not exist here.
func (*Source) Events() <-chan Event { return nil }

// Method is for sources that do not exist here.
func (*Source) Method() string { return "" }

// Close is for sources that do not exist here.
func (*Source) Close() error { return nil }
