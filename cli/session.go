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
	"procdump/monitor"
	"procdump/snapshot"
)

// dumper writes the dumps that the monitor finds due.
type dumper struct{ run *run }

// session is the writing of one trigger's dumps.
type session struct {
	run     *run
	due     *monitor.Due
	console *ProcessConsole
	stood   string // why the process stands while it is copied, if that is to be said
	// refusedCopy is why it is not copied while it runs, although that was asked for.
	refusedCopy string
	kernel      []byte // the kernel's side of the process, for -mk; nil if it cannot be had
}

// errTimeLimit is the cause of a dump that -at ended.
var errTimeLimit = errors.New("the time limit (-at) is over")

// outage bounds how long a process may stand still for a dump. Looking at it
// before that costs it nothing, and does not count.
type outage struct {
	limit  time.Duration // 0: none
	cancel context.CancelCauseFunc
	timer  *time.Timer
}

func newOutage(ctx context.Context, limit time.Duration) (context.Context, *outage) {
	ctx, cancel := context.WithCancelCause(ctx)
	return ctx, &outage{limit: limit, cancel: cancel}
}

// begin tells since when the process stands still, or is about to.
func (o *outage) begin(at time.Time) {
	if o.limit > 0 && o.timer == nil {
		o.timer = time.AfterFunc(time.Until(at.Add(o.limit)), func() { o.cancel(errTimeLimit) })
	}
}

func (o *outage) end() {
	if o.timer != nil {
		o.timer.Stop()
	}
	o.cancel(nil)
}

// Dump writes one dump of each kind asked for, from one stop. It reports each
// error itself.
func (d dumper) Dump(ctx context.Context, due *monitor.Due) error {
	s := &session{run: d.run, due: due, console: d.run.process(due.Process)}
	if due.Code != "" {
		if !due.Shown || d.run.o.JSON {
			s.console.Trigger(due.Reason)
		}
	} else if d.run.o.Limits.PerProcess > 1 {
		s.console.Trigger("Timed:")
	}
	return s.dump(ctx)
}

func (s *session) dump(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	job, consoles := s.job()
	defer job.Discard()
	prepared := false
	ctx, outage := newOutage(ctx, s.run.o.TimeLimit)
	defer outage.end()
	if s.due.Held {
		outage.begin(s.due.Time)
	}
	begin := time.Now()
	src, err := s.due.Stop(ctx, func(p *snapshot.Process, noClone string) (*capture.PreCopy, error) {
		s.announce(job, consoles, p)
		prepared = true
		if err := s.choose(job, p, noClone); err != nil {
			return nil, err
		}
		if err := job.Prepare(p); err != nil {
			return nil, err
		}
		pre := s.preCopy(job, p)
		s.readKernel(p.PID)
		if !s.due.Held { // else every moment counts
			warmHeap(warmBytes + len(p.Threads)*warmThread)
			begin = time.Now()
			if pre == nil {
				outage.begin(begin)
			}
		}
		return pre, nil
	})
	if err != nil {
		if !prepared || errors.Is(err, fs.ErrPermission) {
			return s.refused(err)
		}
		return s.failed(consoles, err)
	}
	defer src.Resume()
	outage.begin(time.Now())
	s.describe(src.Snapshot())
	if s.run.o.View64 && s.due.Process.Class == elf.ELFCLASS32 {
		p := src.Snapshot()
		p.Info.Warnings = append(p.Info.Warnings, "-64: this is how the 64-bit kernel sees a 32-bit process; debuggers cannot walk its stacks (without -64 they can)")
	}
	results := job.Run(ctx, src)
	return s.report(results, consoles, time.Since(begin))
}

