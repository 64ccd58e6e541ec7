package lime

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"sort"

	"github.com/klauspost/compress/s2"
)

// Chunk types of a Snappy stream in frames. A chunk is a type byte, a 24-bit
// length, and that many bytes; those of data begin with a CRC-32C of the
// uncompressed data, masked.
const (
	chunkCompressed = 0x00
	chunkStored     = 0x01
	chunkSkippable  = 0x80 // and above
	chunkIdentifier = 0xff

	chunkHeader = 4
	crcSize     = 4
	// maxChunk is how much a chunk holds uncompressed, in bytes.
	maxChunk = 65536
	// chunkCache is how many uncompressed chunks are kept.
	chunkCache = 64
	// pointSpan is how much memory lies between two points of an index.
	pointSpan = 1 << 20
)

// point says where in the file the chunk begins that holds an offset of the
// range.
type point struct {
	in  uint64 // offset in the range
	off int64  // in the file
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var (
	errFrame = errors.New("not a Snappy frame")
	errCRC   = errors.New("checksum of a Snappy frame does not fit")
)

// chunk is the header of a chunk of data.
type chunk struct {
	typ  byte
	off  int64 // of what follows the CRC
	size int64 // of that
	data int   // uncompressed size
	crc  uint32
	next int64 // the next chunk
}

// readChunk reads the header of the next chunk of data at or behind off.
func readChunk(r io.ReaderAt, off int64) (chunk, error) {
	// The longest length of a Snappy block has 5 bytes, that of a chunk 3.
	var b [chunkHeader + crcSize + 3]byte
	for {
		n, err := r.ReadAt(b[:], off)
		if n < chunkHeader {
			return chunk{}, noEOF(err)
		}
		length := int64(b[1]) | int64(b[2])<<8 | int64(b[3])<<16
		next := off + chunkHeader + length
		switch typ := b[0]; {
		case typ >= chunkSkippable:
			off = next
			continue
		case typ > chunkStored, length <= crcSize:
			return chunk{}, errFrame
		case n < chunkHeader+crcSize+1:
			return chunk{}, noEOF(err)
		}
		c := chunk{
			typ: b[0], off: off + chunkHeader + crcSize, size: length - crcSize,
			crc: binary.LittleEndian.Uint32(b[chunkHeader:]), next: next,
		}
		c.data = int(c.size)
		if c.typ == chunkCompressed {
			v, k := binary.Uvarint(b[chunkHeader+crcSize : n])
			if k <= 0 {
				return chunk{}, errFrame
			}
			c.data = int(min(v, maxChunk+1))
		}
		if c.data == 0 || c.data > maxChunk || c.size > maxChunk+maxChunk/4 {
			return chunk{}, errFrame
		}
		return c, nil
	}
}

func noEOF(err error) error {
	if err == nil || err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// scan makes the index of a compressed range, and returns the file offset
// behind the range's trailer.
func (e *extent) scan(r io.ReaderAt, size int64) (end int64, err error) {
	off, in := e.off, uint64(0)
	e.index = []point{{0, off}}
	for in < e.size {
		c, err := readChunk(r, off)
		if err != nil || c.next > size {
			// The rest reads as damaged, if there is nothing else to go by.
			return size + 1, ignoreFormat(err)
		}
		in += uint64(c.data)
		e.held = in
		off = c.next
		if last := e.index[len(e.index)-1]; in-last.in >= pointSpan && in < e.size {
			e.index = append(e.index, point{in, off})
		}
	}
	if in > e.size {
		return 0, bad("AVML", off, "frames hold %d bytes more than their range", in-e.size)
	}
	return off + trailerSize, nil
}

// ignoreFormat drops errors that mean damaged contents.
func ignoreFormat(err error) error {
	if errors.Is(err, errFrame) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// readFrames reads from offset in of a compressed range on.
func (m *memory) readFrames(e *extent, b []byte, in uint64) (n int, err error) {
	i := sort.Search(len(e.index), func(i int) bool { return e.index[i].in > in }) - 1
	at := e.index[i]
	for n < len(b) {
		c, err := readChunk(m.r, at.off)
		if err != nil {
			return n, err
		}
		if pos := in + uint64(n); pos < at.in+uint64(c.data) {
			data, err := m.chunks.Get(uint64(c.off), func() ([]byte, error) { return c.decode(m.r) })
			if err != nil {
				return n, err
			}
			n += copy(b[n:], data[pos-at.in:])
		}
		at.in += uint64(c.data)
		at.off = c.next
	}
	return n, nil
}

// decode returns the contents of a chunk.
func (c chunk) decode(r io.ReaderAt) ([]byte, error) {
	src := make([]byte, c.size)
	if n, err := r.ReadAt(src, c.off); n < len(src) {
		return nil, noEOF(err)
	}
	dst := src
	if c.typ == chunkCompressed {
		var err error
		if dst, err = s2.Decode(make([]byte, c.data), src); err != nil {
			return nil, err
		}
	}
	crc := crc32.Checksum(dst, castagnoli)
	if crc = (crc>>15 | crc<<17) + 0xa282ead8; crc != c.crc {
		return nil, errCRC
	}
	return dst, nil
}
