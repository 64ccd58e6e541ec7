package capture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"slices"
	"time"

	"procdump/dumpkind"
	"procdump/elfcore"
	"procdump/internal/sys/fsys"
	"procdump/minidump"
	"procdump/snapshot"
)

// manyThreads is the number of threads from which on RAM is dear: what is known
// of them takes much of it. Less than that would only prolong the stop.
const manyThreads = 2000

// ErrNoSpace means that the disk cannot hold a dump.
var ErrNoSpace = errors.New("not enough free disk space")

// Source is a process that stands still until Resume.
type Source interface {
	Snapshot() *snapshot.Process
	// Resume lets it go on and returns how long it stood still; its memory
	// cannot be read any more. Calling it again does nothing. What stands still
	// for ever, such as a dump, returns -1.
	Resume() time.Duration
	// LetGo lets it go on, too, but at any time and from any goroutine; what is
	// read after it is not the snapshot any more.
	LetGo()
}

// Output is one dump to write.
type Output struct {
	Mask      Mask
	Vars      Vars
	Select    dumpkind.Options
	Overwrite bool
	// Raw, if not nil, is the dump itself, RawSize bytes that are copied as they
	// are: only the compression changes.
	Raw     io.ReaderAt
	RawSize int64
}

// Job writes the dumps of one trigger from one stop of the process.
type Job struct {
	Outputs []Output // smallest first
	// Sidecars are files that are written beside each dump.
	Sidecars []Sidecar
	// Method says how a dump that is not small is taken.
	Method Method
	// Pacer, if not nil, paces what is copied while the process runs on: from a
	// clone. While it stands every moment counts.
	Pacer *Pacer
	// Cloned, if not nil, is called when there is a clone that does not need the
	// process any more.
	Cloned func()
	// Progress, if not nil, is called now and then, from any goroutine.
	Progress func(done, total uint64)

	// NoRoom says why there is not memory enough for a clone; "": there is.
	NoRoom string

	files  []*fsys.Temp
	spools []*fsys.Temp // copies of memory
}

// Sidecar makes the content of a file beside a dump, and its name's suffix.
// Without content there is no file.
type Sidecar func(*snapshot.Process) (suffix string, content []byte)

// Result is one dump written, or the reason why it was not.
type Result struct {
	Output   Output
	Path     string
	Size     int64 // length of the file
	Disk     int64 // bytes it occupies
	Full     int64 // length without compression
	Pause    time.Duration
	Process  *snapshot.Process // what was written; its Memory may be gone
	Sidecars []string          // paths of the files beside it, "" for one that there is not
	Warnings []string
	Err      error
}

// Prepare makes the files and checks that there is room for them, before the
// process is stopped. p needs no memory. Discard must be called in the end.
func (j *Job) Prepare(p *snapshot.Process) error {
	for folder, n := range j.needs(p) {
		free, err := fsys.Free(folder)
		if err != nil {
			continue // unknown here
		}
		if n > uint64(free) {
			return fmt.Errorf("write dump in %s: %w: it needs about %s and %s are free; free some, name another folder, or take a smaller kind (-mm, -mp) or -z",
				folder, ErrNoSpace, Bytes(n), Bytes(uint64(free)))
		}
	}
	for _, o := range j.Outputs {
		f, err := fsys.CreateTemp(o.Mask.Folder())
		if err != nil {
			return fmt.Errorf("make dump file: %w", err)
		}
		j.files = append(j.files, f)
	}
	return nil
}

// needs is about how many bytes the outputs will take in each folder.
func (j *Job) needs(p *snapshot.Process) map[string]uint64 {
	need := map[string]uint64{}
	for _, o := range j.Outputs {
		n := dumpkind.Estimate(p, o.Select)
		if o.Mask.Compress() {
			n /= 2 // what a usual process compresses to; a full disk is found out later, too
		}
		need[o.Mask.Folder()] += n
	}
	return need
}

// Estimate is about how many bytes all outputs together will hold.
func (j *Job) Estimate(p *snapshot.Process) (n uint64) {
	for _, o := range j.Outputs {
		n += dumpkind.Estimate(p, o.Select)
	}
	return n
}

// Discard closes the job's files and removes those that are not finished.
func (j *Job) Discard() {
	for _, f := range j.files {
		f.Discard()
	}
	j.files = nil
	for _, t := range j.spools {
		t.Discard()
	}
}

// dump is an output in the making.
type dump struct {
	res    *Result
	sel    *dumpkind.Selection
	layout layout
	file   *fsys.Temp
	out    sink
}

