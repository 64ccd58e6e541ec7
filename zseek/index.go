package zseek

import (
	"encoding/binary"
	"fmt"
	"io"
	"sort"
)

// frame is where a piece of the content lies in the file.
type frame struct {
	off, size  int64 // compressed
	start, len int64 // uncompressed
}

// index finds frames.
type index interface {
	// find returns the frame that holds byte off of the content. The caller
	// has checked that there is such a byte.
	find(off int64) (frame, error)
}

// frameList is the index of a file without a seek table.
type frameList []frame

func (l frameList) find(off int64) (frame, error) {
	i := sort.Search(len(l), func(i int) bool { return l[i].start > off }) - 1
	return l[i], nil
}

// pageEntries is the number of seek table entries read at a time.
const pageEntries = 1024

// seekTable is a seek table that stays in the file: of a gigabyte of it, which
// the format allows, a few megabytes are kept.
type seekTable struct {
	r         io.ReaderAt
	off       int64 // of the first entry
	n         int
	entrySize int
	marks     []mark // one for each pageEntries entries
}

// mark says where the first frame of a page of entries begins.
type mark struct{ off, start int64 }

// openSeekTable returns the seek table of the file, or nil if it has none, and
// the size of the content.
func openSeekTable(r io.ReaderAt, size int64) (*seekTable, int64, error) {
	if size < seekTableHeaderSize+seekTableFooterSize {
		return nil, 0, nil
	}
	var foot [seekTableFooterSize]byte
	if err := readFull(r, foot[:], size-seekTableFooterSize); err != nil {
		return nil, 0, fmt.Errorf("read seek table: %w", err)
	}
	le := binary.LittleEndian
	if le.Uint32(foot[5:]) != seekableMagicNumber {
		return nil, 0, nil
	}
	n, descriptor := le.Uint32(foot[:]), foot[4]
	if n > maxFrames || descriptor&0x7C != 0 {
		return nil, 0, fmt.Errorf("%w: seek table of %d frames, descriptor %#x", ErrCorrupt, n, descriptor)
	}
	t := &seekTable{r: r, n: int(n), entrySize: seekTableEntrySize}
	if descriptor&0x80 != 0 {
		t.entrySize += 4 // checksum
	}
	body := int64(t.n)*int64(t.entrySize) + seekTableFooterSize
	t.off = size - body
	var head [seekTableHeaderSize]byte
	if t.off < seekTableHeaderSize {
		return nil, 0, fmt.Errorf("%w: seek table of %d frames in a file of %d bytes", ErrCorrupt, n, size)
	}
	if err := readFull(r, head[:], t.off-seekTableHeaderSize); err != nil {
		return nil, 0, fmt.Errorf("read seek table: %w", err)
	}
	if le.Uint32(head[:]) != seekTableMagicNumber || int64(le.Uint32(head[4:])) != body {
		return nil, 0, fmt.Errorf("%w: bad header of the seek table", ErrCorrupt)
	}
	content, err := t.load()
	return t, content, err
}

// load reads the table once to fill marks and to check it.
func (t *seekTable) load() (content int64, err error) {
	t.marks = make([]mark, 0, min((t.n+pageEntries-1)/pageEntries, 1024))
	var at mark
	var buf [pageEntries * (seekTableEntrySize + 4)]byte
	for first := 0; first < t.n; first += pageEntries {
		t.marks = append(t.marks, at)
		page, err := t.page(buf[:], first)
		if err != nil {
			return 0, err
		}
		for ; len(page) > 0; page = page[t.entrySize:] {
			e := decodeEntry(page)
			at.off += int64(e.Compressed_Size)
			at.start += int64(e.Decompressed_Size)
		}
	}
	if at.off != t.off-seekTableHeaderSize {
		return 0, fmt.Errorf("%w: frames take %d bytes, the seek table says %d", ErrCorrupt, t.off-seekTableHeaderSize, at.off)
	}
	return at.start, nil
}

// page reads the entries of the page that begins with entry first.
func (t *seekTable) page(buf []byte, first int) ([]byte, error) {
	buf = buf[:min(pageEntries, t.n-first)*t.entrySize]
	if err := readFull(t.r, buf, t.off+int64(first)*int64(t.entrySize)); err != nil {
		return nil, fmt.Errorf("read seek table: %w", err)
	}
	return buf, nil
}

func (t *seekTable) find(off int64) (frame, error) {
	i := sort.Search(len(t.marks), func(i int) bool { return t.marks[i].start > off }) - 1
	at := t.marks[i]
	var buf [pageEntries * (seekTableEntrySize + 4)]byte
	page, err := t.page(buf[:], i*pageEntries)
	if err != nil {
		return frame{}, err
	}
	for ; len(page) > 0; page = page[t.entrySize:] {
		e := decodeEntry(page)
		f := frame{at.off, int64(e.Compressed_Size), at.start, int64(e.Decompressed_Size)}
		if off < f.start+f.len {
			return f, nil
		}
		at.off += f.size
		at.start += f.len
	}
	return frame{}, fmt.Errorf("%w: seek table changed", ErrCorrupt)
}

func decodeEntry(b []byte) entry {
	return entry{binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])}
}

// readFull reads all of p; a file that ends before is corrupt.
func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		return fmt.Errorf("%w: ends at %d", ErrCorrupt, off+int64(n))
	}
	return err
}
