package cli

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"procdump/capture"
	"procdump/dumpkind"
	"procdump/internal/sys/fsys"
	"procdump/snapshot"
	"procdump/target"
)

// session is the dumping of one process.
type session struct {
	run     *run
	p       target.Process
	console *ProcessConsole
	dumps   int
}

// errTimeLimit is the cause of a dump that -at ended.
var errTimeLimit = errors.New("the time limit (-at) is over")

// dumpAll writes the process's dumps, reporting each error itself. The one
// returned decides the exit code.
func (s *session) dumpAll(ctx context.Context) error {
	if err := target.Check(s.p); err != nil {
		s.console.Error(err)
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch, err := target.Announce(s.p.PID, func() { cancel(errCancelled) })
	if err != nil {
		s.console.Warning(fmt.Sprintf("-cancel will not find this procdump: %v", err))
	} else {
		defer watch.Close()
	}
	for n := 1; n <= s.run.o.Count; n++ {
		if n > 1 {
			if err := s.wait(ctx); err != nil {
				return err
			}
		}
		if s.run.o.Count > 1 {
			s.console.Trigger("Timed:")
		}
		if err := s.dump(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// wait lets the interval to the next dump pass, unless the process ends.
func (s *session) wait(ctx context.Context) error {
	due := time.After(s.run.o.Interval)
	look := time.NewTicker(200 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case <-due:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-look.C:
			if now, err := target.Get(s.p.PID); err != nil || now.Zombie || !now.Start.Equal(s.p.Start) {
				s.console.Exited("")
				return errEnded
			}
		}
	}
}

// reason is why a dump was taken.
func (s *session) reason(n int) string {
	if s.run.o.Count > 1 {
		return fmt.Sprintf("Timed: dump %d of %d, every %v", n, s.run.o.Count, s.run.o.Interval)
	}
	return "Manual dump"
}

// dump writes one dump of each kind asked for, from one stop.
func (s *session) dump(ctx context.Context, n int) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	t, err := openLive(s.p.PID, s.run.o)
	if err != nil {
		return s.refused(err)
	}
	defer t.Close()
	before := t.Snapshot()
	job, consoles := s.job(n, time.Now())
	defer job.Discard()
	s.announce(job, consoles, before)
	if err := job.Prepare(before); err != nil {
		return s.failed(consoles, err)
	}
	if limit := s.run.o.TimeLimit; limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, limit, errTimeLimit)
		defer cancel()
	}
	warmHeap(warmBytes + len(before.Threads)*warmThread)
	begin := time.Now()
	src, err := t.Stop(ctx)
	if err != nil {
		if errors.Is(err, fs.ErrPermission) {
			return s.refused(err)
		}
		return s.failed(consoles, err)
	}
	defer src.Resume()
	s.describe(src.Snapshot(), n)
	if s.run.o.View64 && s.p.Class == elf.ELFCLASS32 {
		p := src.Snapshot()
		p.Info.Warnings = append(p.Info.Warnings, "-64: this is how the 64-bit kernel sees a 32-bit process; debuggers cannot walk its stacks (without -64 they can)")
	}
	results := job.Run(ctx, src)
	return s.report(results, consoles, time.Since(begin))
}

// describe fills what procdump itself has to say in the dump's note.
func (s *session) describe(p *snapshot.Process, n int) {
	p.Info.Version = snapshot.InfoVersion
	p.Info.Tool = "procdump " + Version
	p.Info.Reason = s.reason(n)
	p.Info.Comment = s.run.o.Comment
	p.Info.CommandLine = append([]string{"procdump"}, s.run.args...)
}

// job plans the outputs and makes a console for each.
func (s *session) job(n int, now time.Time) (*capture.Job, []*DumpConsole) {
	o := s.run.o
	j := &capture.Job{}
	var consoles []*DumpConsole
	for _, kind := range o.Kinds {
		j.Outputs = append(j.Outputs, capture.Output{
			Mask:      s.run.mask,
			Vars:      capture.Vars{Process: s.p.Name, PID: s.p.PID, Time: now, Kind: kind},
			Select:    dumpkind.Options{Kind: kind, Mask: o.Mask, DropLargest: o.DropLargest, DontDump: o.DontDump},
			Overwrite: o.Overwrite,
		})
		consoles = append(consoles, s.console.Dump(n))
	}
	if o.KernelStacks {
		j.Sidecar = kernelStacks
	}
	last := consoles[len(consoles)-1]
	j.Progress = func(done, total uint64) { last.Progress(int64(done), int64(total)) }
	return j, consoles
}

func (s *session) announce(j *capture.Job, consoles []*DumpConsole, p *snapshot.Process) {
	for i, o := range j.Outputs {
		if free, err := fsys.Free(o.Mask.Folder()); err == nil && i == 0 {
			consoles[i].Space(filepath.Clean(o.Mask.Folder()), free)
		}
		consoles[i].Initiated(o.Mask.Path(o.Vars), o.Select.Kind, o.Mask.Format(), o.Mask.Compress())
		consoles[i].Estimate(int64(dumpkind.Estimate(p, o.Select)))
	}
}

// refused turns the kernel's refusal into its reason.
func (s *session) refused(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		if why := target.ExplainDenied(s.p.PID); why != nil {
			err = why
		}
	} else if errors.Is(err, errGone) {
		s.console.Exited("")
		return errEnded
	}
	s.console.Error(err)
	return err
}

// failed reports an error that concerns all of a trigger's dumps.
func (s *session) failed(consoles []*DumpConsole, err error) error {
	for _, c := range consoles {
		c.Failed(outcome(err))
	}
	return err
}

// outcome adds to an error what became of the target and the file.
func outcome(err error) error {
	if errors.Is(err, errGone) {
		return fmt.Errorf("%w before the dump was complete; no file of it is left", err)
	}
	return fmt.Errorf("%w; the process runs on, no file of the dump is left", err)
}

// report prints the results and returns the first error.
func (s *session) report(results []capture.Result, consoles []*DumpConsole, elapsed time.Duration) error {
	var first error
	for i := range results {
		r := &results[i]
		if r.Err != nil {
			consoles[i].Failed(outcome(r.Err))
			if first == nil {
				first = r.Err
			}
			continue
		}
		consoles[i].Complete(Result{Path: r.Path, Size: r.Size, DiskBytes: r.Disk, Elapsed: elapsed, Pause: r.Pause,
			Method: r.Process.Info.Method, KernelPath: r.Sidecar, Warnings: append(r.Warnings, shortcomings(r.Process)...)})
	}
	if first == nil {
		s.dumps++
	}
	return first
}

// shortcomings are what the user should know that the dump lacks.
func shortcomings(p *snapshot.Process) []string {
	out := append([]string(nil), p.Info.Warnings...)
	if n := len(p.Info.MissedThreads); n > 0 {
		m := p.Info.MissedThreads[0]
		out = append(out, fmt.Sprintf("%d threads are not in the dump: thread %d (state %s) %s", n, m.TID, m.State, m.Why))
	}
	if n := len(p.Info.Unreadable); n > 0 {
		var bytes uint64
		for _, r := range p.Info.Unreadable {
			bytes += r.Size
		}
		out = append(out, fmt.Sprintf("%s in %d places could not be read and are zero in the dump, from %#x on", capture.Bytes(bytes), n, p.Info.Unreadable[0].Addr))
	}
	return out
}