// layout is what elfcore.Layout and minidump.Layout have in common.
type layout interface {
	Size() int64
	HeadSize() int64
	Placements() []snapshot.Placement
	WriteHead(io.Writer) error
}

// Run writes the dumps and always resumes the source. Prepare must have
// succeeded. The end of ctx ends it early, with ctx's cause as the error. The
// results are as Outputs; each tells its own error.
func (j *Job) Run(ctx context.Context, src Source) []Result {
	defer src.Resume()
	if p := src.Snapshot(); len(p.Threads) > manyThreads {
		p.ShareRegisters()
	}
	// A read or write that hangs must not hold the process beyond ctx's end.
	letGo := context.AfterFunc(ctx, src.LetGo)
	// What fails after that fails for that reason.
	cause := func(err error) error {
		if err != nil && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	results := make([]Result, len(j.Outputs))
	dumps := make([]*dump, len(j.Outputs))
	buffered, held := true, uint64(0) // bytes in RAM
	if slices.ContainsFunc(j.Outputs, func(o Output) bool { return !o.Select.Kind.Small() }) {
		// The process stands until the large one is copied, so a copy of a
		// small one gains nothing.
		held = math.MaxUint64
	}
	pace, noClone := j.clone(src)
	for i, o := range j.Outputs {
		results[i].Output = o
		dumps[i] = &dump{res: &results[i], file: j.files[i]}
		dumps[i].fail(cause(noClone))
		dumps[i].fail(cause(dumps[i].pick(src.Snapshot(), held, len(j.Outputs) == 1)))
		buffered = buffered && (results[i].Err != nil || dumps[i].sel.Buffered)
		held += dumps[i].held()
	}
	if buffered {
		src.Resume() // all that is left to do needs copies only
	}
	for _, d := range dumps {
		if d.res.Err == nil {
			d.fail(d.lay())
		}
	}
	dumps = slices.DeleteFunc(dumps, func(d *dump) bool { return d.res.Err != nil })
	meter := newMeter(dumps, j.Progress)
	for _, d := range dumps {
		d.fail(cause(d.copy(ctx, pace, meter)))
		if ctx.Err() != nil && !d.sel.Buffered {
			d.fail(context.Cause(ctx)) // the process may have gone on meanwhile
		}
	}
	letGo()
	pause := src.Resume()
	for _, d := range dumps {
		d.res.Pause = pause
		if d.res.Err == nil {
			d.fail(d.finish(ctx, j))
		}
	}
	return results
}

// fail records the first error, in words that say what to do.
func (d *dump) fail(err error) {
	if err == nil || d.res.Err != nil {
		return
	}
	const remedy = "name another folder, or take a smaller kind (-mm, -mp) or -z"
	switch folder := d.res.Output.Mask.Folder(); {
	case fsys.IsNoSpace(err):
		err = fmt.Errorf("write dump in %s: %w: nothing is left of the unfinished file; free some space, %s (%w)", folder, ErrNoSpace, remedy, err)
	case fsys.IsTooLarge(err):
		err = fmt.Errorf("write dump in %s: no file there may become that large: nothing is left of the unfinished one; raise the limit (ulimit -f), %s (%w)", folder, remedy, err)
	}
	d.res.Err = err
	if d.out != nil {
		d.out.abort()
	}
}

// pick selects the memory, while other dumps hold so many bytes in RAM. only
// tells that there are no other dumps.
func (d *dump) pick(p *snapshot.Process, held uint64, only bool) error {
	if d.res.Err != nil {
		return nil
	}
	if out := &d.res.Output; out.Raw != nil {
		d.sel, d.res.Process = rawSelection(p, out), p
		return nil
	}
	o := d.res.Output.Select
	o.Held, o.Only = held, only
	sel, err := dumpkind.Select(p, o)
	if err != nil {
		return err
	}
	d.sel, d.res.Process = sel, sel.Process
	return nil
}

// held is how many bytes the dump's copy of the memory has.
func (d *dump) held() (n uint64) {
	if d.sel == nil || !d.sel.Buffered {
		return 0
	}
	for _, r := range d.sel.Ranges {
		n += r.Size
	}
	return n
}

// lay lays out the file.
func (d *dump) lay() error {
	o, sel := d.res.Output, d.sel
	var err error
	switch {
	case o.Raw != nil:
		d.layout = rawLayout(o.RawSize)
	case o.Mask.Format() == FormatMinidump:
		d.layout, err = minidump.NewLayout(sel.Process, sel.Ranges, minidump.Options{Full: isLarge(o.Select.Kind, sel)})
	default:
		d.layout, err = elfcore.NewLayout(sel.Process, sel.Ranges)
	}
	if err != nil {
		return fmt.Errorf("lay out dump: %w", err)
	}
	if !o.Mask.Compress() {
		d.out = &plain{f: d.file.File, size: d.layout.Size()}
		return nil
	}
	// A small dump may itself be in RAM.
	spareRAM := o.Select.Kind.Small() || len(sel.Process.Threads) > manyThreads
	out, err := newCompressed(d.file.File, d.layout, spareRAM)
	if err != nil {
		return err
	}
	d.out = out
	return nil
}

// largeDump is how many bytes a dump of no certain kind has from which on its
// memory goes where a minidump has room for it, and few of its readers look.
const largeDump = 64 << 20

func isLarge(k dumpkind.Kind, sel *dumpkind.Selection) bool {
	if k != dumpkind.AsIs {
		return !k.Small()
	}
	n := uint64(0)
	for _, r := range sel.Ranges {
		n += r.Size
	}
	return n > largeDump
}

// copy writes the memory.
func (d *dump) copy(ctx context.Context, pace *Pacer, m *meter) error {
	if d.res.Err != nil {
		return nil
	}
	mem := d.sel.Process.Memory
	bad, err := d.out.copy(ctx, mem, d.layout.Placements(), pace, m)
	info := &d.sel.Process.Info
	if mem, ok := mem.(snapshot.PartlySeen); ok {
		info.LeftOut = append(info.LeftOut, d.selected(mem.Unknown())...)
	}
	info.Unreadable = snapshot.MergeRanges(append(info.Unreadable, bad...), 0)
	return err
}

// selected are those that the dump was to hold.
func (d *dump) selected(all []snapshot.LeftOut) (out []snapshot.LeftOut) {
	for _, l := range all {
		if slices.ContainsFunc(d.sel.Ranges, func(r snapshot.Range) bool { return r.Intersect(l.Range).Size > 0 }) {
			out = append(out, l)
		}
	}
	return out
}

// finish writes the head, which tells the pause and what could not be read,
// and gives the file its name.
func (d *dump) finish(ctx context.Context, j *Job) error {
	p := d.sel.Process
	if d.res.Pause >= 0 {
		p.Info.PauseMicros = d.res.Pause.Microseconds()
	}
	p.Memory = nil // it is written: a copy need not be kept beside the head
	if err := d.out.finish(d.layout); err != nil {
		return err
	}
	if err := d.file.Sync(); err != nil {
		return fmt.Errorf("write dump to disk: %w", err)
	}
	d.res.Full = d.layout.Size()
	d.res.Disk = fsys.Allocated(d.file.File)
	if st, err := d.file.Stat(); err == nil {
		d.res.Size = st.Size()
	}
	var err error
	if d.res.Path, err = link(d.file, d.res.Output); err != nil {
		return err
	}
	for _, s := range j.Sidecars {
		d.res.Sidecars = append(d.res.Sidecars, d.sidecar(s))
	}
	if err := fsys.SyncDir(d.res.Output.Mask.Folder()); err != nil {
		d.res.Warnings = append(d.res.Warnings, fmt.Sprintf("make file name durable: %v", err))
	}
	return nil
}

// link gives a finished file the first of its names that is free.
func link(f *fsys.Temp, o Output) (string, error) {
	for path := range o.Mask.Alternatives(o.Vars) {
		err := f.Link(path, o.Overwrite)
		if err == nil {
			return path, nil
		}
		if o.Overwrite || !errors.Is(err, fs.ErrExist) {
			return "", fmt.Errorf("name dump: %w", err)
		}
	}
	return "", errors.New("name dump: no name is free")
}

// sidecar writes a file beside the dump and returns its path. The dump is good
// without it, so a failure is a warning.
func (d *dump) sidecar(s Sidecar) string {
	suffix, content := s(d.sel.Process)
	if len(content) == 0 {
		return ""
	}
	path := Beside(d.res.Path, suffix)
	flags := fsys.Durable
	if d.res.Output.Overwrite {
		flags |= fsys.Overwrite
	}
	if err := fsys.WriteFile(path, content, 0o600, flags); err != nil {
		d.res.Warnings = append(d.res.Warnings, fmt.Sprintf("write %s: %v", path, err))
		return ""
	}
	return path
}
