// Package diskdump reads and writes kdump-compressed files, the format of
// makedumpfile, QEMU's dump-guest-memory -z/-l/-s, and crash.
//
// Everything is counted in blocks of the dumped kernel's page size:
//
//	block 0           disk_dump_header: "KDUMP   ", version, utsname, sizes
//	block 1…          kdump_sub_header (sub_hdr_size blocks), notes, VMCOREINFO
//	bitmap 1          a bit per page frame: is RAM
//	bitmap 2          a bit per page frame: is in the file
//	page descriptors  24 bytes per bit set in bitmap 2, in ascending order
//	page data         anywhere; several descriptors may share one page
//
// Both bitmaps have bitmap_blocks/2 blocks, least significant bit first. A
// descriptor is {u64 offset, u32 size, u32 flags, u64 page_flags}; flags say
// how the page is compressed. Numbers are little-endian here: the machines
// procdump knows are.
//
// Specification: makedumpfile's IMPLEMENTATION file and diskdump_mod.h. Not
// read: the DISKDUMP format of before 2006, big-endian machines, LZO's RLE
// variant. Not written: LZO.
package diskdump

import (
	"errors"
	"fmt"

	"procdump/kdump"
)

// Signature is how a file begins.
const Signature = "KDUMP   "

// Bits of a page descriptor's flags and of the header's status
// (makedumpfile's diskdump_mod.h).
const (
	DUMP_DH_COMPRESSED_ZLIB       = 0x1
	DUMP_DH_COMPRESSED_LZO        = 0x2
	DUMP_DH_COMPRESSED_SNAPPY     = 0x4
	DUMP_DH_COMPRESSED_INCOMPLETE = 0x8  // header only: space ran out
	DUMP_DH_EXCLUDED_VMEMMAP      = 0x10 // header only: parts of vmemmap left out
	DUMP_DH_COMPRESSED_ZSTD       = 0x20

	compressionMask = DUMP_DH_COMPRESSED_ZLIB | DUMP_DH_COMPRESSED_LZO |
		DUMP_DH_COMPRESSED_SNAPPY | DUMP_DH_COMPRESSED_ZSTD
)

// version is the header version written: 6, which has 64-bit page numbers.
const version = 6

// descSize is the size of a page descriptor in bytes.
const descSize = 24

// format is the format's name in errors.
const format = "kdump-compressed"

// Compression says how the writer stores pages.
type Compression uint32

// Compressions that the writer offers.
const (
	Stored Compression = 0
	Zlib   Compression = DUMP_DH_COMPRESSED_ZLIB
	Snappy Compression = DUMP_DH_COMPRESSED_SNAPPY
	Zstd   Compression = DUMP_DH_COMPRESSED_ZSTD
)

// String returns "none", "zlib", "snappy" or "zstd".
func (c Compression) String() string {
	switch c {
	case Stored:
		return "none"
	case Zlib:
		return "zlib"
	case Snappy:
		return "snappy"
	case Zstd:
		return "zstd"
	}
	return fmt.Sprintf("Compression(%#x)", uint32(c))
}

// nameError is about a method that there is not. It is errors.ErrUnsupported.
type nameError struct{ name string }

func (e *nameError) Error() string {
	return fmt.Sprintf("unknown compression %q: choose none, zlib, snappy or zstd", e.name)
}

func (e *nameError) Unwrap() error { return errors.ErrUnsupported }

// ParseCompression is the opposite of Compression.String.
func ParseCompression(s string) (Compression, error) {
	for _, c := range []Compression{Stored, Zlib, Snappy, Zstd} {
		if s == c.String() {
			return c, nil
		}
	}
	return 0, &nameError{s}
}

// bad returns a FormatError.
func bad(off int64, what string, args ...any) error {
	return &kdump.FormatError{Format: format, Off: off, What: fmt.Sprintf(what, args...)}
}

// Match tells whether a file that begins with head is of this format.
func Match(head []byte) bool {
	return len(head) >= len(Signature) && string(head[:len(Signature)]) == Signature
}
