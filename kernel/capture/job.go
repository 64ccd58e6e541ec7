package capture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"time"

	"procdump/internal/sys/fsys"
	"procdump/kdump"
	"procdump/kdump/diskdump"
	"procdump/kdump/flat"
	"procdump/kdump/vmcore"
	"procdump/kernel/pages"
)

// Options say what a dump holds and where it goes.
type Options struct {
	Kind        Kind
	Format      Format               // FormatAuto: KDump
	Compression diskdump.Compression // of KDump
	// AsIs takes all that a dump has, whatever it is used for, in place of what
	// Kind takes.
	AsIs bool

	// Stream takes the dump, in the flattened form of kdump-compressed or as
	// ELF; nil: it goes to the file Name.
	Stream    io.Writer
	Name      Name
	Overwrite bool
	// Device is a block device that takes the dump from its beginning on, as
	// KDump, instead of the file; Room is how many bytes of it the dump may take.
	Device string
	Room   int64

	// Progress, if not nil, is called now and then with the bytes of memory
	// that are written and that are to be written.
	Progress func(done, total uint64)
}

// Job writes a dump.
type Job struct {
	// Plan is set by Prepare.
	Plan Plan

	source  Source
	options Options
	dump    *kdump.Dump
	pages   pages.Source
	file    *file
	wanted  *kdump.Bitmap // in the dump, or about to be
	late    *kdump.Bitmap
	present *kdump.Bitmap // in the source's dump; nil: all pages
}

// Result is a dump that has been written.
type Result struct {
	Path string // "" of a stream
	Size int64  // bytes; of the file apparent ones
	Disk int64  // bytes that the file occupies, -1 if unknown

	Pages uint64 // in the dump
	Zero  uint64 // of these, full of zeros
	Late  uint64 // of these, added because they came into use meanwhile
	// Missed is how many pages came into use and are not in the dump.
	Missed   uint64
	Warnings []string
}

// NewJob returns a job that dumps src. Discard must be called in the end.
func NewJob(src Source, o Options) *Job {
	if o.Format == FormatAuto || o.Device != "" {
		o.Format = KDump
	}
	return &Job{source: src, options: o, dump: src.Dump()}
}

// Prepare looks at all pages, makes the file and checks that there is room for
// it.
func (j *Job) Prepare(ctx context.Context) error {
	if err := j.plan(ctx); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	j.Plan.Free = -1
	if j.options.Stream != nil {
		return nil
	}
	if j.options.Device != "" {
		return j.prepareDevice()
	}
	folder := j.options.Name.Folder()
	if free, err := fsys.Free(folder); err == nil {
		j.Plan.Free = free
		if j.Plan.Estimate > free {
			return fmt.Errorf("write dump in %s: %w: it needs about %d MB and %d MB are free; free some, name another folder, or take a smaller kind or -z zstd",
				folder, ErrNoSpace, j.Plan.Estimate>>20+1, free>>20)
		}
	}
	var err error
	if j.file, err = createFile(folder); err != nil {
		return fmt.Errorf("make dump file: %w", err)
	}
	return nil
}

// Discard closes the file and removes it if it is not finished.
func (j *Job) Discard() {
	if j.file != nil {
		j.file.Discard()
		j.file = nil
	}
}

// Run writes the dump. Prepare must have succeeded. The end of ctx ends it
// early, with ctx's cause as the error, and leaves nothing of a file.
func (j *Job) Run(ctx context.Context) (*Result, error) {
	res := &Result{Disk: -1}
	err := j.lookAgain()
	if err == nil {
		err = j.write(ctx, res)
	}
	if err == nil && j.options.Stream == nil {
		err = j.finish(res)
	}
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, j.explain(err)
	}
	return res, nil
}

// lookAgain looks at the pages once more right before they are written. What
// the estimate has taken of memory is free by now, but still the dumper's own:
// writing takes it again, and not what is free and so left out.
func (j *Job) lookAgain() error {
	if !j.changing() {
		return nil
	}
	j.late = kdump.NewBitmap(j.wanted.Len())
	runtime.GC()
	if _, err := j.scan(j.wanted, nil); err != nil {
		return fmt.Errorf("find out what pages are used for: %w", err)
	}
	j.Plan.Pages = j.wanted.Count()
	return nil
}

// explain says what to do about an error of the output.
func (j *Job) explain(err error) error {
	if j.options.Stream != nil {
		return err
	}
	if j.options.Device != "" {
		return j.explainDevice(err)
	}
	folder := j.options.Name.Folder()
	switch {
	case fsys.IsNoSpace(err):
		return fmt.Errorf("write dump in %s: %w: nothing is left of the unfinished file; free some space, name another folder, or take a smaller kind or -z zstd (%w)",
			folder, ErrNoSpace, err)
	case fsys.IsTooLarge(err):
		return fmt.Errorf("write dump in %s: no file there may become that large: nothing is left of the unfinished one; raise the limit (ulimit -f), name another folder, or take a smaller kind (%w)",
			folder, err)
	}
	return err
}

func (j *Job) write(ctx context.Context, res *Result) error {
	if j.options.Format == ELF {
		return j.writeELF(ctx, res)
	}
	if j.options.Device != "" {
		return j.writeKDump(ctx, limited{j.file, j.options.Room}, res)
	}
	if j.options.Stream == nil {
		return j.writeKDump(ctx, j.file, res)
	}
	w := flat.NewWriter(counted{j.options.Stream, &res.Size})
	if err := j.writeKDump(ctx, w, res); err != nil {
		return err
	}
	return w.Close()
}

