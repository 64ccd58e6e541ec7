package cli

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"procdump/kernel/capture"
	"procdump/kernel/dumped"
	"procdump/kernel/live"
	"procdump/kernel/small"
)

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
	if o.Path != "-" {
		if err := notItself(in, o.In, job.Name.Path(d.Time), o.Path); err != nil {
			return err
		}
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
