//go:build !linux

package fsys

import (
	"errors"
	"os"
)

// OpenDirect does not exist here.
func OpenDirect(*os.File) (*os.File, error) { return nil, errors.ErrUnsupported }

// IsDirectRefused is for writes that do not exist here.
func IsDirectRefused(error) bool { return false }

// AlignedBuffer makes a buffer.
func AlignedBuffer(size int) []byte { return make([]byte, size) }

// IsAligned is for writes that do not exist here.
func IsAligned([]byte, int64) bool { return false }

// Memory is not known here.
func Memory() int64 { return 0 }
