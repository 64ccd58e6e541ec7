package image

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
	"slices"

	"github.com/ulikunitz/xz/lzma"
)

const (
	maxXZDict    = 64 << 20 // bytes of the dictionary of a block: what xz -9 takes
	maxAllXZDict = 4 << 30  // of all blocks of a process, one after the other
)

var errXZ = errors.New("malformed xz file")

// unxz decompresses the first stream of an xz file, of at most limit bytes, and
// takes the memory of its dictionaries from left. The file's blocks are found
// here and not by package xz, which makes a dictionary as large as each of them
// asks for, up to 4 GiB (https://tukaani.org/xz/xz-file-format.txt):
//
//	stream: 6 bytes of magic, 0, the check's type, CRC-32; blocks; 0 and the index
//	block:  header, LZMA2 chunks, zeros to a multiple of four bytes, check
func unxz(b []byte, limit uint64, left *uint64) ([]byte, error) {
	const head = 12
	if len(b) < head || !bytes.HasPrefix(b, []byte("\xfd7zXZ\x00\x00")) {
		return nil, errXZ
	}
	check := b[7] & 0xf
	var out bytes.Buffer
	for at := head; ; {
		if at >= len(b) {
			return nil, io.ErrUnexpectedEOF
		}
		if b[at] == 0 { // the index
			return out.Bytes(), nil
		}
		size, dictionary, err := xzBlock(b[at:])
		if err != nil {
			return nil, err
		}
		switch {
		case dictionary > maxXZDict:
			return nil, fmt.Errorf("a dictionary of %d MiB is too large", dictionary>>20)
		case dictionary > *left:
			return nil, errors.New("its dictionaries and those of the other files are too large")
		}
		*left -= dictionary
		packed := bytes.NewReader(b[at+size:])
		z, err := lzma.Reader2Config{DictCap: int(dictionary)}.NewReader2(packed)
		if err != nil {
			return nil, err
		}
		before := out.Len()
		if _, err := out.ReadFrom(io.LimitReader(z, int64(limit)-int64(before)+1)); err != nil {
			return nil, err
		}
		if uint64(out.Len()) > limit {
			return nil, fmt.Errorf("it has more than %d MiB", limit>>20)
		}
		at = (len(b) - packed.Len() + 3) &^ 3
		n := xzCheckSizes[check]
		if at+n > len(b) {
			return nil, io.ErrUnexpectedEOF
		}
		if !xzIntact(check, out.Bytes()[before:], b[at:at+n]) {
			return nil, fmt.Errorf("%w: checksum of a block", errXZ)
		}
		at += n
	}
}

// xzBlock reads the header of a block, whose first byte is not 0, and returns its
// size and that of the dictionary, in bytes. It must have one filter, LZMA2:
//
//	u8 size/4-1, flags; sizes, as the flags say; 0x21, 1, dictionary; zeros; CRC-32
func xzBlock(b []byte) (size int, dictionary uint64, err error) {
	size = 4 * (int(b[0]) + 1)
	if size > len(b) {
		return 0, 0, io.ErrUnexpectedEOF
	}
	const packedStated, sizeStated, checksum = 0x40, 0x80, 4
	if size < 2+3+checksum || crc32.ChecksumIEEE(b[:size-checksum]) != binary.LittleEndian.Uint32(b[size-checksum:size]) {
		return 0, 0, fmt.Errorf("%w: header of a block", errXZ)
	}
	flags, rest := b[1], b[2:size-checksum]
	for _, stated := range []byte{packedStated, sizeStated} {
		if flags&stated == 0 {
			continue
		}
		_, n := binary.Uvarint(rest)
		if n <= 0 {
			return 0, 0, fmt.Errorf("%w: sizes of a block", errXZ)
		}
		rest = rest[n:]
	}
	const lzma2, largest = 0x21, 40
	if flags&^(packedStated|sizeStated) != 0 || len(rest) < 3 || rest[0] != lzma2 || rest[1] != 1 || rest[2] > largest {
		return 0, 0, errors.New("an xz file with other filters than LZMA2")
	}
	bits := uint64(rest[2])
	return size, (2 | bits&1) << (bits/2 + 11), nil
}

// xzCheckSizes are the sizes of the checks, in bytes, by their type.
var xzCheckSizes = [16]int{0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64}

// xzIntact tells whether a block has its checksum; types that xz does not write
// unless it is told to are passed over.
func xzIntact(check byte, text, want []byte) bool {
	var sum hash.Hash
	switch check {
	case 1:
		sum = crc32.NewIEEE()
	case 4:
		sum = crc64.New(crc64.MakeTable(crc64.ECMA))
	default:
		return true
	}
	sum.Write(text)
	have := sum.Sum(nil)
	slices.Reverse(have) // it is there in little-endian order
	return bytes.Equal(have, want)
}
