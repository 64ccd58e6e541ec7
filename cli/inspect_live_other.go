//go:build !linux

package cli

import (
	"errors"
	"fmt"

	"procdump/inspect/diff"
)

// inspectLive reports on a process that runs.
func inspectLive(_ *inspectOptions, _ int) (*diff.Subject, error) {
	return nil, fmt.Errorf("running processes can be inspected on Linux only: %w", errors.ErrUnsupported)
}
