package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"time"

	"procdump/internal/sys/fsys"
	"procdump/kernel/capture"
	"procdump/kernel/live"
)

// kernelMain runs procdump kernel with the arguments after the verb.
func kernelMain(args []string, out, errOut *os.File) int {
	if run := findVerb(kernelVerbs(), args); run != nil {
		return run(args[1:], out, errOut)
	}
	o, err := parseKernel(args)
	if err != nil {
		fmt.Fprintf(errOut, "procdump: %v\nprocdump kernel -? explains all switches.\n", err)
		return ExitUsage
	}
	if o.Action == ActionHelp {
		return printText(out, kernelHelp())
	}
	ctx, stop := untilSignal()
	defer stop()
	lines := out
	if o.Path == "-" {
		lines = errOut // the dump has standard output for itself
	}
	console := NewConsole(ConsoleConfig{Out: lines, Err: errOut, JSON: o.JSON, Width: func() int { return fsys.TerminalWidth(errOut) }})
	defer console.Close()
	if o.JSON {
		console.Start(append([]string{"procdump", kernelVerb}, args...))
	} else {
		console.print(lines, "procdump "+Version+" - writes dumps of the running kernel\n\n")
	}
	code, dumps := ExitOK, 1
	if err := dumpKernel(ctx, o, console, out); err != nil {
		code, dumps = kernelExit(err), 0
		if !errors.Is(err, errReported) {
			console.Error(err)
		}
	}
	console.End(dumps == 1, dumps, code)
	return code
}

// errReported marks an error that the console has printed.
var errReported = errors.New("reported")

func kernelExit(err error) int {
	var usage *UsageError
	switch {
	case errors.Is(err, errCancelled):
		return ExitCancelled
	case errors.As(err, &usage):
		return ExitUsage
	case errors.Is(err, fs.ErrPermission):
		return ExitPermission
	case errors.Is(err, errNoProcess):
		return ExitNoTarget
	}
	return ExitFailed
}

// kernelHeap is the size of the Go heap, in bytes, from which on garbage is
// collected, beside the bitmaps and the page descriptors that are kept.
const kernelHeap = 40 << 20

// dumpKernel dumps the running kernel, to stdout if the path is "-".
func dumpKernel(ctx context.Context, o *kernelOptions, console *Console, stdout *os.File) error {
	job := capture.Options{Kind: o.Kind, Format: o.Format, Compression: o.Compression, Overwrite: o.Overwrite}
	if o.Path == "-" {
		if fsys.TerminalWidth(stdout) > 0 {
			return usagef("", "redirect it, or name a file", "a dump is nothing to show on a terminal")
		}
		job.Stream = stdout
	} else {
		name, err := capture.ParseName(o.Path, o.Format)
		if err != nil {
			return err
		}
		job.Name, job.Format = name, name.Format()
	}
	if o.Small {
		return dumpSmall(ctx, o, job, console)
	}
	src, err := live.Open(live.DefaultRoot)
	if err != nil {
		return err
	}
	defer src.Close()
	// A collection changes pages of the memory that is dumped.
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(kernelHeap + heapForPages(src, o.Kind))
	d := newKernelConsole(console, o, job.Format)
	d.Source(src.Dump(), src.Guests, src.Warnings)
	job.Progress = func(done, total uint64) { d.Progress(int64(done), int64(total)) }
	j := capture.NewJob(src, job)
	defer j.Discard()
	if err := j.Prepare(ctx); err != nil {
		return err
	}
	start := time.Now()
	d.Initiated(j)
	res, err := j.Run(ctx)
	if err != nil {
		d.Failed(err)
		return fmt.Errorf("%w: %w", errReported, err)
	}
	d.Complete(j, res, time.Since(start))
	return nil
}

// heapForPages is how much memory is kept for each page of the machine: a bit
// in each of four sets, and 8 bytes for the descriptor of one that is in a
// dump to which pages may be added.
func heapForPages(src *live.Source, kind capture.Kind) int64 {
	n := int64(src.Dump().MaxPFN()) / 2
	if kind != capture.Complete {
		n += int64(src.Dump().Pages()) * 8
	}
	return n
}
