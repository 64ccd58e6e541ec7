// Package elfimage reads ELF images as they lie in a process's memory: the
// header, the dynamic section and the build id of what was mapped.
//
// Unlike debug/elf it needs no section headers, which are not mapped, and it
// trusts nothing: counts are bounded and every read may fail.
package elfimage

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
)

// ErrNotELF means that no ELF header lies at the address.
var ErrNotELF = errors.New("elfimage: not an ELF image")

// Reader reads memory as snapshot.Memory does.
type Reader interface {
	ReadMemory(p []byte, addr uint64) (int, error)
}

// Image is what the headers of a mapped image say. Addresses are where things
// lie in memory.
type Image struct {
	Base    uint64 // of the ELF header
	Size    uint64 // bytes from Base to the end of the last PT_LOAD
	Class   elf.Class
	Machine elf.Machine
	Type    elf.Type
	Bias    uint64 // add to an address of the file to get one in memory
	Entry   uint64
	Dynamic uint64 // 0: no dynamic section
	DynSize uint64 // bytes
	BuildID []byte // nil: none in the mapped headers
	SOName  string
	Interp  bool // it names a program interpreter: a dynamic executable
	Phdrs   []elf.ProgHeader

	order binary.ByteOrder
	mem   Reader
}

const (
	maxPhdrs  = 128
	maxNotes  = 8       // note segments that are looked at,
	maxNote   = 4 << 10 // and bytes of each
	strayNote = 64      // bytes behind a note segment where one more may lie
	maxDyn    = 512     // entries
	maxString = 4096
	maxSpan   = 1 << 40 // bytes from the first to the last PT_LOAD
)

// Read reads the image whose ELF header is at base. Parts of it that cannot be
// read are left at their zero value.
func Read(mem Reader, base uint64) (*Image, error) {
	head := make([]byte, 64)
	if _, err := mem.ReadMemory(head, base); err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(head, []byte(elf.ELFMAG)) || head[5] != byte(elf.ELFDATA2LSB) {
		return nil, ErrNotELF
	}
	im := &Image{Base: base, Class: elf.Class(head[4]), order: binary.LittleEndian, mem: mem}
	le := im.order
	im.Type, im.Machine = elf.Type(le.Uint16(head[16:])), elf.Machine(le.Uint16(head[18:]))
	var phoff uint64
	var phentsize, phnum int
	switch im.Class {
	case elf.ELFCLASS64:
		im.Entry, phoff = le.Uint64(head[24:]), le.Uint64(head[32:])
		phentsize, phnum = int(le.Uint16(head[54:])), int(le.Uint16(head[56:]))
	case elf.ELFCLASS32:
		im.Entry, phoff = uint64(le.Uint32(head[24:])), uint64(le.Uint32(head[28:]))
		phentsize, phnum = int(le.Uint16(head[42:])), int(le.Uint16(head[44:]))
	default:
		return nil, ErrNotELF
	}
	if phentsize != im.phentsize() || phnum == 0 || phnum > maxPhdrs {
		return nil, ErrNotELF
	}
	table := make([]byte, phentsize*phnum)
	if _, err := mem.ReadMemory(table, base+phoff); err != nil {
		return nil, err
	}
	for ; len(table) > 0; table = table[phentsize:] {
		im.Phdrs = append(im.Phdrs, im.phdr(table))
	}
	if err := im.locate(); err != nil {
		return nil, err
	}
	return im, nil
}

func (im *Image) phentsize() int {
	if im.Class == elf.ELFCLASS64 {
		return 56
	}
	return 32
}

func (im *Image) phdr(b []byte) elf.ProgHeader {
	le := im.order
	if im.Class == elf.ELFCLASS64 {
		return elf.ProgHeader{Type: elf.ProgType(le.Uint32(b)), Flags: elf.ProgFlag(le.Uint32(b[4:])), Off: le.Uint64(b[8:]),
			Vaddr: le.Uint64(b[16:]), Paddr: le.Uint64(b[24:]), Filesz: le.Uint64(b[32:]), Memsz: le.Uint64(b[40:]), Align: le.Uint64(b[48:])}
	}
	u := func(i int) uint64 { return uint64(le.Uint32(b[i:])) }
	return elf.ProgHeader{Type: elf.ProgType(u(0)), Flags: elf.ProgFlag(u(24)), Off: u(4), Vaddr: u(8), Paddr: u(12),
		Filesz: u(16), Memsz: u(20), Align: u(28)}
}

