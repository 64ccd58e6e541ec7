package diskdump

import (
	"bytes"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"

	"procdump/kdump/internal/zstdpage"
	"procdump/kdump/lzo1x"
)

// zstdDecoder is made on first use and shared by all readers: DecodeAll may be
// called by several goroutines, and never gives more than the capacity of its
// destination.
var zstdDecoder = sync.OnceValues(func() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderLowmem(true), zstd.WithDecodeAllCapLimit(true),
		zstd.WithDecoderMaxWindow(8<<20))
})

// zlibReader is a decompressor kept for the next page.
type zlibReader struct {
	src bytes.Reader
	z   io.ReadCloser
}

var zlibReaders = sync.Pool{New: func() any { return new(zlibReader) }}

func (z *zlibReader) decode(dst, src []byte) (int, error) {
	z.src.Reset(src)
	var err error
	if z.z == nil {
		z.z, err = zlib.NewReader(&z.src)
	} else {
		err = z.z.(zlib.Resetter).Reset(&z.src, nil)
	}
	if err != nil {
		return 0, err
	}
	return io.ReadFull(z.z, dst)
}

// decode decompresses a page as its descriptor's flags say. dst is exactly one
// page.
func decode(dst, src []byte, flags uint32) error {
	var n int
	var err error
	switch flags & compressionMask {
	case 0:
		n = copy(dst, src)
		if len(src) != len(dst) {
			n = len(src)
		}
	case DUMP_DH_COMPRESSED_ZLIB:
		z := zlibReaders.Get().(*zlibReader)
		n, err = z.decode(dst, src)
		z.src.Reset(nil)
		zlibReaders.Put(z)
	case DUMP_DH_COMPRESSED_LZO:
		n, err = lzo1x.Decompress(dst, src)
	case DUMP_DH_COMPRESSED_SNAPPY:
		if n, err = s2.DecodedLen(src); err == nil && n == len(dst) {
			_, err = s2.Decode(dst, src)
		}
	case DUMP_DH_COMPRESSED_ZSTD:
		var d *zstd.Decoder
		if d, err = zstdDecoder(); err == nil {
			var out []byte
			out, err = d.DecodeAll(src, dst[:0:len(dst)])
			n = len(out)
		}
	default:
		return fmt.Errorf("page flags %#x name two compressions", flags)
	}
	if err != nil {
		return err
	}
	if n != len(dst) {
		return fmt.Errorf("page decompresses to %d bytes, not %d", n, len(dst))
	}
	return nil
}

// encoder compresses pages; each worker has its own.
type encoder struct {
	c    Compression
	zlib *zlib.Writer
	buf  bytes.Buffer
	zstd *zstd.Encoder
	fast *zstdpage.Encoder // instead of zstd
}

// zlibLevel makes dumps as small as makedumpfile -c does, within 3 %; level 1
// takes 0.75 of the time and is 11 % bigger.
const zlibLevel = 6

// newEncoder returns an encoder. Fast trades size for time.
func newEncoder(c Compression, pageSize int, fast bool) (*encoder, error) {
	e := &encoder{c: c}
	var err error
	level := zlibLevel
	if fast {
		level = zlib.BestSpeed
	}
	switch c {
	case Stored, Snappy:
	case Zlib:
		e.zlib, err = zlib.NewWriterLevel(&e.buf, level)
	case Zstd:
		if fast {
			e.fast = new(zstdpage.Encoder)
			break
		}
		e.zstd, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest),
			zstd.WithEncoderCRC(false), zstd.WithWindowSize(pageSize), zstd.WithSingleSegment(true), zstd.WithLowerEncoderMem(true))
	default:
		_, err = ParseCompression(c.String())
	}
	return e, err
}

// maxEncoded is the room that encode needs behind dst.
func maxEncoded(pageSize int) int { return s2.MaxEncodedLen(pageSize) + 64 }

// encode appends page to dst, compressed if that makes it smaller, and returns
// the descriptor's flags. dst has room for maxEncoded more bytes.
func (e *encoder) encode(dst, page []byte) ([]byte, uint32, error) {
	n := len(dst)
	switch e.c {
	case Zlib:
		e.buf.Reset()
		e.zlib.Reset(&e.buf)
		if _, err := e.zlib.Write(page); err != nil {
			return dst, 0, err
		}
		if err := e.zlib.Close(); err != nil {
			return dst, 0, err
		}
		if e.buf.Len() < len(page) {
			return append(dst, e.buf.Bytes()...), uint32(e.c), nil
		}
	case Snappy:
		out := s2.EncodeSnappy(dst[n:cap(dst)], page)
		if len(out) < len(page) {
			return dst[:n+len(out)], uint32(e.c), nil
		}
	case Zstd:
		if e.fast != nil {
			if out, ok := e.fast.Encode(dst, page); ok {
				return out, uint32(e.c), nil
			}
			break
		}
		dst = e.zstd.EncodeAll(page, dst)
		if len(dst)-n < len(page) {
			return dst, uint32(e.c), nil
		}
	}
	return append(dst[:n], page...), 0, nil
}
