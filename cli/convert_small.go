package cli

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"procdump/kdump"
	"procdump/kernel/capture"
	"procdump/kernel/dumped"
	"procdump/kernel/live"
	"procdump/kernel/small"
)

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
