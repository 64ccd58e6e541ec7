//go:build !linux

package proc

import (
	"errors"
	"fmt"
	"runtime"
	"time"
)

// Process is a process that is sampled.
type Process struct{}

// Open is not available on this system.
func (Root) Open(pid int, want Want) (*Process, error) {
	return nil, fmt.Errorf("open process %d: sampling is not available on %s yet: %w", pid, runtime.GOOS, errors.ErrUnsupported)
}

// Close does nothing.
func (*Process) Close() {}

// StartTicks returns 0.
func (*Process) StartTicks() uint64 { return 0 }

// PID returns 0.
func (*Process) PID() int { return 0 }

// Sample is not available on this system.
func (*Process) Sample(time.Time, *Sample) error { return errors.ErrUnsupported }
