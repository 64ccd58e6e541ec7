package zseek

import "encoding/binary"

// Frames made here, without an encoder, all have the same header: a single
// segment (no window) and a content size of four bytes.
//
//	magic u32 │ 0xA0 │ content size u32 │ blocks …
//
// A block is a header of three bytes, whose bits are last:1 type:2 size:21,
// and its content: size bytes when raw, one byte to be repeated size times
// when RLE.
const (
	frameHeaderSize = 9
	blockHeaderSize = 3
	rleBlockSize    = blockHeaderSize + 1

	// frameDescriptor: Frame_Content_Size_flag 2 (four bytes), Single_Segment_flag.
	frameDescriptor = 2<<6 | 1<<5

	// maxBlockSize is Block_Maximum_Size for any window of at least that size.
	maxBlockSize = 128 << 10
)

// Block types (RFC 8878 §3.1.1.2.2).
const (
	rawBlock = 0
	rleBlock = 1
)

// maxFrameSize bounds Options.FrameSize: readers hold a frame whole, and a
// single segment's window is its size.
const maxFrameSize = maxChunk

// blockCount is the number of blocks that n > 0 bytes need.
func blockCount(n int64) int64 { return (n + maxBlockSize - 1) / maxBlockSize }

// rawFrameLen is the length of a frame that stores n bytes.
func rawFrameLen(n int64) int64 { return frameHeaderSize + blockHeaderSize*blockCount(n) + n }

// zeroFrameLen is the length of a frame that stands for n zeros.
func zeroFrameLen(n int64) int64 { return frameHeaderSize + rleBlockSize*blockCount(n) }

func appendFrameHeader(dst []byte, size int) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, zstdMagicNumber)
	dst = append(dst, frameDescriptor)
	return binary.LittleEndian.AppendUint32(dst, uint32(size))
}

func appendBlockHeader(dst []byte, kind, size int, last bool) []byte {
	h := uint32(size)<<3 | uint32(kind)<<1
	if last {
		h |= 1
	}
	return append(dst, byte(h), byte(h>>8), byte(h>>16))
}

// appendZeroFrame appends a frame of n > 0 zeros.
func appendZeroFrame(dst []byte, n int) []byte {
	dst = appendFrameHeader(dst, n)
	for n > 0 {
		size := min(n, maxBlockSize)
		n -= size
		dst = appendBlockHeader(dst, rleBlock, size, n == 0)
		dst = append(dst, 0)
	}
	return dst
}
