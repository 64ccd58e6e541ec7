package windump

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"sync"
)

// Offsets in the header of a bitmap: the form with 64-bit fields (Windows 8
// and later), and the older one.
const (
	bitmapFirst  = 0x20
	bitmapSet    = 0x28
	bitmapCount  = 0x30
	bitmapBits   = 0x38
	summaryFirst = 0x0c
	summaryCount = 0x10
	summarySet   = 0x14
	summaryBits  = 0x28
	summaryBit32 = 0x20
)

const (
	blockSize  = 4096 // bytes of the bitmap that are looked at together
	blockPages = blockSize * 8
	blockCache = 16
)

// bitmapIndex answers from the bitmap in the file: of each block it remembers
// how many bits are set before it, 8 bytes for 128 MiB of memory.
type bitmapIndex struct {
	r     *Reader
	bits  int64    // file offset
	count uint64   // bits
	first int64    // file offset of the first page
	ranks []uint64 // pages before block i; one more than there are blocks

	mu    sync.Mutex
	cache [blockCache]struct {
		block uint64
		b     []byte
	}
}

// bitmapPages is the index of a dump with a bitmap; ok says that its magic
// number is there.
func (r *Reader) bitmapPages(ok bool) (pageIndex, error) {
	base := int64(r.layout.size)
	if !ok {
		return nil, damaged(base, "no header of a bitmap (SDMP or FDMP)")
	}
	b, err := r.exactly(base, bitmapBits, "bitmap's header")
	if err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	x, set := r.newBitmap(base+bitmapBits, le.Uint64(b[bitmapFirst:]), le.Uint64(b[bitmapCount:])), le.Uint64(b[bitmapSet:])
	if x == nil {
		bits := int64(summaryBits)
		if r.layout.ptr == 4 {
			bits = summaryBit32
		}
		x = r.newBitmap(base+bits, uint64(le.Uint32(b[summaryFirst:])), uint64(le.Uint32(b[summaryCount:])))
		set = uint64(le.Uint32(b[summarySet:]))
	}
	if x == nil {
		return nil, damaged(base, "bitmap's header")
	}
	if err := x.count1(); err != nil {
		return nil, err
	}
	if n := x.ranks[len(x.ranks)-1]; n != set {
		r.Header.Warning = fmt.Sprintf("the bitmap has %d pages, its header says %d", n, set)
	}
	return x, nil
}

// newBitmap returns nil if these cannot be the fields of a bitmap: the bits lie
// between the header and the first page.
func (r *Reader) newBitmap(bitsAt int64, first, count uint64) *bitmapIndex {
	if first > uint64(r.size) || int64(first) < bitsAt || count == 0 || count > maxPFN || (count+7)/8 > first-uint64(bitsAt) {
		return nil
	}
	return &bitmapIndex{r: r, bits: bitsAt, count: count, first: int64(first)}
}

func (x *bitmapIndex) blocks() uint64 { return (x.count + blockPages - 1) / blockPages }

// read returns a block with zeros behind the end of the bitmap.
func (x *bitmapIndex) read(block uint64, b []byte) error {
	n := min(blockPages, x.count-block*blockPages)
	k, err := x.r.readFile(b[:(n+7)/8], x.bits+int64(block*blockSize))
	if err != nil {
		return fmt.Errorf("read bitmap: %w", err)
	}
	clear(b[k:])
	if n%8 != 0 {
		b[n/8] &= 1<<(n%8) - 1
	}
	return nil
}

// count1 counts the bits of every block.
func (x *bitmapIndex) count1() error {
	b := make([]byte, blockSize)
	x.ranks = make([]uint64, 1, x.blocks()+1)
	var n uint64
	for i := range x.blocks() {
		if err := x.read(i, b); err != nil {
			return err
		}
		n += ones(b)
		x.ranks = append(x.ranks, n)
	}
	return nil
}

// ones counts the bits set in b, whose length is a multiple of 8.
func ones(b []byte) uint64 {
	var n int
	for ; len(b) >= 8; b = b[8:] {
		n += bits.OnesCount64(binary.LittleEndian.Uint64(b))
	}
	return uint64(n)
}

// block returns a block that must not be changed.
func (x *bitmapIndex) block(i uint64) ([]byte, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	e := &x.cache[i%blockCache]
	if e.b != nil && e.block == i {
		return e.b, nil
	}
	b := make([]byte, blockSize) // not the old one: another goroutine may use it
	if err := x.read(i, b); err != nil {
		return nil, err
	}
	e.block, e.b = i, b
	return b, nil
}

// word returns the 64 bits from bit 64*i of a block on.
func word(b []byte, i uint64) uint64 { return binary.LittleEndian.Uint64(b[i*8:]) }

// span returns how many bits from bit in of a block on equal that of v.
func span(b []byte, in uint64, v bool) uint64 {
	var flip uint64
	if v {
		flip = ^uint64(0)
	}
	for at := in; at < blockPages; at = (at/64 + 1) * 64 {
		if w := (word(b, at/64) ^ flip) >> (at % 64); w != 0 {
			return at + uint64(bits.TrailingZeros64(w)) - in
		}
	}
	return blockPages - in
}

func (x *bitmapIndex) find(pfn uint64) (int64, uint64, error) {
	if pfn >= x.count {
		return 0, 0, nil
	}
	i, in := pfn/blockPages, pfn%blockPages
	if x.ranks[i] == x.ranks[i+1] {
		return 0, 0, nil
	}
	b, err := x.block(i)
	if err != nil {
		return 0, 0, err
	}
	count := span(b, in, true)
	if count == 0 {
		return 0, 0, nil
	}
	rank := x.ranks[i] + ones(b[:in/64*8]) + uint64(bits.OnesCount64(word(b, in/64)&(1<<(in%64)-1)))
	return x.first + int64(rank<<pageShift), count, nil
}

func (x *bitmapIndex) next(pfn uint64) (first, count uint64, err error) {
	for pfn < x.count {
		i, in := pfn/blockPages, pfn%blockPages
		if x.ranks[i] == x.ranks[i+1] {
			pfn = (i + 1) * blockPages
			continue
		}
		b, err := x.block(i)
		if err != nil {
			return 0, 0, err
		}
		in += span(b, in, false)
		if in < blockPages {
			return i*blockPages + in, span(b, in, true), nil
		}
		pfn = (i + 1) * blockPages
	}
	return 0, 0, nil
}

func (x *bitmapIndex) end() uint64 { return x.count }
