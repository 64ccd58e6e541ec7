//go:build !linux

package cli

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"procdump/capture"
	"procdump/snapshot"
)

var errGone = errors.New("the process has ended")

// live is a running process of this system.
type live struct{}

func openLive(int, *Options) (live, error) {
	return live{}, fmt.Errorf("dump a process: %w on %s yet", errors.ErrUnsupported, runtime.GOOS)
}

func (live) Close()                                       {}
func (live) Snapshot() *snapshot.Process                  { return nil }
func (live) Stop(context.Context) (capture.Source, error) { return nil, errors.ErrUnsupported }
