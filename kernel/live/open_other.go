//go:build !linux

package live

import (
	"errors"
	"fmt"
	"runtime"
)

// Open is for Linux.
func Open(Root) (*Source, error) {
	return nil, fmt.Errorf("read the memory of the running kernel: %w on %s", errors.ErrUnsupported, runtime.GOOS)
}

// OpenMemory is for Linux.
func OpenMemory(root Root) (*Source, error) { return Open(root) }