// changing tells whether pages may come into use while the dump is written. A
// complete dump has them anyway.
func (j *Job) changing() bool { return j.source.Live() && j.pages != nil && j.options.Kind != Complete }

// Late pages are looked for as long as there are many of them: each round takes
// less time than the one before, so that fewer pages change in it. That ends
// where it finds only what the dumper itself is doing.
const (
	lateRounds = 3
	lateFew    = 64
)

// fast tells whether pages are compressed the fast way. Zstd is then as
// small as LZO; who wants it smaller takes zlib.
func (j *Job) fast() bool { return j.options.Compression == diskdump.Zstd }

func (j *Job) writeKDump(ctx context.Context, w io.WriterAt, res *Result) error {
	o := diskdump.Options{Compression: j.options.Compression, Fast: j.fast(), DumpLevel: j.level(), Late: j.changing()}
	if o.Late {
		// Room for some more, which takes 24 bytes for each page: 64 MiB of pages
		// of 4 KiB, and of a large dump an eighth of its own.
		o.Reserve = min(j.Plan.Pages*9/8+1<<14, j.dump.Pages())
	}
	total, page := j.Plan.Pages, uint64(j.dump.PageSize)
	o.Progress = func(pages uint64) {
		if j.options.Progress != nil {
			j.options.Progress(pages*page, total*page)
		}
	}
	k, err := diskdump.NewWriter(w, j.dump, o)
	if err != nil {
		return err
	}
	if err := k.Write(ctx, j.wanted.Runs()); err != nil {
		return err
	}
	for round := 0; o.Late; round++ {
		n, err := j.findLate()
		if err != nil {
			return err
		}
		if round == lateRounds {
			res.Missed = n
			break
		}
		res.Late += n
		total += n
		if err := k.Write(ctx, j.late.Runs()); err != nil {
			return err
		}
		if n < lateFew {
			break
		}
	}
	if err := k.Close(); err != nil {
		return err
	}
	stats := k.Stats()
	if stats.Incomplete != nil {
		return stats.Incomplete
	}
	res.Pages, res.Zero = stats.Pages, stats.Zero
	if j.options.Stream == nil {
		res.Size = stats.Size
	}
	res.skipped(stats.Skipped, stats.Skip)
	return nil
}

// findLate puts the pages into j.late that have come into use since j.wanted
// was made, and into j.wanted, too.
func (j *Job) findLate() (uint64, error) {
	if _, err := j.scan(j.late, j.wanted); err != nil {
		return 0, fmt.Errorf("find out what has come into use: %w", err)
	}
	for r := range j.late.Runs() {
		j.wanted.SetRange(r.PFN, r.Count)
	}
	return j.late.Count(), nil
}

// skipped notes pages that could not be read.
func (r *Result) skipped(n uint64, why error) {
	if n > 0 {
		r.Warnings = append(r.Warnings, fmt.Sprintf("%d pages could not be read; the first: %v", n, why))
	}
}

func (j *Job) writeELF(ctx context.Context, res *Result) error {
	var w io.Writer = counted{j.options.Stream, &res.Size}
	var s *stream
	if j.options.Stream == nil {
		s = newStream(j.file)
		w = s
	}
	page := uint64(j.dump.PageSize)
	stats, err := vmcore.Write(ctx, w, j.dump, j.wanted.Runs(), vmcore.Options{
		DumpLevel: j.level(),
		Progress: func(pages uint64) {
			if j.options.Progress != nil {
				j.options.Progress(pages*page, j.Plan.Pages*page)
			}
		},
	})
	if err != nil {
		return err
	}
	if s != nil {
		if err := s.flush(); err != nil {
			return err
		}
	}
	res.Pages, res.Size = stats.Pages, stats.Size
	res.skipped(stats.Skipped, stats.Skip)
	if !j.changing() {
		return nil
	}
	if res.Missed, err = j.findLate(); err != nil {
		return err
	}
	if res.Missed >= lateFew {
		res.Warnings = append(res.Warnings, fmt.Sprintf(
			"%d pages came into use while the dump was written and are not in it: only -format kdump has room for those", res.Missed))
	}
	return nil
}

// finish puts the file on disk and gives it its name.
func (j *Job) finish(res *Result) error {
	if err := j.file.Sync(); err != nil {
		return fmt.Errorf("write dump to disk: %w", err)
	}
	if j.options.Device != "" {
		res.Path, res.Disk = j.options.Device, res.Size
		return nil
	}
	res.Disk = fsys.Allocated(j.file.File)
	for path := range j.options.Name.Alternatives(j.at()) {
		err := j.file.Link(path, j.options.Overwrite)
		if err == nil {
			res.Path = path
			break
		}
		if j.options.Overwrite || !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("name dump: %w", err)
		}
	}
	if res.Path == "" {
		return errors.New("name dump: no name is free")
	}
	if err := fsys.SyncDir(j.options.Name.Folder()); err != nil {
		res.Warnings = append(res.Warnings, fmt.Sprintf("make file name durable: %v", err))
	}
	return nil
}

// at is the time in the dump's name.
func (j *Job) at() time.Time {
	if t := j.dump.Time; !t.IsZero() {
		return t
	}
	return time.Now()
}

// Path is the name that the dump gets if no file has it; "" of a stream.
func (j *Job) Path() string {
	switch {
	case j.options.Stream != nil:
		return ""
	case j.options.Device != "":
		return j.options.Device
	}
	return j.options.Name.Path(j.at())
}

// counted adds up what is written.
type counted struct {
	w io.Writer
	n *int64
}

func (c counted) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	*c.n += int64(n)
	return n, err
}