// describe fills what procdump itself has to say in the dump's note.
func (s *session) describe(p *snapshot.Process) {
	p.Info.Version = snapshot.InfoVersion
	p.Info.Tool = "procdump " + Version
	p.Info.Reason = s.due.Reason
	p.Info.Samples = s.due.Samples
	p.Info.Comment = s.run.o.Comment
	p.Info.CommandLine = append([]string{"procdump"}, s.run.args...)
	if s.stood != "" {
		p.Info.Warnings = append(p.Info.Warnings, capture.Stood(s.stood))
	}
	if s.refusedCopy != "" {
		p.Info.Warnings = append(p.Info.Warnings, capture.NotPreCopied(s.refusedCopy))
	}
}

// job plans the outputs and makes a console for each.
func (s *session) job() (*capture.Job, []*DumpConsole) {
	o := s.run.o
	j := &capture.Job{}
	var consoles []*DumpConsole
	for _, kind := range o.Kinds {
		j.Outputs = append(j.Outputs, capture.Output{
			Mask:      s.run.mask,
			Vars:      capture.Vars{Process: s.due.Process.Name, PID: s.due.Process.PID, Exception: s.due.Code, Time: s.due.Time, Kind: kind},
			Select:    dumpkind.Options{Kind: kind, Mask: o.Mask, DropLargest: o.DropLargest, DontDump: o.DontDump},
			Overwrite: o.Overwrite,
		})
		consoles = append(consoles, s.console.Dump(s.due.Number))
	}
	if o.KernelStacks {
		j.Sidecars = []capture.Sidecar{kernelStacks, s.kernelDump}
	}
	j.Cloned, j.Pacer = s.due.Cloned, s.run.pacer
	last := consoles[len(consoles)-1]
	j.Progress = func(done, total uint64) { last.Progress(int64(done), int64(total)) }
	return j, consoles
}

func (s *session) announce(j *capture.Job, consoles []*DumpConsole, p *snapshot.Process) {
	for i := range j.Outputs {
		o := &j.Outputs[i]
		o.Vars.Place(p)
		if free, err := fsys.Free(o.Mask.Folder()); err == nil && i == 0 {
			consoles[i].Space(filepath.Clean(o.Mask.Folder()), free)
		}
		consoles[i].Initiated(o.Mask.Path(o.Vars), o.Select.Kind, o.Mask.Format(), o.Mask.Compress())
		consoles[i].Estimate(int64(dumpkind.Estimate(p, o.Select)))
	}
}

// refused turns the kernel's refusal into its reason.
func (s *session) refused(err error) error {
	if errors.Is(err, monitor.ErrGone) {
		return monitor.ErrEnded // the monitor tells
	}
	err = explain(err, s.due.Process.PID)
	s.console.Error(err)
	return err
}

// failed reports an error that concerns all of a trigger's dumps.
func (s *session) failed(consoles []*DumpConsole, err error) error {
	for _, c := range consoles {
		c.Failed(s.outcome(remedied(err)))
	}
	return err
}

// outcome adds to an error what became of the target and the file.
func (s *session) outcome(err error) error {
	if errors.Is(err, monitor.ErrGone) {
		return fmt.Errorf("%w before the dump was complete; no file of it is left", err)
	}
	if s.due.Held {
		return fmt.Errorf("%w; the process goes its way, no file of the dump is left", err)
	}
	return fmt.Errorf("%w; the process runs on, no file of the dump is left", err)
}

// report prints the results and returns the first error.
func (s *session) report(results []capture.Result, consoles []*DumpConsole, elapsed time.Duration) error {
	var first error
	for i := range results {
		r := &results[i]
		if r.Err != nil {
			consoles[i].Failed(s.outcome(remedied(r.Err)))
			if first == nil {
				first = r.Err
			}
			continue
		}
		consoles[i].Complete(Result{Path: r.Path, Size: r.Size, DiskBytes: r.Disk, Elapsed: elapsed, Pause: r.Pause,
			Method: r.Process.Info.Method, Rounds: r.Process.Info.Rounds, KernelPath: sidecar(r, 0), KernelDumpPath: sidecar(r, 1), Warnings: append(r.Warnings, shortcomings(r.Process)...)})
		if s.run.reports != nil {
			s.run.reports.add(consoles[i], r.Path, s.run.o.Overwrite)
		}
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
