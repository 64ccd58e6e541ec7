package cli

import (
	"context"
	"time"

	"procdump/capture"
	"procdump/live/linux"
	"procdump/snapshot"
)

var errGone = linux.ErrGone

// live is a running process of this system.
type live struct{ *linux.Target }

func openLive(pid int, o *Options) (live, error) {
	t, err := linux.Open(pid, linux.Options{KernelStacks: o.KernelStacks, View64: o.View64})
	return live{t}, err
}

// Stop stops it.
func (l live) Stop(ctx context.Context) (capture.Source, error) {
	s, err := l.Target.Stop(ctx)
	if err != nil {
		return nil, err
	}
	return stopped{s}, nil
}

type stopped struct{ *linux.Stopped }

func (s stopped) Snapshot() *snapshot.Process { return s.Process }
func (s stopped) Resume() time.Duration       { return s.Stopped.Resume() }
