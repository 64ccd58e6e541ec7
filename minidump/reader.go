package minidump

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"unicode/utf16"
)

// Reader reads a minidump. Its methods may be used by several goroutines at
// once if the underlying io.ReaderAt allows that.
//
// An accessor returns ErrNoStream if the dump has no such stream, and an error
// that wraps ErrFormat, and nothing else, if the stream is damaged or cut off.
// Process is lenient: it takes what is there.
type Reader struct {
	Header Header

	r    io.ReaderAt
	size int64
	dir  []Directory
}

// NewReader reads header and directory of the dump of size bytes in r. It does
// not close r, which must stay usable as long as the Reader is. A directory
// that the end of the file cuts off is taken as far as it goes.
func NewReader(r io.ReaderAt, size int64) (*Reader, error) {
	d := &Reader{r: r, size: size}
	b, err := d.bytes(0, headerSize)
	if err != nil {
		return nil, fmt.Errorf("read header: %w", err)
	}
	le := binary.LittleEndian
	if len(b) < headerSize || le.Uint32(b) != signature || le.Uint32(b[4:])&0xffff != version {
		return nil, &FormatError{Off: 0, What: "no minidump header"}
	}
	d.Header = Header{Version: le.Uint32(b[4:]), Checksum: le.Uint32(b[16:]), Timestamp: le.Uint32(b[20:]), Flags: le.Uint64(b[24:])}
	n, off := le.Uint32(b[8:]), int64(le.Uint32(b[12:]))
	if n == 0 || n > maxStreams || off < headerSize {
		return nil, &FormatError{Off: 8, What: fmt.Sprintf("directory of %d streams at %#x", n, off)}
	}
	if b, err = d.bytes(off, int(n)*directorySize); err != nil {
		return nil, fmt.Errorf("read directory: %w", err)
	}
	for ; len(b) >= directorySize; b = b[directorySize:] {
		if e := (Directory{StreamType(le.Uint32(b)), location(b[4:])}); e.Type != UnusedStream {
			d.dir = append(d.dir, e)
		}
	}
	if len(d.dir) == 0 {
		return nil, &FormatError{Off: off, What: "empty directory"}
	}
	return d, nil
}

// Directory returns the streams of the dump in file order, without unused
// entries. Where a type occurs twice, accessors take the first.
func (r *Reader) Directory() []Directory { return slices.Clone(r.dir) }

// Stream returns the bytes of the stream of that type.
func (r *Reader) Stream(t StreamType) ([]byte, error) {
	b, _, err := r.stream(t)
	if err != nil {
		return nil, err
	}
	return b, nil
}

// stream returns a stream's bytes, or as many as there are and an error.
func (r *Reader) stream(t StreamType) ([]byte, Directory, error) {
	for _, d := range r.dir {
		if d.Type == t {
			limit := uint32(maxStream)
			if t == NotesStream {
				limit = maxNotes
			}
			b, err := r.at(d.Location, limit, t.String())
			return b, d, err
		}
	}
	return nil, Directory{}, fmt.Errorf("%w: %v", ErrNoStream, t)
}

// at returns the bytes at a location, or as many as there are and an error.
func (r *Reader) at(l Location, limit uint32, what string) ([]byte, error) {
	n := min(l.Size, limit)
	b, err := r.bytes(int64(l.RVA), int(n))
	if err != nil {
		return b, fmt.Errorf("read %s: %w", what, err)
	}
	if len(b) < int(l.Size) {
		return b, &FormatError{Off: int64(l.RVA), What: fmt.Sprintf("%s of %d bytes", what, l.Size), Err: io.ErrUnexpectedEOF}
	}
	return b, nil
}

// bytes returns up to n bytes at off: fewer only where the file ends. It
// allocates no more than the file holds.
func (r *Reader) bytes(off int64, n int) ([]byte, error) {
	if off < 0 || off >= r.size || n <= 0 {
		return nil, nil
	}
	b := make([]byte, min(int64(n), r.size-off))
	k, err := r.r.ReadAt(b, off)
	if err != nil && !errors.Is(err, io.EOF) {
		return b[:k], err
	}
	return b[:k], nil
}

// list is a stream of equal entries.
type list struct {
	b    []byte // the entries
	n    int    // how many are there
	size int    // bytes of one
	d    Directory
}

func (l *list) entries() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for i := range l.n {
			if !yield(l.b[i*l.size : (i+1)*l.size]) {
				return
			}
		}
	}
}

