package bpf

import (
	"errors"
	"fmt"
)

var (
	// ErrClosed is what reading yields after Close.
	ErrClosed = errors.New("bpf: closed")
	// ErrTimeout is what reading yields when nothing has come in time.
	ErrTimeout = errors.New("bpf: nothing in time")
)

// unsupported says what this kernel lacks for a feature.
func unsupported(feature, needs string, err error) error {
	if err == nil {
		return fmt.Errorf("%s needs %s: %w", feature, needs, errors.ErrUnsupported)
	}
	return fmt.Errorf("%s needs %s: %w (%w)", feature, needs, errors.ErrUnsupported, err)
}
