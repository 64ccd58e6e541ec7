package monitor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"procdump/capture"
	"procdump/live/linux"
	"procdump/snapshot"
	"procdump/target"
)

// ErrGone means that the process has ended.
var ErrGone = linux.ErrGone

func (o LiveOptions) linux() linux.Options {
	return linux.Options{KernelStacks: o.KernelStacks, View64: o.View64, Clone: o.Clone}
}

// source is a stopped process as package capture wants it.
type source struct{ *linux.Stopped }

func (s source) Snapshot() *snapshot.Process { return s.Process }
func (s source) Resume() time.Duration       { return s.Stopped.Resume() }

// Clone implements capture.Cloner.
func (s source) Clone(o capture.CloneOptions) error {
	return s.Stopped.Clone(linux.CloneOptions(o))
}

// stopper stops a process at any time, by its tracer if it has one.
func (m *monitor) stopper(w *watched) stopper {
	tree := w.tree
	return func(ctx context.Context, prepare Prepare) (capture.Source, error) {
		t, err := linux.Open(w.p.PID, m.Live.linux())
		if err != nil {
			return nil, err
		}
		stop := t.Stop
		if tree != nil {
			stop = func(ctx context.Context) (*linux.Stopped, error) { return tree.tracer.Stop(ctx, t) }
		}
		pre, err := prepare(t.Snapshot(), t.NoClone())
		if err == nil && pre != nil {
			err = preCopy(ctx, t, pre, stop, tree != nil)
		}
		if err != nil {
			t.Close()
			return nil, err
		}
		s, err := stop(ctx)
		if err != nil {
			t.Close()
			return nil, err
		}
		return opened{source{s}, t}, nil
	}
}

// preCopy copies a process's memory while it runs, if that can be.
func preCopy(ctx context.Context, t *linux.Target, pre *capture.PreCopy, stop func(context.Context) (*linux.Stopped, error), traced bool) error {
	if !traced {
		stop = nil // it need not be looked at for that
	}
	err := t.PreCopy(ctx, linux.CloneOptions(pre.CloneOptions), stop)
	if err != nil && ctx.Err() == nil && !errors.Is(err, linux.ErrGone) {
		pre.Refused(err.Error())
		return nil
	}
	return err
}

// opened is a source that closes the target it was stopped from.
type opened struct {
	source
	target *linux.Target
}

func (o opened) Resume() time.Duration {
	pause := o.source.Resume()
	o.target.Close()
	return pause
}

// dumpedByOther tells of a process that was found traced whether another procdump
// just dumps it, or has let it go since.
func dumpedByOther(pid int) bool { return linux.DumpedByOther(pid) }

// permitted tells whether a process may be dumped. To open its memory takes the
// right to attach to it (proc_pid_mem(5), PTRACE_MODE_ATTACH_FSCREDS).
func permitted(pid int) error {
	f, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err == nil {
		return f.Close()
	}
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("watch process %d: %w", pid, err)
	}
	return nil // the dump will tell
}

// kill ends a process by SIGKILL, if it is still the same one.
func kill(p target.Process) error {
	// It holds a descriptor of the process (pidfd_open(2)): what is looked at
	// after that is what the signal goes to.
	process, err := os.FindProcess(p.PID)
	if err != nil {
		return err
	}
	defer process.Release()
	now, err := target.Get(p.PID)
	switch {
	case errors.Is(err, target.ErrNotFound):
		return nil // it has ended
	case err != nil:
		return err
	case now.Zombie || now.ID() != p.ID():
		return nil
	}
	if err := process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}
