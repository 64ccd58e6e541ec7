package elfcore

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"procdump/arch"
)

// Reader reads a core. Its methods may be used by several goroutines at once if
// its io.ReaderAt may.
type Reader struct {
	// Header is the ELF header; its numbers are as in the file (Phnum may be
	// PN_XNUM), widened for 32-bit cores.
	Header elf.Header64
	// Progs are the program headers in the file's order, as in the file: parts
	// of a segment may lie beyond the end of a truncated file.
	Progs []elf.ProgHeader

	r        io.ReaderAt
	size     int64
	machine  arch.Machine
	mem      *memory
	warnings []error
}

// maxProgs bounds the number of program headers. The kernel's default limit is
// 65,530 mappings (vm.max_map_count).
const maxProgs = 1 << 22

// NewReader opens the core of size bytes in r. It reads the ELF header and the
// program headers only and fails, with an error that matches ErrFormat, if
// these are not valid; what else is wrong becomes an error or a warning of the
// method that meets it. The core may be truncated: then less can be read of it.
func NewReader(r io.ReaderAt, size int64) (*Reader, error) {
	rd := &Reader{r: r, size: size}
	if err := rd.readHeader(); err != nil {
		return nil, err
	}
	n, err := rd.phnum()
	if err != nil {
		return nil, err
	}
	if err := rd.readProgs(n); err != nil {
		return nil, err
	}
	rd.machine = machineOf(&rd.Header)
	rd.mem = newMemory(r, size, rd.Progs)
	if rd.mem.cut > 0 {
		rd.warnings = append(rd.warnings, fmt.Errorf("core is truncated: %d bytes of memory are missing", rd.mem.cut))
	}
	return rd, nil
}

// Machine is the machine of the core's process, arch.Unknown if it is none that
// this package supports.
func (r *Reader) Machine() arch.Machine { return r.machine }

// Is32 tells whether the core is of class ELFCLASS32.
func (r *Reader) Is32() bool { return elf.Class(r.Header.Ident[elf.EI_CLASS]) == elf.ELFCLASS32 }

func machineOf(h *elf.Header64) arch.Machine {
	class := elf.Class(h.Ident[elf.EI_CLASS])
	switch m := elf.Machine(h.Machine); {
	case m == elf.EM_X86_64 && class == elf.ELFCLASS64:
		return arch.AMD64
	case m == elf.EM_386 && class == elf.ELFCLASS32:
		return arch.I386
	case m == elf.EM_AARCH64 && class == elf.ELFCLASS64:
		return arch.ARM64
	}
	return arch.Unknown
}

func (r *Reader) readHeader() error {
	b := make([]byte, ehdrSize64)
	n, err := readAt(r.r, b[:min(int64(len(b)), max(r.size, 0))], 0)
	if err != nil {
		return fmt.Errorf("read ELF header: %w", err)
	}
	h := &r.Header
	copy(h.Ident[:], b)
	switch {
	case n < elf.EI_NIDENT || string(b[:4]) != elf.ELFMAG:
		return &FormatError{0, "no ELF file", nil}
	case elf.Data(b[elf.EI_DATA]) != elf.ELFDATA2LSB:
		return &FormatError{elf.EI_DATA, fmt.Sprintf("byte order %v not supported", elf.Data(b[elf.EI_DATA])), errors.ErrUnsupported}
	case elf.Version(b[elf.EI_VERSION]) != elf.EV_CURRENT:
		return &FormatError{elf.EI_VERSION, fmt.Sprintf("unknown ELF version %d", b[elf.EI_VERSION]), nil}
	}
	switch class := elf.Class(b[elf.EI_CLASS]); class {
	case elf.ELFCLASS64:
		_, err = binary.Decode(b[:n], binary.LittleEndian, h)
	case elf.ELFCLASS32:
		var h32 elf.Header32
		_, err = binary.Decode(b[:n], binary.LittleEndian, &h32)
		*h = elf.Header64{Ident: h32.Ident, Type: h32.Type, Machine: h32.Machine, Version: h32.Version,
			Entry: uint64(h32.Entry), Phoff: uint64(h32.Phoff), Shoff: uint64(h32.Shoff), Flags: h32.Flags,
			Ehsize: h32.Ehsize, Phentsize: h32.Phentsize, Phnum: h32.Phnum,
			Shentsize: h32.Shentsize, Shnum: h32.Shnum, Shstrndx: h32.Shstrndx}
	default:
		return &FormatError{elf.EI_CLASS, fmt.Sprintf("unknown ELF class %d", class), nil}
	}
	if err != nil {
		return &FormatError{0, "ELF header is cut off", err}
	}
	if t := elf.Type(h.Type); t != elf.ET_CORE {
		return &FormatError{16, fmt.Sprintf("no core but %v", t), nil}
	}
	return nil
}

