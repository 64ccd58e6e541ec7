package diskdump

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"runtime"
	"slices"

	"procdump/kdump"
	"procdump/kdump/internal/pipeline"
)

// Options say how a Writer works.
type Options struct {
	Compression Compression
	// Fast trades size for time: Zstd does without codes of its own for each
	// page (0.35 of the time, 1.4 of the size), Zlib uses its level 1.
	Fast bool
	// DumpLevel goes into the header: which kinds of pages were left out
	// (kdump.Dump.DumpLevel).
	DumpLevel int
	// Workers is how many goroutines read and compress; 0 is one per CPU, at
	// most 8. Memory use is about 1 MiB for each and 3 MiB.
	Workers int
	// Late lets Write be called again with pages that became wanted in the
	// meantime. Room for the descriptors of Reserve pages is left in the file
	// (a hole where the file system has holes), and 8 bytes per page are kept
	// in memory until Close.
	Late bool
	// Reserve is the number of pages, early and late, that fit if Late is
	// set; 0 means all RAM.
	Reserve uint64
	// Progress is called by Write's goroutine about every 256 KiB of memory with
	// the number of pages done so far.
	Progress func(pages uint64)
}

// Stats is what a Writer did.
type Stats struct {
	Pages   uint64 // in the file, zero pages included
	Zero    uint64 // pages of zeros, which share one page of the file
	Skipped uint64 // wanted, but unreadable
	Skip    error  // why the first of those was
	Size    int64  // of the file so far, in bytes
	Data    int64  // of that, of the pages that are not zero, compressed
	// Incomplete is why the file does not hold all that was wanted; nil if it
	// does. Skipped pages do not make it incomplete.
	Incomplete error
}

// Writer writes a kdump-compressed file. Its output depends on the pages and
// the options alone, not on timing.
//
// It writes the header last, so that a file that is cut off is not taken for a
// dump (of a flattened one, the end record comes last). Every WriteAt has an offset and a length that are multiples of the page
// size, as O_DIRECT wants. Nothing is read back, and ranges come in no
// particular order: package flat turns them into a stream.
type Writer struct {
	w      io.WriterAt
	d      *kdump.Dump
	o      Options
	h      header
	layout *layout
	notes  []byte

	started  bool
	once     bool  // no range may be written twice
	failed   error // of the output
	here     *kdump.Bitmap
	table    table
	data     appender
	zero     descriptor
	contents int64 // offset of the first page's contents
	pipe     pipeline.Pipeline[*job]
	encoders []*encoder // one per worker
	cut      error      // of the context of a Write
	marks    []mark
	stats    Stats
}

// mark is a point up to which the file is consistent: the pages before it need
// the file's first off bytes. For pages that came late, pfn is not used.
type mark struct {
	off  int64
	pfn  uint64
	rows int
}

// onceWriter is an output to which no range may be written twice.
type onceWriter interface{ WriteOnce() }

// ErrTooMany says that a late page found no room among the page descriptors.
var ErrTooMany = errors.New("kdump-compressed: no descriptor is reserved for a late page")

// NewWriter returns a Writer of d to w. Runs, notes and everything else but
// Memory's contents must be final. Nothing is written before the first Write.
func NewWriter(w io.WriterAt, d *kdump.Dump, o Options) (*Writer, error) {
	if !kdump.ValidPageSize(uint64(d.PageSize)) {
		return nil, bad(-1, "page size %d", d.PageSize)
	}
	if _, err := ParseCompression(o.Compression.String()); err != nil {
		return nil, err
	}
	if o.Workers <= 0 {
		o.Workers = min(runtime.GOMAXPROCS(0), 8)
	}
	k := &Writer{w: w, d: d, o: o, layout: &layout64, notes: d.EncodeNotes()}
	if d.Arch.PointerSize() == 4 {
		k.layout = &layout32
	}
	page, n := uint64(d.PageSize), d.MaxPFN()
	k.h = header{
		uts: d.Uname, time: d.Time, blockSize: page, maxPFN: n,
		nrCPUs: uint32(max(len(d.CPUs), 1)), physBase: d.PhysBase, dumpLevel: int32(o.DumpLevel),
		bitmapBlocks: 2 * blocks((n+7)/8, page),
		noteOff:      page + uint64(k.layout.subSize), notesSize: uint64(len(k.notes)),
	}
	k.h.subBlocks = blocks(uint64(k.layout.subSize)+k.h.notesSize, page)
	if i := bytes.Index(k.notes, d.VMCoreInfo); d.VMCoreInfo != nil && i >= 0 {
		// libkdumpfile looks for VMCOREINFO among the notes, crash by its offset.
		k.h.infoOff, k.h.infoSize = k.h.noteOff+uint64(i), uint64(len(d.VMCoreInfo))
	}
	k.here = kdump.NewBitmap(n)
	k.pipe = pipeline.Pipeline[*job]{Workers: o.Workers, MaxPages: jobSize / page, MaxPFN: n, New: k.newJob}
	return k, nil
}

