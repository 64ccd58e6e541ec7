// Package lime reads images of physical memory as LiME and AVML make them.
//
// Both are a row of ranges, each behind a header of 32 bytes:
//
//	u32 magic, u32 version, u64 first address, u64 last address, u64 0
//
// LiME's magic is "EMiL" with version 1, and the range follows as it is; AVML
// without compression writes the same. With compression, AVML's magic is
// "AVML" with version 2, the range follows as a Snappy stream in frames, and
// behind it a u64 with the compressed size. Ranges of AVML have at most
// 16 MiB.
//
// Such images hold memory and nothing else: no registers, no VMCOREINFO.
//
// Specification: LiME's doc/README.md, AVML's src/image.rs, snappy's
// framing_format.txt. Not read: LiME's "padded" and "raw" forms, which have no
// header.
package lime

import (
	"fmt"

	"procdump/kdump"
)

const (
	limeMagic = "EMiL"
	avmlMagic = "AVML"

	limeVersion = 1
	avmlVersion = 2

	headerSize  = 32
	trailerSize = 8
)

// defaultPageSize is what images are taken to have; they do not tell.
const defaultPageSize = 4096

// maxRanges bounds how many ranges are kept.
const maxRanges = 1 << 20

// Match tells whether a file that begins with head is an image of LiME or AVML.
func Match(head []byte) bool {
	if len(head) < 8 || head[5] != 0 || head[6] != 0 || head[7] != 0 {
		return false
	}
	switch string(head[:4]) {
	case limeMagic:
		return head[4] == limeVersion
	case avmlMagic:
		return head[4] == avmlVersion
	}
	return false
}

func bad(format string, off int64, what string, args ...any) error {
	return &kdump.FormatError{Format: format, Off: off, What: fmt.Sprintf(what, args...)}
}
