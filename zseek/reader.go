package zseek

import (
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

const (
	// maxChunk bounds what is decoded at a time. A frame up to this size is a
	// chunk; a larger one is decoded as a stream and chunked.
	maxChunk = 4 << 20

	// maxWindow is what RFC 8878 §3.1.1.1.2 recommends to support, and enough
	// for zstd's levels up to 19.
	maxWindow = 8 << 20

	// unpackers is the number of frames decoded at the same time.
	unpackers = 2

	// overAlloc lets the decoder copy past the end in its fast loops.
	overAlloc = 64
)

// Reader reads the content of a zstd file at any position. It holds at most
// some 50 MiB, whatever the file claims.
//
// Frames larger than 4 MiB are decoded from their start, or onward from where
// the last such read stopped: reading such a file backwards is slow.
type Reader struct {
	r       io.ReaderAt
	size    int64
	index   index
	cache   cache
	free    chan *unpacker
	streams chan *stream // holds the one there is, when not in use
}

// NewReader opens the zstd file r of size bytes. It reads the seek table, or
// where there is none the headers of all frames; content is decoded, and so
// checked, when it is read. The error is ErrFormat, ErrCorrupt, ErrNoSize or
// one from r.
func NewReader(r io.ReaderAt, size int64) (*Reader, error) {
	if size <= 0 || !Detect(r) {
		return nil, ErrFormat
	}
	z := &Reader{r: r, free: make(chan *unpacker, unpackers), streams: make(chan *stream, 1)}
	z.cache.change.L = &z.cache.mu
	for range unpackers {
		z.free <- new(unpacker)
	}
	z.streams <- new(stream)
	t, content, err := openSeekTable(r, size)
	if err != nil {
		return nil, err
	}
	if t != nil {
		z.index, z.size = t, content
		return z, nil
	}
	list, content, err := scan(r, size)
	if err != nil {
		return nil, err
	}
	z.index, z.size = list, content
	return z, nil
}

// Size is the size of the content.
func (z *Reader) Size() int64 { return z.size }

// ReadAt implements io.ReaderAt on the content. It may be called by several
// goroutines at once.
func (z *Reader) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("zseek: read at negative offset %d", off)
	}
	for n < len(p) {
		if off >= z.size {
			return n, io.EOF
		}
		k, err := z.chunk(off)
		if err != nil {
			return n, fmt.Errorf("read zstd content at %#x: %w", off, err)
		}
		m := copy(p[n:], k.buf[off-k.start:])
		z.cache.release(k)
		n += m
		off += int64(m)
	}
	return n, nil
}

// chunk returns the decoded chunk that holds byte off, to be released.
func (z *Reader) chunk(off int64) (*chunk, error) {
	var f frame
	where := func() (start, size int64, err error) {
		if f, err = z.index.find(off); err != nil {
			return 0, 0, err
		}
		start = f.start + (off-f.start)/maxChunk*maxChunk
		return start, min(maxChunk, f.start+f.len-start), nil
	}
	return z.cache.acquire(off, where, func(k *chunk) error {
		if int64(cap(k.buf)) < k.len+overAlloc {
			k.buf = make([]byte, k.len+overAlloc)
		}
		k.buf = k.buf[:k.len]
		// A sane encoder never makes a frame larger by more than its headers.
		if f.len <= maxChunk && f.size <= f.len+f.len/64+4096 {
			return z.unpack(f, k.buf)
		}
		s := <-z.streams
		defer func() { z.streams <- s }()
		return s.read(z.r, f, k.start, k.buf)
	})
}

func (z *Reader) unpack(f frame, p []byte) error {
	u := <-z.free
	defer func() { z.free <- u }()
	return u.unpack(z.r, f, p)
}

// unpacker decodes whole frames.
type unpacker struct {
	dec *zstd.Decoder
	in  []byte
}

// unpack fills p, which has the frame's size and some capacity more.
func (u *unpacker) unpack(r io.ReaderAt, f frame, p []byte) (err error) {
	if u.dec == nil {
		if u.dec, err = newDecoder(zstd.WithDecodeAllCapLimit(true)); err != nil {
			return err
		}
	}
	if int64(cap(u.in)) < f.size {
		u.in = make([]byte, f.size)
	}
	u.in = u.in[:f.size]
	if err := readFull(r, u.in, f.off); err != nil {
		return err
	}
	out, err := u.dec.DecodeAll(u.in, p[:0])
	if err != nil {
		return decodeError(err)
	}
	if len(out) != len(p) {
		return fmt.Errorf("%w: frame of %d bytes, not %d", ErrCorrupt, len(out), len(p))
	}
	return nil
}

// newDecoder returns one that starts no goroutines and needs no Close.
func newDecoder(opts ...zstd.DOption) (*zstd.Decoder, error) {
	opts = append(opts, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
	dec, err := zstd.NewReader(nil, opts...)
	if err != nil {
		return nil, fmt.Errorf("zseek: make decoder: %w", err)
	}
	return dec, nil
}

// decodeError tells what this package does not do from what is damaged.
func decodeError(err error) error {
	switch {
	case errors.Is(err, zstd.ErrWindowSizeExceeded):
		return errWindow
	case errors.Is(err, zstd.ErrUnknownDictionary):
		return fmt.Errorf("zstd dictionary: %w", errors.ErrUnsupported)
	}
	return fmt.Errorf("%w: %v", ErrCorrupt, err)
}

var errWindow = fmt.Errorf("zstd window over %d MiB (made with --long or --ultra?): %w", maxWindow>>20, errors.ErrUnsupported)
