//go:build !linux

package output

import (
	"errors"
	"fmt"
)

// Source exists on Linux only.
type Source struct{}

// Open says that there is no BPF here.
func Open() (*Source, error) {
	return nil, fmt.Errorf("watch output: needs Linux: %w", errors.ErrUnsupported)
}

// Method is never called.
func (*Source) Method() string { return "" }

// Add is never called.
func (*Source) Add(int) error { return nil }

// Remove is never called.
func (*Source) Remove(int) {}

// Lines is never called.
func (*Source) Lines() <-chan Line { return nil }

// Lost is never called.
func (*Source) Lost() uint64 { return 0 }

// Missed is never called.
func (*Source) Missed() uint64 { return 0 }

// Close is never called.
func (*Source) Close() {}
