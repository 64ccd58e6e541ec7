package cli

import (
	"bytes"
	"fmt"
	"time"

	"procdump/kdump"
	"procdump/kernel/capture"
	"procdump/kernel/dumped"
	"procdump/kernel/live"
	"procdump/kernel/small"
)

// kindSmall is the kind of dump that package small writes.
const kindSmall = "small"

// isSmall tells whether a dump is of the kind small.
func isSmall(d *kdump.Dump) bool {
	for _, n := range d.Notes {
		if n.Name == small.NoteOwner && n.Type == small.NoteType {
			return true
		}
	}
	return false
}

// convertSmall makes a small dump.
func convertSmall(o *convertOptions, job capture.Options, src *dumped.Source, console *Console) error {
	start := time.Now()
	k, err := src.Kernel()
	c := newKernelConsole(console, &o.kernelOptions, capture.ELF)
	c.kind = kindSmall
	c.Source(src.Dump(), live.Guests{}, src.Warnings())
	if err != nil {
		return fmt.Errorf("make small dump: %w", err)
	}
	at := src.Dump().Time
	if at.IsZero() {
		at = start
	}
	path := ""
	if job.Stream == nil {
		path = job.Name.Path(at)
	}
	c.InitiatedSmall(path)
	var b bytes.Buffer
	var res *capture.Result
	report, err := small.Write(&b, k, small.Options{})
	if err == nil {
		res, err = capture.WriteBytes(b.Bytes(), at, job)
	}
	if err != nil {
		c.Failed(err)
		return fmt.Errorf("%w: %w", errReported, err)
	}
	c.CompleteSmall(res, report, time.Since(start))
	return nil
}
