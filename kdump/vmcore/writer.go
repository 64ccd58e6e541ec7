package vmcore

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"math"
	"runtime"

	"procdump/kdump"
	"procdump/kdump/internal/pipeline"
)

// Options say how Write works.
type Options struct {
	// DumpLevel is noted in the file: which kinds of pages were left out.
	DumpLevel int
	// Workers is how many goroutines read; 0 is one per CPU, at most 4. Each
	// takes 1 MiB.
	Workers int
	// Progress is called about every MiB with the number of pages done so far.
	Progress func(pages uint64)
}

// Stats is what Write did.
type Stats struct {
	Pages   uint64 // in the file
	Skipped uint64 // of these, unreadable and written as zeros
	Skip    error  // why the first of those was
	Size    int64  // of the file, in bytes
}

const (
	// dataAlign is what the contents begin at a multiple of, for readers that
	// map the file.
	dataAlign = 4096
	batchSize = 1 << 20
)

// plan is the layout of a file. Its parts are computed again whenever they are
// needed: a dump of 100,000 fragments takes no memory for them.
type plan struct {
	d      *kdump.Dump
	page   uint64
	maxPFN uint64
	wanted iter.Seq[kdump.PageRun]
	notes  []byte
	direct uint64 // virtual minus physical address in the direct map
	mapped bool   // direct is known
	image  kdump.Segment
	loads  uint64 // number of PT_LOADs
	data   uint64 // file offset of the contents
}

// Write writes the wanted pages of d as an ELF core file to w, from its first
// byte to its last. wanted is iterated several times, in ascending order; the
// states of its runs are not looked at.
//
// Each range of pages becomes a PT_LOAD at its address in the direct map, and
// once more, sharing the bytes, at the address of the kernel image where it
// holds that: drgn translates no address without it. Direct map and image are
// taken from d.Segments. On x86-64 the image is also found by VMCOREINFO; the
// direct map is not, and virtual addresses are then 0, which gdb cannot use but
// crash and drgn can.
func Write(ctx context.Context, w io.Writer, d *kdump.Dump, wanted iter.Seq[kdump.PageRun], o Options) (Stats, error) {
	if !kdump.ValidPageSize(uint64(d.PageSize)) {
		return Stats{}, bad(-1, "page size %d", d.PageSize)
	}
	if elfMachine(d.Arch) == 0 {
		return Stats{}, bad(-1, "the dumped kernel's machine is not known")
	}
	p := &plan{d: d, page: uint64(d.PageSize), maxPFN: d.MaxPFN(), wanted: wanted}
	p.lay(o.DumpLevel)
	out := bufio.NewWriterSize(w, 64<<10)
	if err := p.writeHeaders(out); err != nil {
		return Stats{}, err
	}
	if err := out.Flush(); err != nil {
		return Stats{}, err
	}
	return p.writePages(ctx, w, o)
}

// lay computes the layout.
func (p *plan) lay(level int) {
	with := *p.d
	with.Notes = append([]kdump.Note{ramNote(p.d.Runs, level)}, p.d.Notes...)
	p.notes = with.EncodeNotes()
	p.direct, p.mapped = directMap(p.d)
	p.image = kernelImage(p.d)
	for range p.segments(0) {
		p.loads++
	}
	end := p.notesOffset() + uint64(len(p.notes))
	p.data = (end + dataAlign - 1) &^ (dataAlign - 1)
}

// extended tells whether there are too many program headers for e_phnum.
func (p *plan) extended() bool { return 1+p.loads >= PN_XNUM }

func (p *plan) notesOffset() uint64 {
	off := ehdr64 + (1+p.loads)*phdr64
	if p.extended() {
		off += shdr64
	}
	return off
}

// ranges yields the wanted pages as ranges of physical memory, those that
// touch joined.
func (p *plan) ranges() iter.Seq[kdump.Run] {
	return func(yield func(kdump.Run) bool) {
		var last kdump.Run
		for r := range p.wanted {
			r.Count = min(r.Count, p.maxPFN-min(r.PFN, p.maxPFN))
			switch {
			case r.Count == 0:
			case last.Size > 0 && last.End() == r.PFN*p.page:
				last.Size += r.Count * p.page
			default:
				if last.Size > 0 && !yield(last) {
					return
				}
				last = kdump.Run{Addr: r.PFN * p.page, Size: r.Count * p.page}
			}
		}
		if last.Size > 0 {
			yield(last)
		}
	}
}

