//go:build !linux

package execgate

import (
	"errors"
	"fmt"
)

// Gate exists on Linux only.
type Gate struct{}

// Open says that programs cannot be held here.
func Open(Options) (*Gate, error) {
	return nil, fmt.Errorf("hold new programs: it needs Linux: %w", errors.ErrUnsupported)
}

func (*Gate) allow(uint64) {}

// Close is never called.
func (*Gate) Close() {}

// IsKeeper tells that there are none here.
func IsKeeper(int) bool { return false }
