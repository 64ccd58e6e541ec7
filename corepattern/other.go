//go:build !linux

package corepattern

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
)

func unsupported(what string) error {
	return fmt.Errorf("%s: %w on %s: the kernel has no core_pattern", what, errors.ErrUnsupported, runtime.GOOS)
}

// Install is not possible here.
func (s System) Install(Settings, bool) (*Installation, error) {
	return nil, unsupported("install crash handler")
}

// Status is not possible here.
func (s System) Status() (*Installation, error) { return nil, unsupported("look for crash handler") }

// Uninstall is not possible here.
func (s System) Uninstall(bool) (*Removal, error) { return nil, unsupported("uninstall crash handler") }

// Handle is not possible here.
func (s System) Handle(context.Context, []string, *os.File) int { return 1 }

func fileFacts(string) (inode uint64, size int64, disk uint64, err error) {
	return 0, 0, 0, errors.ErrUnsupported
}