// list reads a stream that is a u32 count and entries of that size. With an
// error it returns the entries that are there, or nil.
func (r *Reader) list(t StreamType, size int) (*list, error) {
	b, d, err := r.stream(t)
	if len(b) < 4 {
		return nil, orShort(err, d, t.String())
	}
	want, b := uint64(binary.LittleEndian.Uint32(b)), b[4:]
	// Some writers align the entries to 8 bytes.
	if uint64(d.Size) == 8+want*uint64(size) && len(b) >= 4 {
		b = b[4:]
	}
	n, err := count(want, len(b), size, d, err)
	return &list{b, n, size, d}, err
}

// list2 reads a stream that says the sizes of its header and of its entries:
// {u32 header, u32 entry, u32 or u64 count}. Entries may be longer than size.
func (r *Reader) list2(t StreamType, size int) (*list, error) {
	b, d, err := r.stream(t)
	if len(b) < 12 {
		return nil, orShort(err, d, t.String())
	}
	header, entry := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
	want := uint64(binary.LittleEndian.Uint32(b[8:]))
	if header < 12 || uint64(header) > uint64(len(b)) || uint64(entry) < uint64(size) || entry > 1<<16 {
		return nil, &FormatError{Off: int64(d.RVA), What: fmt.Sprintf("%v header of %d bytes, entries of %d", t, header, entry)}
	}
	b = b[header:]
	n, err := count(want, len(b), int(entry), d, err)
	return &list{b, n, int(entry), d}, err
}

// count checks how many of the promised entries fit into the bytes there are.
func count(want uint64, have, size int, d Directory, err error) (int, error) {
	n := min(want, uint64(have/size), maxEntries)
	if n < want && err == nil {
		err = &FormatError{Off: int64(d.RVA), What: fmt.Sprintf("%v of %d entries in %d bytes", d.Type, want, d.Size)}
	}
	return int(n), err
}

// orShort returns err, or that the structure is too short.
func orShort(err error, d Directory, what string) error {
	if err != nil {
		return err
	}
	return &FormatError{Off: int64(d.RVA), What: fmt.Sprintf("%s of only %d bytes", what, d.Size)}
}

// strict gives either a result or an error.
func strict[T any](v T, err error) (T, error) {
	if err != nil {
		var zero T
		return zero, err
	}
	return v, nil
}

func location(b []byte) Location {
	return Location{binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])}
}

// stringReader reads the strings of one stream. Several entries may name one string,
// and a damaged dump may name many overlapping ones: it reads each once and
// stops at maxText bytes.
type stringReader struct {
	r    *Reader
	seen map[int64]string
	left int
}

func (r *Reader) strings() *stringReader {
	return &stringReader{r: r, seen: map[int64]string{}, left: int(min(maxText, r.size))}
}

// at returns the MINIDUMP_STRING at an RVA; an RVA of 0 is no string.
func (s *stringReader) at(rva int64) (string, error) {
	if rva == 0 {
		return "", nil
	}
	if t, ok := s.seen[rva]; ok {
		return t, nil
	}
	b, err := s.r.bytes(rva, 4)
	if err != nil {
		return "", fmt.Errorf("read string: %w", err)
	}
	if len(b) < 4 {
		return "", &FormatError{Off: rva, What: "string", Err: io.ErrUnexpectedEOF}
	}
	n := binary.LittleEndian.Uint32(b)
	if n > 1<<16 || n%2 != 0 || int(n) > s.left {
		return "", &FormatError{Off: rva, What: fmt.Sprintf("string of %d bytes", n)}
	}
	if b, err = s.r.bytes(rva+4, int(n)); err != nil {
		return "", fmt.Errorf("read string: %w", err)
	}
	if len(b) < int(n) {
		return "", &FormatError{Off: rva, What: fmt.Sprintf("string of %d bytes", n), Err: io.ErrUnexpectedEOF}
	}
	s.left -= int(n)
	t := text16(b)
	s.seen[rva] = t
	return t, nil
}

// text16 decodes UTF-16 up to its first NUL.
func text16(b []byte) string {
	u := make([]uint16, 0, len(b)/2)
	for ; len(b) >= 2; b = b[2:] {
		c := binary.LittleEndian.Uint16(b)
		if c == 0 {
			break
		}
		u = append(u, c)
	}
	return string(utf16.Decode(u))
}
