package vmcore

import (
	"encoding/binary"
	"io"

	"procdump/kdump"
)

const (
	ehdr64, phdr64, shdr64 = 64, 56, 64
	ehdr32, phdr32, shdr32 = 52, 32, 40
)

// fileHeader is what is needed of an ELF header.
type fileHeader struct {
	is64    bool
	machine uint16
	phoff   uint64
	phnum   uint64
}

// program is a program header, the same for both classes.
type program struct {
	typ, flags    uint32
	off, vaddr    uint64
	paddr         uint64
	filesz, memsz uint64
	align         uint64
	at            int64 // of the header in the file
}

func readFileHeader(r io.ReaderAt) (*fileHeader, error) {
	b := make([]byte, ehdr64)
	if n, err := r.ReadAt(b, 0); n < ehdr32 || !Match(b) {
		if err != nil && err != io.EOF {
			return nil, err
		}
		return nil, kdump.ErrFormat
	}
	le := binary.LittleEndian
	if b[5] != ELFDATA2LSB {
		return nil, bad(5, "byte order %d: only little-endian files are read", b[5])
	}
	h := &fileHeader{machine: le.Uint16(b[18:])}
	var shoff uint64
	var phentsize, phnum uint16
	switch b[4] {
	case ELFCLASS64:
		h.is64 = true
		h.phoff, shoff = le.Uint64(b[32:]), le.Uint64(b[40:])
		phentsize, phnum = le.Uint16(b[54:]), le.Uint16(b[56:])
	case ELFCLASS32:
		h.phoff, shoff = uint64(le.Uint32(b[28:])), uint64(le.Uint32(b[32:]))
		phentsize, phnum = le.Uint16(b[42:]), le.Uint16(b[44:])
	default:
		return nil, bad(4, "class %d", b[4])
	}
	if int(phentsize) != h.entry() {
		return nil, bad(54, "program headers of %d bytes", phentsize)
	}
	h.phnum = uint64(phnum)
	if phnum == PN_XNUM {
		return h, h.extended(r, shoff)
	}
	return h, nil
}

// entry is the size of a program header.
func (h *fileHeader) entry() int {
	if h.is64 {
		return phdr64
	}
	return phdr32
}

// extended reads the number of program headers from section header 0.
func (h *fileHeader) extended(r io.ReaderAt, shoff uint64) error {
	size, info := shdr64, 44
	if !h.is64 {
		size, info = shdr32, 28
	}
	b := make([]byte, size)
	if n, err := r.ReadAt(b, int64(shoff)); n < size {
		return bad(int64(shoff), "read section header 0, which holds the number of program headers: %v", err)
	}
	h.phnum = uint64(binary.LittleEndian.Uint32(b[info:]))
	return nil
}

// programs calls f for each program header that the file holds.
func (h *fileHeader) programs(r io.ReaderAt, size int64, f func(program) error) error {
	entry := uint64(h.entry())
	if h.phoff > uint64(size) || h.phnum > (uint64(size)-h.phoff)/entry {
		return bad(int64(h.phoff), "file ends within %d program headers", h.phnum)
	}
	b := make([]byte, min(h.phnum, 4096)*entry)
	for n := uint64(0); n < h.phnum; {
		b = b[:min(h.phnum-n, 4096)*entry]
		at := int64(h.phoff + n*entry)
		if got, err := r.ReadAt(b, at); got < len(b) {
			return bad(at, "read program headers: %v", err)
		}
		for i := uint64(0); i < uint64(len(b)); i += entry {
			p := h.decode(b[i : i+entry])
			p.at = at + int64(i)
			if err := f(p); err != nil {
				return err
			}
		}
		n += uint64(len(b)) / entry
	}
	return nil
}

func (h *fileHeader) decode(b []byte) program {
	le := binary.LittleEndian
	if h.is64 {
		return program{
			typ: le.Uint32(b), flags: le.Uint32(b[4:]), off: le.Uint64(b[8:]),
			vaddr: le.Uint64(b[16:]), paddr: le.Uint64(b[24:]),
			filesz: le.Uint64(b[32:]), memsz: le.Uint64(b[40:]), align: le.Uint64(b[48:]),
		}
	}
	w := func(off int) uint64 { return uint64(le.Uint32(b[off:])) }
	return program{
		typ: le.Uint32(b), flags: le.Uint32(b[24:]), off: w(4), vaddr: w(8), paddr: w(12),
		filesz: w(16), memsz: w(20), align: w(28),
	}
}

func (p program) encode() []byte {
	le := binary.LittleEndian
	b := make([]byte, phdr64)
	le.PutUint32(b, p.typ)
	le.PutUint32(b[4:], p.flags)
	for i, v := range []uint64{p.off, p.vaddr, p.paddr, p.filesz, p.memsz, p.align} {
		le.PutUint64(b[8+8*i:], v)
	}
	return b
}
