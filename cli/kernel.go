package cli

import (
	"context"
	"errors"
	"os"
	"runtime/debug"

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
		return verbUsage(kernelVerb, err, errOut)
	}
	if o.Help {
		return printText(out, kernelHelp())
	}
	run := verbRun{verb: kernelVerb, args: args, json: o.JSON, title: "writes dumps of the running kernel", dumps: 1, out: o.lines(out, errOut), errOut: errOut, exit: exitCode}
	return run.run(func(ctx context.Context, c *Console) error { return dumpKernel(ctx, o, c, out) })
}

// lines is where lines go: the dump may have standard output for itself.
func (o *kernelOptions) lines(out, errOut *os.File) *os.File {
	if o.Path == "-" {
		return errOut
	}
	return out
}

// errReported marks an error that the console has printed.
var errReported = errors.New("reported")

// kernelHeap is the size of the Go heap, in bytes, from which on garbage is
// collected, beside the bitmaps and the page descriptors that are kept.
const kernelHeap = 40 << 20

// dumpKernel dumps the running kernel, to stdout if the path is "-".
func dumpKernel(ctx context.Context, o *kernelOptions, console *Console, stdout *os.File) error {
	job, err := o.job(stdout)
	if err != nil {
		return err
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
	c := newKernelConsole(console, o, job.Format)
	c.Source(src.Dump(), src.Guests, src.Warnings)
	job.Progress = func(done, total uint64) { c.Progress(int64(done), int64(total)) }
	j := capture.NewJob(src, job)
	defer j.Discard()
	if err := j.Prepare(ctx); err != nil {
		return err
	}
	return c.run(ctx, j)
}

// job is what is to be written and where, to stdout if the path is "-".
func (o *kernelOptions) job(stdout *os.File) (capture.Options, error) {
	job := capture.Options{Kind: o.Kind, Format: o.Format, Compression: o.Compression, Overwrite: o.Overwrite}
	if o.Path == "-" {
		if fsys.TerminalWidth(stdout) > 0 {
			return job, usagef("", "redirect it, or name a file", "a dump is nothing to show on a terminal")
		}
		job.Stream = stdout
		return job, nil
	}
	name, err := capture.ParseName(o.Path, o.Format)
	if err != nil {
		return job, err
	}
	job.Name, job.Format = name, name.Format()
	return job, nil
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
