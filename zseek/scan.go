package zseek

import (
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/klauspost/compress/zstd"
)

// maxScanned bounds the memory of a frameList. Only files made of very many
// tiny frames, for which a seek table exists, have more.
const maxScanned = 1 << 20

// scanner finds the frames of a file without decoding them.
type scanner struct {
	r    io.ReaderAt
	size int64
	buf  []byte // bytes of the file from at
	at   int64
	room [64 << 10]byte
}

// scan lists the frames that hold something, and the size of the content.
func scan(r io.ReaderAt, size int64) (frameList, int64, error) {
	s := &scanner{r: r, size: size}
	var list frameList
	var content int64
	for off := int64(0); off < size; {
		f, err := s.frame(off)
		if err == nil && f.len > math.MaxInt64-content {
			err = fmt.Errorf("%w: sizes overflow", ErrCorrupt)
		}
		if err == nil && len(list) == maxScanned {
			err = fmt.Errorf("more than %d frames and no seek table", maxScanned)
		}
		if err != nil {
			return nil, 0, fmt.Errorf("scan zstd frame at %#x: %w", off, err)
		}
		if f.len > 0 {
			f.start = content
			content += f.len
			list = append(list, f)
		}
		off += f.size
	}
	return list, content, nil
}

// frame finds the extent of the frame at off.
func (s *scanner) frame(off int64) (frame, error) {
	b, err := s.peek(off, zstd.HeaderMaxSize)
	if err != nil {
		return frame{}, err
	}
	var h zstd.Header
	switch err := h.Decode(b); {
	case errors.Is(err, zstd.ErrMagicMismatch) && off == 0:
		return frame{}, ErrFormat
	case err != nil:
		return frame{}, fmt.Errorf("%w: %v", ErrCorrupt, err)
	case h.Skippable:
		f := frame{off: off, size: int64(h.HeaderSize) + int64(h.SkippableSize)}
		if f.size > s.size-off {
			return frame{}, fmt.Errorf("%w: cut short", ErrCorrupt)
		}
		return f, nil
	case !h.HasFCS:
		return frame{}, ErrNoSize
	case h.FrameContentSize > math.MaxInt64:
		return frame{}, fmt.Errorf("%w: content size %#x", ErrCorrupt, h.FrameContentSize)
	}
	end, err := s.blocks(off + int64(h.HeaderSize))
	if err != nil {
		return frame{}, err
	}
	if h.HasCheckSum {
		end += 4
	}
	if end > s.size {
		return frame{}, fmt.Errorf("%w: cut short", ErrCorrupt)
	}
	return frame{off: off, size: end - off, len: int64(h.FrameContentSize)}, nil
}

// blocks walks the blocks from off to the last and returns where that ends.
func (s *scanner) blocks(off int64) (end int64, err error) {
	for {
		b, err := s.peek(off, blockHeaderSize)
		if err != nil {
			return 0, err
		}
		if len(b) < blockHeaderSize {
			return 0, fmt.Errorf("%w: cut short", ErrCorrupt)
		}
		h := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16
		size := int64(h >> 3)
		if h>>1&3 == rleBlock {
			size = 1
		}
		off += blockHeaderSize + size
		if h&1 != 0 {
			return off, nil
		}
	}
}

// peek returns up to n bytes at off, fewer at the end of the file only.
func (s *scanner) peek(off int64, n int) ([]byte, error) {
	n = int(min(int64(n), max(s.size-off, 0)))
	if off < s.at || off+int64(n) > s.at+int64(len(s.buf)) {
		s.at, s.buf = off, s.room[:min(int64(len(s.room)), max(s.size-off, 0))]
		if err := readFull(s.r, s.buf, off); err != nil {
			s.buf = nil
			return nil, err
		}
	}
	return s.buf[off-s.at:][:n], nil
}
