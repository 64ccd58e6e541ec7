package corepattern

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"time"

	"procdump/capture"
	"procdump/dumpkind"
	"procdump/internal/signals"
	"procdump/internal/sys/fsys"
	"procdump/live/linux"
	"procdump/snapshot"
)

// smallSpool bounds what is kept of a stream for a mini or triage dump, bytes.
const smallSpool = 1 << 30

// open reads the core's head and opens the process.
func (h *handler) open(ctx context.Context) (*source, error) {
	begin := time.Now()
	unblock := context.AfterFunc(ctx, func() { h.stdin.Close() })
	defer unblock()
	var err error
	if h.head, err = readHead(h.stdin); err != nil {
		return nil, err
	}
	if h.core, err = parseHead(h.head); err != nil {
		return nil, err
	}
	e := exceptionOf(h.core, h.crash)
	h.what = signals.ExceptionText(e.Signal, int32(e.Code), e.Addr)
	p, closeHeld, err := openHeld(h.crash, h.core)
	if err != nil {
		return h.openStream(begin, err)
	}
	p.Info.Method = "core_pattern"
	h.describe(p)
	h.name = p.Name
	return &source{process: p, begin: begin, close: closeHeld, letGo: func() { h.stdin.Close() }}, nil
}

// openStream takes the memory from the stream; why is why it has to.
func (h *handler) openStream(begin time.Time, why error) (src *source, err error) {
	f, err := fsys.CreateTemp(h.set.Folder)
	if err != nil {
		return nil, fmt.Errorf("store core: %w", err)
	}
	defer func() {
		if err != nil {
			f.Discard()
		}
	}()
	progs, err := headProgs(h.head)
	if err != nil {
		return nil, err
	}
	size, left, err := spool(f.File, h.head, progs, planSpool(progs, h.core, h.spoolBudget()), h.stdin)
	if err != nil {
		return nil, err
	}
	p, err := openSpool(io.NewSectionReader(f, 0, size), size)
	if err != nil {
		return nil, err
	}
	if len(p.Threads) == 0 {
		return nil, errNoCore
	}
	p.Exception = exceptionOf(h.core, h.crash)
	p.Threads[0].TID = h.crash.TID
	p.PID, p.UID, p.GID = h.crash.PID, h.crash.UID, h.crash.GID
	h.place(p)
	p.Linker = linux.Linker(p)
	linux.UsedStacks(p)
	p.Info.Method = "core_pattern stream"
	p.Info.Warnings = append(p.Info.Warnings, fmt.Sprintf("the process could not be read (%v): the memory is that of the kernel's core, which has what coredump_filter lets through", why))
	if left > 0 {
		p.Info.Warnings = append(p.Info.Warnings, fmt.Sprintf("%s of the kernel's core were not kept for want of space", capture.Bytes(left)))
	}
	h.describe(p)
	h.name = p.Name
	return &source{process: p, begin: begin, close: f.Discard, letGo: func() { h.stdin.Close() }, stream: true}, nil
}

// containerID is what container runtimes put into a control group's path.
var containerID = regexp.MustCompile(`[0-9a-f]{64}`)

// place says where a process runs that cannot be read: anybody may read its
// control group (proc_pid_cgroup(5)).
func (h *handler) place(p *snapshot.Process) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", h.crash.PID))
	if err != nil {
		return
	}
	if p.Texts == nil {
		p.Texts = map[string][]byte{}
	}
	p.Texts["cgroup"] = text
	p.Info.Container = string(containerID.Find(text))
}

// spoolBudget is how many bytes of a stream are kept: half of what the disk has
// to give, for the other half is the dump's.
func (h *handler) spoolBudget() uint64 {
	free, err := fsys.Free(h.set.Folder)
	if err != nil {
		return smallSpool // not known here
	}
	budget := (uint64(free) - min(uint64(free), h.set.Keep.Free)) / 2
	if last := h.set.Kinds[len(h.set.Kinds)-1]; last == dumpkind.Mini || last == dumpkind.Triage {
		budget = min(budget, smallSpool)
	}
	return budget
}

// describe fills what procdump itself has to say in the dump's note.
func (h *handler) describe(p *snapshot.Process) {
	p.Info.Version = snapshot.InfoVersion
	p.Info.Tool = or(h.system.Tool, "procdump")
	p.Info.Reason = reason(p)
	p.Info.Comment = h.set.Comment
	p.Info.CommandLine = append([]string{"procdump", Switch}, h.args...)
	p.Info.Time = h.began
	p.Info.PauseMicros = -1
	if p.System.Host == "" {
		p.System.Host = h.crash.Host
	}
}

// dump writes the dumps. Those that fail because the kernel lets the process go
// (somebody has killed it, or has set core_pipe_limit to 0) are tried again
// with what is still in the pipe.
func (h *handler) dump(ctx context.Context, src *source) error {
	job := h.job(src.process, h.set.Kinds)
	if err := h.reserve(ctx, job.Estimate(src.process)); err != nil {
		return err
	}
	var paths []string
	defer func() { h.settle(paths) }()
	again, err := h.write(ctx, job, src, &paths)
	if len(again) == 0 || src.stream {
		return err
	}
	stream, serr := h.openStream(src.begin, linux.ErrGone)
	if serr != nil {
		return errors.Join(err, serr)
	}
	defer stream.Resume()
	_, err = h.write(ctx, h.job(stream.process, again), stream, &paths)
	return err
}

// job plans a dump of each kind.
func (h *handler) job(p *snapshot.Process, kinds []dumpkind.Kind) *capture.Job {
	job := &capture.Job{}
	vars := capture.Vars{Process: p.Name, PID: h.crash.PID, Exception: signals.ExceptionCode(p.Exception.Signal, int32(p.Exception.Code)),
		Time: h.crash.Time}
	vars.Place(p)
	for _, kind := range kinds {
		vars.Kind = kind
		job.Outputs = append(job.Outputs, capture.Output{
			Mask:   h.mask,
			Vars:   vars,
			Select: dumpkind.Options{Kind: kind, Mask: h.set.Mask, DropLargest: h.set.DropLargest, DontDump: h.set.DontDump},
		})
	}
	return job
}

// write writes a job's dumps and adds their paths. It returns the kinds that
// failed because the process is gone.
func (h *handler) write(ctx context.Context, job *capture.Job, src *source, paths *[]string) (again []dumpkind.Kind, err error) {
	defer job.Discard()
	if err := job.Prepare(src.process); err != nil {
		return nil, err
	}
	for _, r := range job.Run(ctx, src) {
		if r.Err == nil {
			*paths = append(*paths, r.Path)
			h.finish(r)
			continue
		}
		err = errors.Join(err, fmt.Errorf("%s dump: %w", r.Output.Select.Kind, r.Err))
		if errors.Is(r.Err, linux.ErrGone) {
			again = append(again, r.Output.Select.Kind)
		}
	}
	return again, err
}
