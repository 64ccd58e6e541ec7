package diskdump

import (
	"errors"

	"procdump/kdump/internal/pipeline"
)

// jobSize is how much memory a worker compresses at a time, in bytes: it stays
// in a processor's second cache from when it is read.
const jobSize = 256 << 10

// job is what a worker makes of a batch of pages.
type job struct {
	in    []byte // one page after the other
	out   []byte // their compressed forms
	rows  []row
	err   error // of the compressor
	skips []error
}

// row is what became of one page: size 0 means a page of zeros, -1 one that
// could not be read.
type row struct {
	size  int32
	flags uint32
}

const unreadable = -1

func (k *Writer) newJob() *job {
	page := int(k.h.blockSize)
	return &job{
		in:   make([]byte, jobSize),
		out:  make([]byte, 0, jobSize+maxEncoded(page)),
		rows: make([]row, 0, jobSize/page),
	}
}

// compress reads and compresses the pages of a batch.
func (k *Writer) compress(worker int, b *pipeline.Batch[*job]) {
	j, e := b.State, k.encoders[worker]
	j.rows, j.out, j.skips, j.err = j.rows[:0], j.out[:0], j.skips[:0], nil
	pipeline.ReadPages(k.d.Memory, k.h.blockSize, b.Runs, j.in, func(page []byte, err error) {
		switch {
		case err != nil:
			j.rows = append(j.rows, row{size: unreadable})
			j.skips = append(j.skips, err)
		case isZero(page):
			j.rows = append(j.rows, row{})
		default:
			n := len(j.out)
			out, flags, err := e.encode(j.out, page)
			if err != nil && j.err == nil {
				j.err = err
			}
			j.out = out
			j.rows = append(j.rows, row{int32(len(out) - n), flags})
		}
	})
}

// commit adds the pages of a batch to the file.
func (k *Writer) commit(b *pipeline.Batch[*job], late bool) error {
	j := b.State
	if j.err != nil {
		return j.err
	}
	if len(j.skips) > 0 {
		k.skip(j.skips[0], len(j.skips))
	}
	off, rows, next := k.data.end(), j.rows, uint64(0)
	for _, r := range b.Runs {
		for pfn := r.PFN; pfn < r.PFN+r.Count; pfn++ {
			row := rows[0]
			rows = rows[1:]
			d := descriptor{off, uint32(row.size), row.flags}
			switch row.size {
			case unreadable:
				continue
			case 0:
				d = k.zero
				k.stats.Zero++
			}
			if err := k.table.add(pfn, d, late); errors.Is(err, ErrTooMany) {
				k.skip(err, 1)
				off += int64(row.size)
				continue
			} else if err != nil {
				return err
			}
			k.here.Set(pfn)
			k.stats.Pages++
			off += int64(max(row.size, 0))
		}
		next = r.PFN + r.Count
	}
	if err := k.data.append(j.out); err != nil {
		return err
	}
	k.mark(next, late)
	if k.o.Progress != nil {
		k.o.Progress(k.stats.Pages + k.stats.Skipped)
	}
	return nil
}

// skip counts pages that did not get into the file.
func (k *Writer) skip(why error, n int) {
	if k.stats.Skip == nil {
		k.stats.Skip = why
	}
	k.stats.Skipped += uint64(n)
}

// mark notes that the pages up to pfn need what has been appended so far.
// Marks that the file has passed are of no use but for the last.
func (k *Writer) mark(pfn uint64, late bool) {
	for len(k.marks) > 1 && k.marks[1].off <= k.data.off {
		k.marks = k.marks[1:]
	}
	if late {
		pfn = k.h.maxPFN
	}
	k.marks = append(k.marks, mark{k.data.end(), pfn, len(k.table.late)})
}
