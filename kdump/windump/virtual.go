package windump

import (
	"encoding/binary"
	"fmt"
	"unicode/utf16"
)

// virtual is memory by virtual address.
type virtual interface {
	ReadVirt(b []byte, addr uint64) (n int, err error)
}

// ReadVirt reads up to len(b) bytes of the kernel's memory from virtual address
// addr on: by the page tables of Header.DirectoryTableBase, or, in a small dump,
// from its blocks. If n < len(b), the error says why byte n could not be read.
func (r *Reader) ReadVirt(b []byte, addr uint64) (n int, err error) {
	if r.Header.Type == Triage {
		if r.triage == nil {
			return 0, r.triageErr
		}
		return r.triage.ReadVirt(b, addr)
	}
	s, err := r.kernelSpace()
	if err != nil {
		return 0, err
	}
	return s.ReadVirt(b, addr)
}

// readExactly reads size bytes.
func readExactly(v virtual, addr uint64, size int) ([]byte, error) {
	b := make([]byte, size)
	if n, err := v.ReadVirt(b, addr); n < size {
		return nil, err
	}
	return b, nil
}

// readPointer reads a pointer of that many bytes.
func readPointer(v virtual, addr uint64, size int) (uint64, error) {
	var b [8]byte
	if n, err := v.ReadVirt(b[:size], addr); n < size {
		return 0, err
	}
	return binary.LittleEndian.Uint64(b[:]), nil
}

// pointer reads a pointer of the dump's machine.
func (r *Reader) pointer(addr uint64) (uint64, error) {
	return readPointer(r, addr, r.layout.ptr)
}

// unicodeString reads the text of a UNICODE_STRING:
//
//	0  u16 bytes, u16 bytes of the buffer
//	8  pointer to UTF-16 (4 in a 32-bit dump)
func (r *Reader) unicodeString(b []byte) (string, error) {
	n := int(binary.LittleEndian.Uint16(b))
	if n == 0 {
		return "", nil
	}
	at := fields{b, r.layout.ptr}.pointer(r.layout.ptr)
	if n > maxText {
		return "", fmt.Errorf("windump: string of %d bytes at %#x", n, at)
	}
	t, err := readExactly(r, at, n)
	if err != nil {
		return "", err
	}
	return text16(t), nil
}

// text16 decodes UTF-16 up to its first NUL.
func text16(b []byte) string {
	u := make([]uint16, 0, len(b)/2)
	for ; len(b) >= 2; b = b[2:] {
		c := binary.LittleEndian.Uint16(b)
		if c == 0 {
			break
		}
		u = append(u, c)
	}
	return string(utf16.Decode(u))
}
