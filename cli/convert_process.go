package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"procdump/capture"
	"procdump/dumpkind"
	"procdump/elfcore"
	"procdump/image"
	"procdump/internal/sys/fsys"
	"procdump/live/linux"
	"procdump/minidump"
	"procdump/snapshot"
)

// convertHeap is the size of the Go heap, in bytes, from which on a conversion
// collects garbage.
const convertHeap = 24 << 20

// processDump is the dump of a process, compressed or not.
type processDump struct {
	file       *os.File
	path       string
	raw        io.ReaderAt // without the compression
	size       int64       // of raw
	compressed bool
	format     capture.Format
	process    *snapshot.Process
	warnings   []error
	unread     []string // what the format has and a snapshot has no place for
}

// Close closes the file.
func (d *processDump) Close() { d.file.Close() }

// Snapshot implements capture.Source.
func (d *processDump) Snapshot() *snapshot.Process { return d.process }

// Resume implements capture.Source: the process of a dump stands still for ever.
func (d *processDump) Resume() time.Duration { return -1 }

// LetGo implements capture.Source.
func (d *processDump) LetGo() {}

// readDump reads the dump of a process in a file of size bytes; nil: it is of
// something else.
func readDump(r io.ReaderAt, size int64) (*processDump, error) {
	d := &processDump{}
	var err error
	if d.raw, d.size, d.compressed, err = uncompressed(r, size); err != nil {
		return nil, err
	}
	if d.process, d.warnings, err = openProcess(d.raw, d.size, d.compressed); d.process == nil || err != nil {
		return nil, err
	}
	if m, err := minidump.NewReader(d.raw, d.size); err == nil {
		d.format = capture.FormatMinidump
		for _, t := range m.Unread() {
			d.unread = append(d.unread, "stream "+t.String())
		}
	} else if c, err := elfcore.NewReader(d.raw, d.size); err == nil {
		d.format, d.unread = capture.FormatELF, c.Unread()
	}
	return d, nil
}

// convertProcess writes what o asks for of a process's dump.
func convertProcess(ctx context.Context, o *convertOptions, console *Console, d *processDump) error {
	format, compress, err := o.ofProcess()
	if err != nil {
		return err
	}
	if format == capture.FormatAuto && capture.FormatOf(o.Path) == capture.FormatAuto {
		format = d.format // a name that says nothing changes nothing
	}
	mask, err := capture.ParseMask(o.Path, capture.MaskOptions{Format: format, Compress: compress})
	if err != nil {
		return err
	}
	p := d.process
	out := capture.Output{Mask: mask, Overwrite: o.Overwrite, Select: dumpkind.Options{Kind: dumpkind.AsIs, Mask: o.process.Mask,
		DropLargest: o.process.DropLargest, DontDump: o.process.DontDump, Dump: true, Only: true}}
	if len(o.process.Kinds) > 0 {
		out.Select.Kind = o.process.Kinds[0]
	}
	out.Vars = capture.Vars{Process: p.Name, PID: p.PID, Time: p.Info.Time, Kind: out.Select.Kind}
	if out.Vars.Time.IsZero() {
		if st, err := d.file.Stat(); err == nil {
			out.Vars.Time = st.ModTime()
		}
	}
	out.Vars.Place(p)
	if err := notItself(d.file, o.In, mask.Path(out.Vars), o.Path); err != nil {
		return err
	}
	if err := possible(d, &out); err != nil {
		return fmt.Errorf("convert %s: %w", o.In, err)
	}
	debug.SetMemoryLimit(convertHeap)
	return writeConverted(ctx, console, d, out)
}

// possible refuses what a dump cannot give, and decides what is copied as it is.
func possible(d *processDump, out *capture.Output) error {
	p, kind := d.process, out.Select.Kind
	if kind == dumpkind.AsIs && out.Mask.Format() == d.format && (out.Mask.Compress() != d.compressed) {
		out.Raw, out.RawSize = d.raw, d.size
		return nil
	}
	if p.System.OS == "windows" {
		return errors.New("it is the dump of a Windows program: only its compression can be changed (name a file that ends in .dmp.zst, or in .dmp)")
	}
	if len(p.Threads) == 0 {
		return errors.New("no thread can be read of it")
	}
	if kind == dumpkind.AsIs || kind == dumpkind.Custom {
		return nil
	}
	if have, ok := dumpkind.KindOf(p.Info.From); ok && kind > have {
		return fmt.Errorf("it was made of a dump of kind %v, which has not the memory for kind %v", have, kind)
	}
	if have, ok := dumpkind.KindOf(p.Info.Kind); ok && kind > have {
		return fmt.Errorf("it is of kind %v, which has not the memory for kind %v", have, kind)
	}
	if kind == dumpkind.Full && p.Info.Kind != kind.String() {
		return errors.New("only a full dump of procdump gives a full one; without a kind, all that it holds is converted")
	}
	return nil
}

// describeConverted completes what the new dump says of the process, and says
// in its note what is new; what a dump of procdump says of itself stays.
func (d *processDump) describeConverted() {
	info := &d.process.Info
	if info.Version == 0 {
		info.Version = snapshot.InfoVersion
	}
	if info.Tool == "" {
		info.Tool = "procdump " + Version
	}
	// Debuggers need to find in a small dump what this walks along.
	if l := linux.Linker(d.process); l != nil {
		d.process.Linker = l
	}
	for _, w := range d.warnings {
		info.Warnings = append(info.Warnings, w.Error())
	}
	if len(d.unread) > 0 {
		info.Warnings = append(info.Warnings, "not in this dump, for which a snapshot of a process has no place: "+strings.Join(d.unread, ", "))
	}
}

// writeConverted writes the dump.
func writeConverted(ctx context.Context, console *Console, d *processDump, out capture.Output) error {
	p := d.process
	if out.Raw == nil {
		d.describeConverted()
	}
	if out.Select.Kind != dumpkind.AsIs && out.Select.Kind != dumpkind.Full {
		u := image.NewUnchanged(p)
		defer u.Close()
		p.Memory = u
	}
	c := console.Process(Process{PID: p.PID, Name: p.Name, Exe: p.Exe}, false).Dump(1)
	j := &capture.Job{Outputs: []capture.Output{out}, Progress: func(done, total uint64) { c.Progress(int64(done), int64(total)) }}
	defer j.Discard()
	begin := time.Now()
	if free, err := fsys.Free(out.Mask.Folder()); err == nil {
		c.Space(filepath.Clean(out.Mask.Folder()), free)
	}
	c.Initiated(out.Mask.Path(out.Vars), out.Select.Kind, out.Mask.Format(), out.Mask.Compress())
	c.Estimate(int64(j.Estimate(p)))
	err := j.Prepare(p)
	var r capture.Result
	if err == nil {
		r = j.Run(ctx, d)[0]
		err = r.Err
	}
	if err != nil {
		c.Failed(fmt.Errorf("%w; no file of the dump is left", remedied(err)))
		return fmt.Errorf("%w: %w", errReported, err)
	}
	c.Complete(Result{Path: r.Path, Size: r.Size, DiskBytes: r.Disk, Elapsed: time.Since(begin), Pause: -1, Source: d.path, Warnings: append(r.Warnings, shortcomings(r.Process)...)})
	return nil
}
