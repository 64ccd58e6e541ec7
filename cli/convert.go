package cli

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"procdump/kdump/diskdump"
	"procdump/kernel/capture"
	"procdump/kernel/dumped"
	"procdump/kernel/live"
	"procdump/kernel/small"
)

// convertVerb makes a dump of another kind or format of a dump.
const convertVerb = "convert"

// kindUnchanged is what the console says of a dump that is to hold what its
// source does.
const kindUnchanged = "unchanged"

// convertOptions is a command line of the verb convert.
type convertOptions struct {
	kernelOptions
	In   string
	AsIs bool // no kind was given
}

// convertMain runs procdump convert with the arguments after the verb.
func convertMain(args []string, out, errOut *os.File) int {
	o, err := parseConvert(args)
	if err != nil {
		return verbUsage(convertVerb, err, errOut)
	}
	if o.Help {
		return printText(out, convertHelp())
	}
	run := verbRun{verb: convertVerb, args: args, json: o.JSON, title: "converts kernel dumps", dumps: 1, out: o.lines(out, errOut), errOut: errOut, exit: kernelExit}
	return run.run(func(ctx context.Context, c *Console) error { return convertKernel(ctx, o, c, out) })
}

// convertKernel converts a dump of a kernel, to stdout if the path is "-".
func convertKernel(ctx context.Context, o *convertOptions, console *Console, stdout *os.File) error {
	job, err := o.job(stdout)
	if err != nil {
		return err
	}
	job.AsIs = o.AsIs
	in, d, err := openKernelFile(o.In)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := notItself(in, o, job.Name, d.Time); err != nil {
		return err
	}
	if small.Is(d) && !o.AsIs && !o.Small {
		return fmt.Errorf("convert %s to kind %v: it is a small dump and has little memory; it can give no other kind", o.In, o.Kind)
	}
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(kernelHeap + int64(d.MaxPFN())/2)
	src := dumped.Open(d, dumped.Options{NoTypes: o.Kind != capture.Active})
	if o.Small {
		return convertSmall(ctx, o, job, src, console)
	}
	if job.Format == capture.ELF {
		_, _ = src.Kernel() // adds the direct map, if it can be found
	}
	c := newKernelConsole(console, &o.kernelOptions, job.Format)
	if o.AsIs {
		c.kind = kindUnchanged
	}
	job.Progress = func(done, total uint64) { c.Progress(int64(done), int64(total)) }
	j := capture.NewJob(src, job)
	defer j.Discard()
	err = j.Prepare(ctx)
	c.Source(src.Dump(), live.Guests{VMs: len(src.VMs), Pages: src.GuestPages}, src.Warnings())
	if err != nil {
		return err
	}
	return c.run(ctx, j)
}

// convertSmall makes a small dump.
func convertSmall(ctx context.Context, o *convertOptions, job capture.Options, src *dumped.Source, console *Console) error {
	k, err := src.Kernel()
	c := newKernelConsole(console, &o.kernelOptions, capture.ELF)
	c.Source(src.Dump(), live.Guests{}, src.Warnings())
	if err != nil {
		return fmt.Errorf("make small dump: %w", err)
	}
	at := src.Dump().Time
	if at.IsZero() {
		at = time.Now()
	}
	return c.runSmall(ctx, job, at, func() ([]byte, *small.Report, error) {
		var b bytes.Buffer
		report, err := small.Write(&b, k, small.Options{})
		return b.Bytes(), report, err
	})
}

// notItself refuses to replace a dump by what is made of it.
func notItself(in *os.File, o *convertOptions, name capture.Name, at time.Time) error {
	a, err := in.Stat()
	if err != nil || o.Path == "-" {
		return err
	}
	for _, path := range []string{name.Path(at), o.Path} {
		if b, err := os.Stat(path); err == nil && os.SameFile(a, b) {
			return usagef("", "name another file", "%s is to be converted into itself", o.In)
		}
	}
	return nil
}

// parseConvert reads a command line without the program's name and the verb.
// Its error is a *UsageError.
func parseConvert(args []string) (*convertOptions, error) {
	o := &convertOptions{kernelOptions: kernelOptions{Compression: diskdump.Zstd}}
	line, err := parseVerb(convertVerb, convertSwitches, args, &o.kernelOptions)
	if err != nil {
		return nil, err
	}
	if line.help() {
		o.Help = true
		return o, nil
	}
	o.AsIs = !line.given["type"]
	const form = "type procdump convert IN OUT"
	paths := line.words
	switch {
	case len(paths) < 2:
		return nil, usagef("", form, "give the dump to convert, and where the other one goes")
	case len(paths) > 2:
		return nil, usagef("", form+"; quote a name that has spaces", "%q is one word too many", paths[2])
	case paths[0] == "-":
		return nil, usagef("", "put it into a file first", "a dump cannot be read from standard input: its parts are needed in no order")
	case paths[0] == "" || paths[1] == "":
		return nil, usagef("", form, "a path is empty")
	}
	o.In, o.Path = paths[0], paths[1]
	return o, o.takeOutput(line)
}
