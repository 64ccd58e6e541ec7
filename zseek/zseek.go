// Package zseek reads and writes seekable zstd files: ordinary zstd files that
// any zstd tool decompresses, cut into independent frames and ended by a seek
// table, so that a reader can begin anywhere.
//
//	frame 0 │ frame 1 │ … │ frame n-1 │ seek table (a skippable frame)
//
//	seek table:  0x184D2A5E u32 │ size of what follows u32
//	             n × { compressed size u32, decompressed size u32 [, checksum u32] }
//	             n u32 │ descriptor u8 │ 0x8F92EAB1 u32
//
// All numbers are little-endian. The format is
// https://github.com/facebook/zstd/blob/dev/contrib/seekable_format/zstd_seekable_compression_format.md,
// that of the frames RFC 8878.
//
// The Writer is made for dumps: its first bytes (the head) may be written last,
// and long runs of zeros cost next to nothing. It writes no checksums. The
// Reader also opens zstd files without a seek table, if each of their frames
// declares its size; dictionaries and windows over 8 MiB are not supported.
package zseek

import (
	"encoding/binary"
	"errors"
	"io"
)

// Magic numbers of RFC 8878 §3.1 and of the seekable format.
const (
	zstdMagicNumber      = 0xFD2FB528
	skippableMagicNumber = 0x184D2A50 // …5F: the low four bits are the user's
	seekTableMagicNumber = 0x184D2A5E
	seekableMagicNumber  = 0x8F92EAB1
)

const (
	seekTableHeaderSize = 8
	seekTableFooterSize = 9
	seekTableEntrySize  = 8

	// maxFrames is ZSTD_SEEKABLE_MAXFRAMES of the reference implementation.
	maxFrames = 0x8000000
)

var (
	// ErrFormat tells that the file is not zstd at all.
	ErrFormat = errors.New("zseek: not a zstd file")
	// ErrCorrupt tells that the file is damaged or cut short.
	ErrCorrupt = errors.New("zseek: corrupt zstd file")
	// ErrNoSize tells that the file has no seek table and a frame that does
	// not declare its size, as when zstd compressed a pipe: nothing tells
	// where in the file a given byte is.
	ErrNoSize = errors.New("zseek: zstd frame without declared size: decompress the file first (zstd -d)")
	// ErrAborted is what a Writer's methods return after Abort.
	ErrAborted = errors.New("zseek: writer aborted")
)

// Detect tells whether r begins as a zstd file does.
func Detect(r io.ReaderAt) bool {
	var b [4]byte
	if n, _ := r.ReadAt(b[:], 0); n < len(b) {
		return false
	}
	m := binary.LittleEndian.Uint32(b[:])
	return m == zstdMagicNumber || m&^0xF == skippableMagicNumber
}
