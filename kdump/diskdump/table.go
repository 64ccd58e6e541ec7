package diskdump

import (
	"cmp"
	"encoding/binary"
	"io"
	"slices"

	"procdump/kdump"
)

// tableBuffer is how many descriptors are written at a time. Their size is a
// multiple of every page size.
const tableBuffer = kdump.MaxPageSize / 8

// table is the page descriptors on their way to the file. Without late pages
// they are written as they come; with late ones all are kept until close,
// because a page that comes late moves the descriptors of all pages behind it.
type table struct {
	w    io.WriterAt
	page int
	off  int64  // of the next descriptor to be written
	rows uint64 // that still fit
	buf  []byte
	keep bool
	kept []uint64 // packed, in ascending order of pages
	late []lateRow
}

// lateRow is the descriptor of a page that came late.
type lateRow struct {
	pfn  uint64
	desc uint64
}

// A packed descriptor has the offset in its upper bits, then 17 bits of size
// and 6 of flags. It holds offsets to 2 TiB.
const (
	packedFlags = 6
	packedSize  = 17
	maxPacked   = 1 << (64 - packedFlags - packedSize)
)

func (d descriptor) pack() uint64 {
	return uint64(d.off)<<(packedSize+packedFlags) | uint64(d.size)<<packedFlags | uint64(d.flags)
}

func unpack(v uint64) descriptor {
	return descriptor{
		off:   int64(v >> (packedSize + packedFlags)),
		size:  uint32(v >> packedFlags & (1<<packedSize - 1)),
		flags: uint32(v & (1<<packedFlags - 1)),
	}
}

// add adds the descriptor of pfn, which is higher than all before unless late
// is set.
func (t *table) add(pfn uint64, d descriptor, late bool) error {
	if t.rows == 0 {
		return ErrTooMany
	}
	t.rows--
	switch {
	case !t.keep:
		return t.put(d)
	case d.off >= maxPacked:
		return bad(d.off, "page data beyond %d GiB of a dump with late pages", uint64(maxPacked)>>30)
	case late:
		t.late = append(t.late, lateRow{pfn, d.pack()})
	default:
		t.kept = append(t.kept, d.pack())
	}
	return nil
}

// put writes a descriptor.
func (t *table) put(d descriptor) error {
	if t.buf == nil {
		t.buf = make([]byte, 0, tableBuffer*descSize)
	}
	le := binary.LittleEndian
	t.buf = le.AppendUint64(t.buf, uint64(d.off))
	t.buf = le.AppendUint32(t.buf, d.size)
	t.buf = le.AppendUint32(t.buf, d.flags)
	t.buf = le.AppendUint64(t.buf, 0)
	if len(t.buf) < cap(t.buf) {
		return nil
	}
	return t.flush()
}

func (t *table) flush() error {
	for len(t.buf)%t.page != 0 {
		t.buf = append(t.buf, 0)
	}
	if len(t.buf) == 0 {
		return nil
	}
	if _, err := t.w.WriteAt(t.buf, t.off); err != nil {
		return err
	}
	t.off += int64(len(t.buf))
	t.buf = t.buf[:0]
	return nil
}

// close writes what is left. here is bitmap 2; it says which pages the kept
// descriptors belong to.
func (t *table) close(here *kdump.Bitmap) error {
	slices.SortFunc(t.late, func(a, b lateRow) int { return cmp.Compare(a.pfn, b.pfn) })
	late, kept := t.late, t.kept
	if t.keep {
		for r := range here.Runs() {
			for pfn := r.PFN; pfn < r.PFN+r.Count; pfn++ {
				var d uint64
				if len(late) > 0 && late[0].pfn == pfn {
					d, late = late[0].desc, late[1:]
				} else {
					d, kept = kept[0], kept[1:]
				}
				if err := t.put(unpack(d)); err != nil {
					return err
				}
			}
		}
	}
	return t.flush()
}

// appendBuffer is how much data is written at a time, in bytes.
const appendBuffer = 1 << 20

// appender writes data that comes in pieces of any size in large pieces.
type appender struct {
	w    io.WriterAt
	page int
	off  int64 // of buf; what is before is in the file
	buf  []byte
}

// end is the file offset behind the data.
func (a *appender) end() int64 { return a.off + int64(len(a.buf)) }

func (a *appender) append(b []byte) error {
	if a.buf == nil {
		a.buf = make([]byte, 0, appendBuffer)
	}
	for len(b) > 0 {
		n := copy(a.buf[len(a.buf):cap(a.buf)], b)
		a.buf, b = a.buf[:len(a.buf)+n], b[n:]
		if len(a.buf) == cap(a.buf) {
			if _, err := a.w.WriteAt(a.buf, a.off); err != nil {
				return err
			}
			a.off += int64(len(a.buf))
			a.buf = a.buf[:0]
		}
	}
	return nil
}

// flush writes the rest, filled up with zeros to a whole page. Nothing can be
// appended after it.
func (a *appender) flush() error {
	for len(a.buf)%a.page != 0 {
		a.buf = append(a.buf, 0)
	}
	if len(a.buf) == 0 {
		return nil
	}
	if _, err := a.w.WriteAt(a.buf, a.off); err != nil {
		return err
	}
	a.off += int64(len(a.buf))
	a.buf = nil
	return nil
}
