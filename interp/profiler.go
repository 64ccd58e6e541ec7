//go:build linux && amd64 && !nointerp

package interp

import (
	"time"

	"procdump/image"
	"procdump/internal/guard"
	"procdump/snapshot"
	"procdump/unwind"
)

// ask has the profiler's parts, which are made for sound processes, do something:
// a panic is an error. If they do not come back in time, nothing is asked of them
// any more, and nothing of the snapshot is theirs to read.
func (w *walker) ask(limit time.Duration, do func() error) error {
	if w.gone != nil {
		return w.gone
	}
	begin := time.Now()
	done := make(chan error, 1)
	go func() { done <- guard.Do(damaged, do) }()
	late := time.NewTimer(min(limit, w.patience))
	defer late.Stop()
	select {
	case err := <-done:
		w.patience -= time.Since(begin)
		return err
	case <-late.C:
		w.gone = errLate
		w.target.close()
		return w.gone
	}
}

// Attach has the walker walk another snapshot of the same process.
func (w *walker) Attach(p *snapshot.Process, set *image.Set) error {
	return w.ask(maxThreadTime, func() error {
		w.target.attach(p, set)
		w.manager.SynchronizeProcess(w.target)
		return w.target.end()
	})
}

// Close ends what the profiler does in the background.
func (w *walker) Close() { w.cancel() }

// Stack puts what the profiler finds into a thread's stack.
func (w *walker) Stack(t *snapshot.Thread, native *unwind.Stack) (unwind.Stack, error) {
	var out unwind.Stack
	err := w.ask(maxThreadTime, func() error {
		w.target.begin()
		found, err := w.find(t)
		if short := w.target.end(); short != nil {
			err = short
		}
		out = *native
		if found.scripts() {
			out = w.target.mix(native, &found)
		}
		return err
	})
	if w.gone != nil || out.Frames == nil {
		return *native, err
	}
	return out, err
}