func blocks(n, size uint64) uint64 { return (n + size - 1) / size }

// Stats returns the figures so far. It is not for use during Write.
func (k *Writer) Stats() Stats { return k.stats }

// Write reads the pages of wanted from the dump's memory and adds them. wanted
// is iterated twice and is in ascending order; the states of its runs are not
// looked at. A page that cannot be read is skipped and counted. With Late, later
// calls add pages; those that the file has already are ignored.
//
// After an error, that of ctx included, Close still makes a dump of what is
// there and marks it incomplete.
func (k *Writer) Write(ctx context.Context, wanted iter.Seq[kdump.PageRun]) error {
	switch {
	case k.failed != nil:
		return k.failed
	case k.started && !k.o.Late:
		return fmt.Errorf("write late pages: Options.Late is not set: %w", errors.ErrUnsupported)
	}
	late := k.started
	if !late {
		if k.failed = k.start(wanted); k.failed != nil {
			return k.failed
		}
	} else {
		wanted = k.missing(wanted)
	}
	err := k.pipe.Run(ctx, wanted, k.compress, func(b *pipeline.Batch[*job]) error {
		k.failed = k.commit(b, late)
		return k.failed
	})
	if err != nil && k.failed == nil {
		k.cut = err
	}
	k.stats.Size, k.stats.Data = k.data.end(), k.data.end()-k.contents
	return err
}

// missing yields the pages of wanted that the file does not have.
func (k *Writer) missing(wanted iter.Seq[kdump.PageRun]) iter.Seq[kdump.PageRun] {
	return func(yield func(kdump.PageRun) bool) {
		for r := range wanted {
			for gap := range k.here.Gaps(r.PFN, r.PFN+r.Count) {
				if !yield(gap) {
					return
				}
			}
		}
	}
}

// start lays the file out and writes what lies before the page data.
func (k *Writer) start(wanted iter.Seq[kdump.PageRun]) error {
	k.started = true
	var n uint64
	for r := range wanted {
		if r.PFN < k.h.maxPFN {
			n += min(r.Count, k.h.maxPFN-r.PFN)
		}
	}
	if k.o.Late {
		if n = max(n, k.o.Reserve); k.o.Reserve == 0 {
			n = max(n, k.d.Pages())
		}
	}
	page := int64(k.h.blockSize)
	k.table = table{w: k.w, off: int64(k.h.descOffset()), rows: n, keep: k.o.Late, page: int(page)}
	k.data = appender{w: k.w, page: int(page)}
	k.data.off = k.table.off + int64(blocks(n*descSize, k.h.blockSize))*page
	// The space of everything before the descriptors is taken now, so that
	// Close succeeds when the disk is full.
	if _, k.once = k.w.(onceWriter); k.once {
		// Crash 8.0 finds the header of a flattened file in its first record only.
		if err := k.writeHeader(n); err != nil {
			return err
		}
	} else if err := k.writeZeros(0, int64(k.h.descOffset())); err != nil {
		return err
	}
	if err := k.writeBitmap(int64(k.h.bitmapOffset()), k.ramBitmap); err != nil {
		return err
	}
	for range k.o.Workers {
		e, err := newEncoder(k.o.Compression, int(page), k.o.Fast)
		if err != nil {
			return err
		}
		k.encoders = append(k.encoders, e)
	}
	b, flags, err := k.encoders[0].encode(make([]byte, 0, maxEncoded(int(page))), zeros[:page])
	if err != nil {
		return err
	}
	k.zero = descriptor{k.data.end(), uint32(len(b)), flags}
	k.contents = k.data.end() + int64(len(b))
	return k.data.append(b)
}

