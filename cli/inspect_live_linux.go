package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"procdump/image"
	"procdump/inspect"
	"procdump/inspect/diff"
	"procdump/interp"
	"procdump/live/linux"
	"procdump/target"
)

// longestStop is how long a process may stand still for a report. Its stacks
// take milliseconds, but files that they lead to may lie on a slow disk or a dead
// file server.
const longestStop = 3 * time.Second

// inspectLive reports on a process that runs. It is let go at once when a signal
// ends procdump, even where a read hangs.
func inspectLive(o *inspectOptions, pid int) (*diff.Subject, error) {
	ctx, stop := untilSignal()
	defer stop()
	type result struct {
		s   *diff.Subject
		err error
	}
	done := make(chan result, 1)
	go func() {
		s, err := reportLive(ctx, o, pid)
		done <- result{s, err}
	}()
	select {
	case got := <-done:
		return got.s, got.err
	case <-ctx.Done():
		return nil, context.Cause(ctx) // what is not let go yet the kernel lets go now
	}
}

// reportLive stops the process while its stacks are walked, and finds the names
// of their functions when it goes on.
func reportLive(ctx context.Context, o *inspectOptions, pid int) (*diff.Subject, error) {
	// Who traces it is found out, and perhaps waited for, by Stop.
	if err := target.Check(target.Process{PID: pid}); err != nil && !errors.Is(err, target.ErrNotFound) && !errors.Is(err, target.ErrTraced) {
		return nil, err
	}
	t, err := linux.Open(pid, linux.Options{KernelStacks: true})
	if err != nil {
		return nil, liveError(pid, err)
	}
	defer t.Close()
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	options := o.images(filepath.Join(proc, "root"))
	options.Mapped = filepath.Join(proc, "map_files")
	var w interp.Walker
	var before time.Duration // that the process stood still
	if interp.Slow(t.Snapshot()) {
		early, err := runtimesOf(ctx, pid, options)
		if err != nil {
			return nil, liveError(pid, err)
		}
		defer early.close()
		w, before = early.walker, early.pause
	}
	s, err := t.Stop(ctx)
	if err != nil {
		return nil, liveError(pid, err)
	}
	defer s.Resume()
	defer context.AfterFunc(ctx, s.LetGo)()
	late := time.AfterFunc(longestStop, s.LetGo)
	p := s.Process
	p.Info.Kind = inspect.KindLive
	set := image.NewSet(p, options)
	defer set.Close()
	c := inspect.CollectWith(p, set, nil, w)
	if !late.Stop() {
		p.Info.Warnings = append(p.Info.Warnings, fmt.Sprintf("the process went on after %v, before all stacks were walked: they may be wrong", longestStop))
	}
	s.LetGo()
	p.Info.PauseMicros = (before + s.Pause()).Microseconds()
	o.slowSources(ctx, set) // not before: the process stood still
	return &diff.Subject{Process: p, Report: c.Report()}, nil
}

// runtimes is what was found out of the runtimes of scripts in a process that
// runs meanwhile.
type runtimes struct {
	walker interp.Walker // nil: they are none that are known
	pause  time.Duration // that the process stood still
	closes []func()
}

func (r *runtimes) close() {
	for i := len(r.closes) - 1; i >= 0; i-- {
		r.closes[i]()
	}
}

// runtimesOf finds out what runs scripts in a process, which takes long: the
// process is stopped for its mappings only, and runs while its runtimes, whose
// places in memory do not change, are looked at.
func runtimesOf(ctx context.Context, pid int, options image.Options) (*runtimes, error) {
	t, err := linux.Open(pid, linux.Options{})
	if err != nil {
		return nil, err
	}
	r := &runtimes{closes: []func(){t.Close}}
	s, err := t.Stop(ctx)
	if err != nil {
		r.close()
		return nil, err
	}
	s.LetGo()
	r.pause = s.Pause()
	r.closes = append(r.closes, func() { s.Resume() })
	set := image.NewSet(s.Process, options)
	r.closes = append(r.closes, set.Close)
	// Where it fails, it is tried on the snapshot itself, whose report says why.
	w, err := interp.New(s.Process, set)
	if w != nil {
		r.closes = append(r.closes, w.Close)
	}
	if err == nil {
		r.walker = w
	}
	return r, nil
}

// liveError says what to do where a process cannot be looked at.
func liveError(pid int, err error) error {
	if errors.Is(err, linux.ErrGone) {
		return fmt.Errorf("%w (a file of that name is ./%d)", errNoProcess, pid)
	}
	return explain(err, pid)
}