// segments yields the PT_LOADs of a file whose contents begin at data: those
// of the kernel image first, as in /proc/vmcore.
func (p *plan) segments(data uint64) iter.Seq[program] {
	return func(yield func(program) bool) {
		off := data
		for r := range p.ranges() {
			first, end := max(r.Addr, p.image.PhysAddr), min(r.End(), p.image.PhysAddr+p.image.MemSize)
			if p.image.MemSize > 0 && first < end && !yield(program{
				typ: PT_LOAD, flags: PF_R | PF_W | PF_X, off: off + (first - r.Addr),
				vaddr: p.image.VirtAddr + (first - p.image.PhysAddr), paddr: first,
				filesz: end - first, memsz: end - first,
			}) {
				return
			}
			off += r.Size
		}
		off = data
		for r := range p.ranges() {
			s := program{typ: PT_LOAD, flags: PF_R | PF_W | PF_X, off: off, paddr: r.Addr, filesz: r.Size, memsz: r.Size}
			if p.mapped {
				s.vaddr = r.Addr + p.direct
			}
			if !yield(s) {
				return
			}
			off += r.Size
		}
	}
}

// writeHeaders writes everything before the contents. PT_NOTE is the first
// program header, of which crash skips exactly one, and p_align of the
// PT_LOADs is 0, without which crash takes the file for a netdump of old and
// ignores KASLR.
func (p *plan) writeHeaders(w *bufio.Writer) error {
	le := binary.LittleEndian
	b := make([]byte, ehdr64)
	copy(b, magic)
	b[4], b[5], b[6] = ELFCLASS64, ELFDATA2LSB, 1
	le.PutUint16(b[16:], ET_CORE)
	le.PutUint16(b[18:], elfMachine(p.d.Arch))
	le.PutUint32(b[20:], 1)
	le.PutUint64(b[32:], ehdr64)
	le.PutUint16(b[52:], ehdr64)
	le.PutUint16(b[54:], phdr64)
	le.PutUint16(b[56:], uint16(min(1+p.loads, PN_XNUM)))
	if p.extended() {
		if 1+p.loads > math.MaxUint32 {
			return fmt.Errorf("write program headers: %d are too many for ELF", 1+p.loads)
		}
		le.PutUint64(b[40:], p.notesOffset()-shdr64)
		le.PutUint16(b[58:], shdr64)
		le.PutUint16(b[60:], 1)
	}
	w.Write(b)
	w.Write(program{typ: PT_NOTE, off: p.notesOffset(), filesz: uint64(len(p.notes)), memsz: uint64(len(p.notes))}.encode())
	for s := range p.segments(p.data) {
		w.Write(s.encode())
	}
	if p.extended() {
		b := make([]byte, shdr64)
		le.PutUint32(b[44:], uint32(1+p.loads))
		w.Write(b)
	}
	w.Write(p.notes)
	_, err := w.Write(make([]byte, p.data-p.notesOffset()-uint64(len(p.notes))))
	return err
}

// part is the contents of a batch of pages.
type part struct {
	b       []byte
	skipped uint64
	skip    error
}

// writePages writes the contents.
func (p *plan) writePages(ctx context.Context, w io.Writer, o Options) (Stats, error) {
	if o.Workers <= 0 {
		o.Workers = min(runtime.GOMAXPROCS(0), 4)
	}
	stats := Stats{Size: int64(p.data)}
	pipe := pipeline.Pipeline[*part]{
		Workers: o.Workers, MaxPages: batchSize / p.page, MaxPFN: p.maxPFN,
		New: func() *part { return &part{b: make([]byte, batchSize)} },
	}
	read := func(_ int, b *pipeline.Batch[*part]) {
		j, at := b.State, uint64(0)
		j.skipped, j.skip = 0, nil
		pipeline.ReadPages(p.d.Memory, p.page, b.Runs, j.b, func(_ []byte, err error) {
			if err != nil {
				clear(j.b[at : at+p.page])
				if j.skip == nil {
					j.skip = err
				}
				j.skipped++
			}
			at += p.page
		})
	}
	err := pipe.Run(ctx, p.wanted, read, func(b *pipeline.Batch[*part]) error {
		n, err := w.Write(b.State.b[:b.Pages*p.page])
		stats.Size += int64(n)
		if err != nil {
			return err
		}
		stats.Pages += b.Pages
		stats.Skipped += b.State.skipped
		if stats.Skip == nil {
			stats.Skip = b.State.skip
		}
		if o.Progress != nil {
			o.Progress(stats.Pages)
		}
		return nil
	})
	return stats, err
}