func (k *Writer) writeZeros(off, n int64) error {
	return k.writeBitmapBytes(off, n, func([]byte, uint64) {})
}

// writeBitmap writes a bitmap that fill makes piece by piece: it sets bits of
// a zeroed b, whose first bit is page frame pfn.
func (k *Writer) writeBitmap(off int64, fill func(b []byte, pfn uint64)) error {
	return k.writeBitmapBytes(off, int64(k.h.bitmapSize()), fill)
}

func (k *Writer) writeBitmapBytes(off, size int64, fill func(b []byte, pfn uint64)) error {
	b := make([]byte, min(size, scanSize))
	for done := int64(0); done < size; {
		b = b[:min(int64(len(b)), size-done)]
		clear(b)
		fill(b, uint64(done)*8)
		if _, err := k.w.WriteAt(b, off+done); err != nil {
			return err
		}
		done += int64(len(b))
	}
	return nil
}

func (k *Writer) ramBitmap(b []byte, pfn uint64) {
	page := k.h.blockSize
	for _, r := range k.d.Runs {
		setBits(b, pfn, r.Addr/page, blocks(r.End(), page))
	}
}

func (k *Writer) hereBitmap(b []byte, pfn uint64) {
	for r := range k.here.RunsIn(pfn, pfn+8*uint64(len(b))) {
		setBits(b, pfn, r.PFN, r.PFN+r.Count)
	}
}

// setBits sets the bits of the pages [first, end) in b, whose first bit is base.
func setBits(b []byte, base, first, end uint64) {
	first, end = max(first, base), min(end, base+8*uint64(len(b)))
	for n := first; n < end; {
		i := n - base
		if i%8 == 0 && end-n >= 8 {
			b[i/8] = 0xff
			n += 8
			continue
		}
		b[i/8] |= 1 << (i % 8)
		n++
	}
}

// Close completes the file: bitmap 2, the descriptors, the header. It does not
// close the underlying io.WriterAt. If the output failed before, or fails at
// the last pages, the dump gets the pages that are in the file for sure and is
// marked incomplete; Stats says why. An error means that there is no dump.
func (k *Writer) Close() error {
	if !k.started {
		if err := k.Write(context.Background(), func(func(kdump.PageRun) bool) {}); err != nil {
			return err
		}
	}
	if k.failed == nil {
		k.failed = k.data.flush()
	}
	if k.failed != nil {
		k.rollBack()
	}
	if k.stats.Incomplete = cmp.Or(k.failed, k.cut); k.stats.Incomplete != nil {
		k.h.status |= DUMP_DH_COMPRESSED_INCOMPLETE
	}
	if err := k.table.close(k.here); err != nil {
		return err
	}
	if err := k.writeBitmap(int64(k.h.bitmapOffset()+k.h.bitmapSize()), k.hereBitmap); err != nil {
		return err
	}
	k.stats.Pages, k.stats.Size = k.here.Count(), k.data.end()
	if k.once {
		return nil
	}
	return k.writeHeader(k.stats.Pages)
}

// writeHeader writes what precedes the bitmaps.
func (k *Writer) writeHeader(pages uint64) error {
	if k.d.Incomplete {
		k.h.status |= DUMP_DH_COMPRESSED_INCOMPLETE
	}
	k.h.status |= uint32(k.o.Compression)
	_, err := k.w.WriteAt(k.h.encode(k.layout, k.notes, k.d.Pages(), pages), 0)
	return err
}

// rollBack takes back the pages whose data did not reach the file.
func (k *Writer) rollBack() {
	safe := mark{}
	for _, m := range k.marks {
		if m.off <= k.data.off {
			safe = m
		}
	}
	if safe.rows < len(k.table.late) {
		for _, r := range k.table.late[safe.rows:] {
			k.here.Clear(r.pfn)
		}
		k.table.late = slices.Clip(k.table.late[:safe.rows])
	}
	k.here.ClearRange(safe.pfn, k.here.Len())
}