// phnum is the number of program headers that are in the file.
func (r *Reader) phnum() (int, error) {
	h := &r.Header
	minSize, off := uint16(phdrSize64), int64(54) // of e_phentsize
	if r.Is32() {
		minSize, off = phdrSize32, 42
	}
	if h.Phnum != 0 && h.Phentsize < minSize {
		return 0, &FormatError{off, fmt.Sprintf("program headers of %d bytes", h.Phentsize), nil}
	}
	n := int64(h.Phnum)
	if h.Phnum == PN_XNUM {
		n = r.extendedPhnum()
	}
	if n == 0 {
		return 0, &FormatError{off + 2, "no program headers", nil}
	}
	if n > maxProgs {
		return 0, &FormatError{off + 2, fmt.Sprintf("%d program headers", n), nil}
	}
	if h.Phoff >= uint64(r.size) {
		return 0, &FormatError{off, fmt.Sprintf("program headers lie at %#x of %#x bytes", h.Phoff, r.size), nil}
	}
	if room := (r.size - int64(h.Phoff)) / int64(h.Phentsize); n > room {
		if room == 0 {
			return 0, &FormatError{int64(h.Phoff), "program headers are cut off", nil}
		}
		r.warnings = append(r.warnings, fmt.Errorf("core is truncated: %d of %d program headers are missing", n-room, n))
		n = room
	}
	return int(n), nil
}

// extendedPhnum reads the number of program headers from section header 0. The
// kernel writes that at the file's end, so truncated cores have none; then the
// notes, which the kernel puts right after the program headers, tell.
func (r *Reader) extendedPhnum() int64 {
	h := &r.Header
	infoOff, size := uint64(44), uint64(shdrSize64)
	if r.Is32() {
		infoOff, size = 28, shdrSize32
	}
	b := make([]byte, size)
	if h.Shoff != 0 && h.Shoff < uint64(r.size) && uint64(r.size)-h.Shoff >= size {
		if _, err := readAt(r.r, b, int64(h.Shoff)); err == nil {
			return int64(binary.LittleEndian.Uint32(b[infoOff:]))
		}
	}
	r.warnings = append(r.warnings, fmt.Errorf("section header at %#x is missing: number of program headers is a guess", h.Shoff))
	if err := r.readProgs(1); err != nil || len(r.Progs) != 1 {
		return PN_XNUM
	}
	first := r.Progs[0]
	if first.Type == elf.PT_NOTE && first.Off > h.Phoff {
		return int64(max(PN_XNUM, min((first.Off-h.Phoff)/uint64(h.Phentsize), maxProgs)))
	}
	return PN_XNUM
}

// readProgs reads n program headers into r.Progs.
func (r *Reader) readProgs(n int) error {
	entry, off := int(r.Header.Phentsize), int64(r.Header.Phoff)
	perChunk := max(1, 64<<10/entry)
	r.Progs = nil
	for len(r.Progs) < n {
		b := make([]byte, min(perChunk, n-len(r.Progs))*entry)
		got, err := readAt(r.r, b, off)
		if err != nil {
			return fmt.Errorf("read program headers: %w", err)
		}
		if got < len(b) {
			return &FormatError{off, "program headers are cut off", io.ErrUnexpectedEOF}
		}
		r.Progs = slices.Grow(r.Progs, len(b)/entry)
		for ; len(b) > 0; b = b[entry:] {
			r.Progs = append(r.Progs, r.decodeProg(b))
		}
		off += int64(got)
	}
	return nil
}

func (r *Reader) decodeProg(b []byte) elf.ProgHeader {
	le := binary.LittleEndian
	if r.Is32() {
		return elf.ProgHeader{Type: elf.ProgType(le.Uint32(b)), Off: uint64(le.Uint32(b[4:])),
			Vaddr: uint64(le.Uint32(b[8:])), Paddr: uint64(le.Uint32(b[12:])),
			Filesz: uint64(le.Uint32(b[16:])), Memsz: uint64(le.Uint32(b[20:])),
			Flags: elf.ProgFlag(le.Uint32(b[24:])), Align: uint64(le.Uint32(b[28:]))}
	}
	return elf.ProgHeader{Type: elf.ProgType(le.Uint32(b)), Flags: elf.ProgFlag(le.Uint32(b[4:])),
		Off: le.Uint64(b[8:]), Vaddr: le.Uint64(b[16:]), Paddr: le.Uint64(b[24:]),
		Filesz: le.Uint64(b[32:]), Memsz: le.Uint64(b[40:]), Align: le.Uint64(b[48:])}
}

// readAt reads as much of b as there is; the file's end is no error.
func readAt(r io.ReaderAt, b []byte, off int64) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	n, err := r.ReadAt(b, off)
	if n == len(b) || errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// bytes reads n bytes at off. It allocates no more than the file holds.
func (r *Reader) bytes(off int64, n uint64) ([]byte, error) {
	if off < 0 || off > r.size || n > uint64(r.size-off) {
		return nil, &FormatError{off, fmt.Sprintf("%d bytes reach beyond the end of the file", n), io.ErrUnexpectedEOF}
	}
	var b []byte
	for uint64(len(b)) < n {
		chunk := int(min(n-uint64(len(b)), chunkSize))
		b = slices.Grow(b, chunk)
		tail := b[len(b) : len(b)+chunk]
		got, err := readAt(r.r, tail, off+int64(len(b)))
		if err == nil && got < chunk {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, &FormatError{off + int64(len(b)+got), "read", err}
		}
		b = b[:len(b)+chunk]
	}
	return b, nil
}
