//go:build !linux || !(amd64 || arm64)

package kexec

import (
	"errors"
	"io"
	"os"
)

// Load does not exist here.
func Load(_, _ *os.File, _ string) error { return errors.ErrUnsupported }

// Unload does not exist here.
func Unload() error { return errors.ErrUnsupported }

// Memory does not exist here.
func Memory(string, func(io.Writer) error) (*os.File, error) { return nil, errors.ErrUnsupported }
