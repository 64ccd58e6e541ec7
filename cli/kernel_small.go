package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"procdump/kernel/capture"
	"procdump/kernel/layout"
	"procdump/kernel/live"
	"procdump/kernel/small"
)

// kindSmall is the kind of dump that package small writes.
const kindSmall = "small"

// errNoProcess says that the process whose kernel side is wanted is not there.
var errNoProcess = errors.New("no such process")

// kernelSide reads the kernel's side of processes while the machine runs. It is
// safe for concurrent use.
type kernelSide struct {
	source *live.Source
	mu     sync.Mutex
	kernel *layout.Kernel
}

// openKernelSide opens the running kernel.
func openKernelSide() (*kernelSide, error) {
	src, err := live.OpenMemory(live.DefaultRoot)
	if err != nil {
		return nil, err
	}
	k, err := src.Kernel()
	if err != nil {
		src.Close()
		return nil, err
	}
	return &kernelSide{source: src, kernel: k}, nil
}

func (k *kernelSide) Close() { k.source.Close() }

// dump makes the small dump of a process, or with 0 of what the processors run.
func (k *kernelSide) dump(pid int) ([]byte, *small.Report, error) {
	if pid != 0 && !live.InitialPIDs(live.DefaultRoot) {
		return nil, nil, &live.Error{
			What: fmt.Sprintf("find process %d in the kernel", pid), Cause: "procdump runs in a PID namespace, where processes have other numbers",
			Remedy: "run procdump on the host, outside of a container", Err: errors.ErrUnsupported,
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	var b bytes.Buffer
	r, err := small.Write(&b, k.kernel, small.Options{PID: pid, Time: time.Now()})
	if err != nil {
		if _, gone := os.Stat(fmt.Sprintf("/proc/%d", pid)); pid != 0 && gone != nil {
			err = fmt.Errorf("dump the kernel side of process %d: %w", pid, errNoProcess)
		}
		return nil, nil, err
	}
	return b.Bytes(), r, nil
}

// dumpSmall writes a small dump of the running kernel.
func dumpSmall(ctx context.Context, o *kernelOptions, job capture.Options, console *Console) error {
	start := time.Now()
	if o.PID != 0 {
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", o.PID)); err != nil {
			return fmt.Errorf("dump the kernel side of process %d: %w", o.PID, errNoProcess)
		}
	}
	k, err := openKernelSide()
	if err != nil {
		return err
	}
	defer k.Close()
	c := newKernelConsole(console, o, capture.ELF)
	c.Source(k.source.Dump(), k.source.Guests, k.source.Warnings)
	return c.runSmall(ctx, job, start, func() ([]byte, *small.Report, error) { return k.dump(o.PID) })
}

// runSmall writes the small dump that dump makes, of the time at, and prints its
// course.
func (k *kernelConsole) runSmall(ctx context.Context, job capture.Options, at time.Time, dump func() ([]byte, *small.Report, error)) error {
	start := time.Now()
	path := ""
	if job.Stream == nil {
		path = job.Name.Path(at)
	}
	k.InitiatedSmall(path)
	b, report, err := dump()
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	var res *capture.Result
	if err == nil {
		res, err = capture.WriteBytes(b, at, job)
	}
	if err != nil {
		return k.failed(err)
	}
	k.CompleteSmall(res, report, time.Since(start))
	return nil
}

// InitiatedSmall prints that a small dump is about to be written; path is "" for
// a stream.
func (k *kernelConsole) InitiatedSmall(path string) {
	if k.path = path; k.stream {
		k.path = "-"
	}
	if c := k.console; c.config.JSON {
		c.event(&initiatedEvent{c.head("initiated"), k.ids(), k.number, k.path, k.kind, k.format, false})
	} else {
		k.dumpLine("initiated: %s", oneLine(k.path))
	}
}

// smallCompleteEvent is the end of a small dump, with what it holds.
type smallCompleteEvent struct {
	eventHead
	eventProcess
	Dump          int              `json:"dump"`
	Path          string           `json:"path"`
	Kind          string           `json:"kind"`
	Format        string           `json:"format"`
	SizeBytes     int64            `json:"sizeBytes"`
	ElapsedMicros int64            `json:"elapsedMicros"`
	Tasks         []small.NoteTask `json:"tasks"`
	Messages      int              `json:"messages"`
	Logged        int              `json:"logged"`
	Missing       []string         `json:"missing"`
	Open          []string         `json:"open"`
}

// CompleteSmall prints the end of a small dump: what it holds, what it could
// not get, and how to open it.
func (k *kernelConsole) CompleteSmall(r *capture.Result, report *small.Report, elapsed time.Duration) {
	c := k.console
	open := k.openSmall(r.Path)
	if c.config.JSON {
		path := r.Path
		if k.stream {
			path = "-"
		}
		c.event(&smallCompleteEvent{c.head("smallComplete"), k.ids(), k.number, path, k.kind, k.format, r.Size, elapsed.Microseconds(),
			report.Note.Tasks, report.Messages, report.Logged, nonNil(report.Note.Missing), nonNil(open)})
	} else {
		c.print(c.config.Out, k.head()+fmt.Sprintf("complete: %d bytes written in %.1f seconds\n", r.Size, elapsed.Seconds())+
			k.summarySmall(r, report, open))
	}
	for _, m := range report.Note.Missing {
		c.Warning("not in the dump: " + m)
	}
	for _, w := range r.Warnings {
		c.Warning(w)
	}
}

// summarySmall is the closing lines of a small dump.
func (k *kernelConsole) summarySmall(r *capture.Result, report *small.Report, open []string) string {
	var b closing
	if r.Path != "" {
		b.row("file", oneLine(r.Path))
	}
	b.row("size", sizeText(r.Size))
	stacks := 0
	for _, t := range report.Note.Tasks {
		if t.Stack > 0 {
			stacks++
		}
	}
	b.row("holds", fmt.Sprintf("%d tasks, %d kernel stacks, %d modules as text, the last %d of %d messages",
		len(report.Note.Tasks), stacks, strings.Count(report.Note.Modules, "\n"), report.Messages, report.Logged))
	b.row("open", open...)
	return b.String()
}

// openSmall are the shell commands that open a small dump.
func (k *kernelConsole) openSmall(path string) []string {
	if path == "" {
		return nil
	}
	image, file := shellQuote("/usr/lib/debug/boot/vmlinux-"+k.release), shellQuote(path)
	return []string{
		"drgn -c " + file + " -s " + image,
		fmt.Sprintf("gdb -ex %s -ex %s", shellQuote("core-file "+path), shellQuote(fmt.Sprintf("symbol-file %s -o %#x", "/usr/lib/debug/boot/vmlinux-"+k.release, k.shift))),
		"crash --minimal " + image + " " + file,
	}
}
