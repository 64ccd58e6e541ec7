package diskdump

import (
	"encoding/binary"
	"io"
	"math/bits"

	"procdump/kdump/internal/cache"
)

// bitmapChunk is how much of a bitmap is read and kept at a time: the bits of
// 128 MiB of memory with pages of 4 KiB.
const bitmapChunk = 4096

// bitmapCache is how many chunks of each bitmap stay in memory: those of 128 GiB.
const bitmapCache = 1024

// scanSize is how much of a bitmap is read at a time on opening.
const scanSize = 1 << 20

// bitmap is a bitmap in the file.
type bitmap struct {
	r      io.ReaderAt
	off    int64  // in the file
	bits   uint64 // bits at and beyond this one read as zero
	chunks *cache.Blocks
}

func newBitmap(r io.ReaderAt, off int64, n uint64) *bitmap {
	return &bitmap{r: r, off: off, bits: n, chunks: cache.New(bitmapCache)}
}

// chunk returns the chunk numbered n, cut behind the last bit; its length is a
// multiple of 8.
func (m *bitmap) chunk(n uint64) ([]byte, error) {
	return m.chunks.Get(n, func() ([]byte, error) {
		b := make([]byte, bitmapChunk)
		return b, m.read(b, n*bitmapChunk)
	})
}

// read fills b with the bitmap from byte off on, zeros behind its end.
func (m *bitmap) read(b []byte, off uint64) error {
	size := (m.bits + 7) / 8
	if off >= size {
		clear(b)
		return nil
	}
	n := min(uint64(len(b)), size-off)
	if _, err := io.ReadFull(io.NewSectionReader(m.r, m.off+int64(off), int64(n)), b[:n]); err != nil {
		return err
	}
	clear(b[n:])
	if rest := m.bits % 8; rest != 0 && off+n == size {
		b[n-1] &= 1<<rest - 1
	}
	return nil
}

// scan calls f for each chunk of the bitmap in turn.
func (m *bitmap) scan(f func(number uint64, chunk []byte)) error {
	size := (m.bits + 7) / 8
	b := make([]byte, min(scanSize, (size+bitmapChunk-1)/bitmapChunk*bitmapChunk))
	for off := uint64(0); off < size; off += uint64(len(b)) {
		if err := m.read(b, off); err != nil {
			return err
		}
		for c := 0; c < len(b) && off+uint64(c) < size; c += bitmapChunk {
			f((off+uint64(c))/bitmapChunk, b[c:c+bitmapChunk])
		}
	}
	return nil
}

// test returns bit n.
func (m *bitmap) test(n uint64) (bool, error) {
	if n >= m.bits {
		return false, nil
	}
	c, err := m.chunk(n / (8 * bitmapChunk))
	if err != nil {
		return false, err
	}
	n %= 8 * bitmapChunk
	return c[n/8]>>(n%8)&1 != 0, nil
}

// next returns the first bit at or after n with the given value, or limit.
func (m *bitmap) next(n, limit uint64, set bool) (uint64, error) {
	invert := ^uint64(0)
	if set {
		invert = 0
	}
	for n < limit {
		c, err := m.chunk(n / (8 * bitmapChunk))
		if err != nil {
			return limit, err
		}
		base := n / (8 * bitmapChunk) * (8 * bitmapChunk)
		if i, ok := nextBit(c, n-base, invert); ok {
			return min(base+i, limit), nil
		}
		n = base + 8*bitmapChunk
	}
	return limit, nil
}

// nextBit returns the first bit at or after n in chunk that is set after
// inversion.
func nextBit(chunk []byte, n, invert uint64) (uint64, bool) {
	for ; n/8 < uint64(len(chunk)); n = (n/64 + 1) * 64 {
		w := (binary.LittleEndian.Uint64(chunk[n/64*8:]) ^ invert) >> (n % 64)
		if w != 0 {
			return n + uint64(bits.TrailingZeros64(w)), true
		}
	}
	return 0, false
}

// count returns the number of bits set in the first n bits of chunk.
func count(chunk []byte, n uint64) uint64 {
	var c int
	i := uint64(0)
	for ; i+64 <= n; i += 64 {
		c += bits.OnesCount64(binary.LittleEndian.Uint64(chunk[i/8:]))
	}
	if rest := n % 64; rest != 0 {
		c += bits.OnesCount64(binary.LittleEndian.Uint64(chunk[i/8:]) & (1<<rest - 1))
	}
	return uint64(c)
}
