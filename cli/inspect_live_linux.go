package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"

	"procdump/image"
	"procdump/inspect"
	"procdump/live/linux"
)

// inspectLive reports on a process that runs: it is stopped while its stacks
// are walked and goes on before the names of their functions are looked up.
func inspectLive(pid int) (*inspect.Report, error) {
	t, err := linux.Open(pid, linux.Options{KernelStacks: true})
	if err != nil {
		return nil, liveError(pid, err)
	}
	defer t.Close()
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	s, err := t.Stop(ctx)
	if err != nil {
		return nil, liveError(pid, err)
	}
	defer s.Resume()
	p := s.Process
	p.Info.Kind = inspect.KindLive
	set := image.NewSet(p, image.Options{Roots: []string{filepath.Join("/proc", strconv.Itoa(pid), "root"), ""}})
	defer set.Close()
	c := inspect.Collect(p, set, nil)
	s.LetGo()
	p.Info.PauseMicros = s.Pause().Microseconds()
	return c.Report(), nil
}

// liveError says what to do where a process cannot be looked at.
func liveError(pid int, err error) error {
	switch {
	case errors.Is(err, linux.ErrGone):
		return fmt.Errorf("%w (a file of that name is ./%d)", errNoProcess, pid)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: run as root, or as the user of the process where ptrace is permitted (yama ptrace_scope)", err)
	}
	return err
}
