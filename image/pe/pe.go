// Package pe reads the images of Windows programs and libraries: which file they
// are of, where their code is, the table of their functions, and the names that
// they export.
//
// An image is read as it lies in memory, from the address that it is mapped at,
// or from its file, whose sections lie elsewhere. Addresses in it are relative to
// where it begins. Of a damaged one nothing is believed that leads out of it.
//
// The format is that of Microsoft's "PE Format"
// (https://learn.microsoft.com/windows/win32/debug/pe-format).
package pe

import (
	"encoding/binary"
	"errors"
	"io"
)

// Machines that an image's code may be for (IMAGE_FILE_MACHINE_*).
const (
	MachineI386  = 0x14c
	MachineAMD64 = 0x8664
	MachineARM64 = 0xaa64
)

// ErrFormat means that what was read is no PE image.
var ErrFormat = errors.New("pe: not the image of a Windows program")

const (
	maxSections = 96 // of Windows' loader
	pe32        = 0x10b
	pe32plus    = 0x20b

	exportDirectory    = 0
	exceptionDirectory = 3
	directories        = 4 // that are read
)

// Characteristics of sections (IMAGE_SCN_*).
const (
	memExecute = 0x20000000
	memWrite   = 0x80000000
)

// Image is one that was read. It is for one goroutine at a time if what it reads
// from is.
type Image struct {
	Machine uint16
	Stamp   uint32 // TimeDateStamp: with Size it tells the file from others of its name
	Size    uint32 // SizeOfImage

	headers  uint32 // bytes
	sections []section
	dirs     [directories]span
	read     func(p []byte, rva uint32) int
}

// span is a part of an image.
type span struct{ rva, size uint32 }

func (s span) contains(rva uint32) bool { return rva-s.rva < s.size }

// section is a row of the section table.
type section struct {
	span
	off, raw uint32 // of its bytes in the file
	flags    uint32
}

// New reads the headers of an image in memory. read reads from a place of the
// image and returns how many bytes it could.
func New(read func(p []byte, rva uint32) int) (*Image, error) {
	x := &Image{read: read}
	if err := x.readHeaders(); err != nil {
		return nil, err
	}
	return x, nil
}

// NewFile reads the headers of a file.
func NewFile(r io.ReaderAt) (*Image, error) {
	x := &Image{}
	x.read = func(p []byte, off uint32) int {
		n, _ := r.ReadAt(p, int64(off))
		return max(n, 0)
	}
	if err := x.readHeaders(); err != nil {
		return nil, err
	}
	at := x.read
	x.read = func(p []byte, rva uint32) int {
		if rva < x.headers {
			return at(p[:min(len(p), int(x.headers-rva))], rva)
		}
		s := x.section(rva)
		if s == nil {
			return 0
		}
		in := rva - s.rva
		n := 0
		if held := min(s.raw, s.size); in < held && s.off+in >= s.off {
			n = at(p[:min(len(p), int(held-in))], s.off+in)
			if n < min(len(p), int(held-in)) {
				return n
			}
		}
		// What the file does not hold of a section is zero.
		end := min(len(p), int(s.size-in))
		clear(p[n:end])
		return end
	}
	return x, nil
}

// readHeaders reads what lies at the beginning: 60 bytes on, the offset of "PE\0\0",
// the COFF header of 20 bytes, the optional header, and the section table.
func (x *Image) readHeaders() error {
	le := binary.LittleEndian
	var dos [64]byte
	if x.read(dos[:], 0) < len(dos) || dos[0] != 'M' || dos[1] != 'Z' {
		return ErrFormat
	}
	const coffSize, most = 24, 1 << 20
	at := le.Uint32(dos[60:])
	var coff [coffSize]byte
	if at > most || x.read(coff[:], at) < len(coff) || string(coff[:4]) != "PE\x00\x00" {
		return ErrFormat
	}
	x.Machine, x.Stamp = le.Uint16(coff[4:]), le.Uint32(coff[8:])
	sections, size := int(le.Uint16(coff[6:])), int(le.Uint16(coff[20:]))
	opt := make([]byte, size)
	if sections > maxSections || size < 96 || x.read(opt, at+coffSize) < size {
		return ErrFormat
	}
	x.Size, x.headers = le.Uint32(opt[56:]), le.Uint32(opt[60:])
	dirs := 0
	switch le.Uint16(opt) {
	case pe32:
		dirs = 96
	case pe32plus:
		dirs = 112
	}
	if dirs == 0 || size < dirs || x.Size == 0 {
		return ErrFormat
	}
	n := min(le.Uint32(opt[dirs-4:]), directories, uint32(size-dirs)/8)
	for i := range n {
		d := opt[uint32(dirs)+8*i:]
		x.dirs[i] = x.within(span{le.Uint32(d), le.Uint32(d[4:])})
	}
	table := make([]byte, 40*sections)
	if x.read(table, at+coffSize+uint32(size)) < len(table) {
		return ErrFormat
	}
	for ; len(table) > 0; table = table[40:] {
		s := section{off: le.Uint32(table[20:]), raw: le.Uint32(table[16:]), flags: le.Uint32(table[36:])}
		s.span = x.within(span{le.Uint32(table[12:]), le.Uint32(table[8:])})
		x.sections = append(x.sections, s)
	}
	return nil
}

// within is the part of a span that lies in the image.
func (x *Image) within(s span) span {
	if s.rva >= x.Size {
		return span{}
	}
	return span{s.rva, min(s.size, x.Size-s.rva)}
}

func (x *Image) section(rva uint32) *section {
	for i := range x.sections {
		if s := &x.sections[i]; s.contains(rva) {
			return s
		}
	}
	return nil
}

// Read reads from a place of the image and returns how many bytes it could.
func (x *Image) Read(p []byte, rva uint32) int {
	n := 0
	for n < len(p) && rva < x.Size {
		k := x.read(p[n:min(len(p), n+int(x.Size-rva))], rva)
		if k <= 0 {
			break
		}
		n, rva = n+k, rva+uint32(k)
	}
	return n
}

// full reads all of p.
func (x *Image) full(p []byte, rva uint32) bool { return x.Read(p, rva) == len(p) }

// Code tells whether a place is one of code.
func (x *Image) Code(rva uint32) bool {
	s := x.section(rva)
	return s != nil && s.flags&memExecute != 0
}

// Unchanged returns how many bytes from a place on are the file's in every process:
// code that nobody can write to.
func (x *Image) Unchanged(rva uint32) uint32 {
	s := x.section(rva)
	if s == nil || s.flags&memExecute == 0 || s.flags&memWrite != 0 {
		return 0
	}
	return s.rva + s.size - rva
}