// locate finds the bias, the size, and what the program headers point at.
func (im *Image) locate() error {
	first, end := ^uint64(0), uint64(0)
	for _, p := range im.Phdrs {
		if p.Type != elf.PT_LOAD {
			continue
		}
		if p.Vaddr+p.Memsz < p.Vaddr {
			return ErrNotELF
		}
		if p.Vaddr < first {
			first = p.Vaddr
			im.Bias = im.Base - (p.Vaddr - p.Off)
		}
		end = max(end, p.Vaddr+p.Memsz)
	}
	size := im.Bias + end - im.Base
	if first == ^uint64(0) || size > maxSpan || im.Base+size < im.Base {
		return ErrNotELF
	}
	im.Size = (size + 4095) &^ 4095
	im.Entry += im.Bias
	notes := 0
	for _, p := range im.Phdrs {
		switch p.Type {
		case elf.PT_INTERP:
			im.Interp = true
		case elf.PT_DYNAMIC:
			im.Dynamic, im.DynSize = im.Bias+p.Vaddr, p.Memsz
		case elf.PT_NOTE:
			if notes++; im.BuildID == nil && notes <= maxNotes {
				im.BuildID = im.findBuildID(im.Bias+p.Vaddr, p.Filesz)
			}
		}
	}
	im.SOName = im.soname()
	return nil
}

func (im *Image) findBuildID(addr, size uint64) []byte {
	b := make([]byte, min(size, maxNote))
	n, _ := im.mem.ReadMemory(b, addr)
	if id := BuildID(b[:n]); id != nil {
		return id
	}
	// The Go linker's PT_NOTE covers its own note only, and the GNU one
	// follows right behind.
	b = make([]byte, strayNote)
	n, _ = im.mem.ReadMemory(b, (addr+size+3)&^3)
	return BuildID(b[:n])
}

// BuildID returns the descriptor of the NT_GNU_BUILD_ID note in the bytes of a
// note segment, or nil.
func BuildID(b []byte) []byte {
	le := binary.LittleEndian
	for len(b) >= 12 {
		name, desc, typ := uint64(le.Uint32(b)), uint64(le.Uint32(b[4:])), le.Uint32(b[8:])
		b = b[12:]
		nameEnd := (name + 3) &^ 3
		descEnd := nameEnd + desc
		if descEnd > uint64(len(b)) {
			return nil
		}
		const ntGNUBuildID = 3
		if typ == ntGNUBuildID && desc > 0 && string(b[:name]) == "GNU\x00" {
			return bytes.Clone(b[nameEnd:descEnd])
		}
		b = b[min((descEnd+3)&^3, uint64(len(b))):]
	}
	return nil
}

// Dyn returns the values of the dynamic section's entries with the given tag,
// as they are in memory (the dynamic linker may have relocated some).
func (im *Image) Dyn(tag elf.DynTag) (uint64, bool) {
	w := im.word()
	if im.Dynamic == 0 || im.DynSize > maxDyn*2*uint64(w) {
		return 0, false
	}
	b := make([]byte, im.DynSize)
	n, _ := im.mem.ReadMemory(b, im.Dynamic)
	for b = b[:n]; len(b) >= 2*w; b = b[2*w:] {
		t := elf.DynTag(im.uint(b))
		if t == tag {
			return im.uint(b[w:]), true
		}
		if t == elf.DT_NULL {
			break
		}
	}
	return 0, false
}

func (im *Image) soname() string {
	off, ok := im.Dyn(elf.DT_SONAME)
	if !ok {
		return ""
	}
	tab, ok := im.Dyn(elf.DT_STRTAB)
	if !ok {
		return ""
	}
	if tab-im.Base >= im.Size { // not relocated: the vdso, musl's, and images of static programs
		tab += im.Bias
	}
	return CString(im.mem, tab+off)
}

func (im *Image) word() int {
	if im.Class == elf.ELFCLASS64 {
		return 8
	}
	return 4
}

func (im *Image) uint(b []byte) uint64 {
	if im.Class == elf.ELFCLASS64 {
		return im.order.Uint64(b)
	}
	return uint64(im.order.Uint32(b))
}

// CString reads a NUL-terminated string of at most 4096 bytes.
func CString(mem Reader, addr uint64) string {
	var out []byte
	buf := make([]byte, 64)
	for len(out) < maxString {
		want := buf[:64-addr%64]
		n, err := mem.ReadMemory(want, addr)
		if i := bytes.IndexByte(want[:n], 0); i >= 0 {
			return string(append(out, want[:i]...))
		}
		if err != nil || n < len(want) {
			break
		}
		out, addr = append(out, want[:n]...), addr+uint64(n)
	}
	return ""
}
