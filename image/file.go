package image

import (
	"bufio"
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/klauspost/compress/zlib"

	"procdump/internal/elfimage"
	"procdump/internal/guard"
)

// File is an ELF file.
type File struct {
	Path    string
	BuildID []byte // nil: none

	elf     *elf.File
	r       io.ReaderAt
	closer  io.Closer
	size    int64
	modTime time.Time // rounded to milliseconds, as dumps have it

	mapping sync.Mutex
	maps    [][]byte // to be unmapped
}

// openFile opens an ELF file.
func openFile(path string) (*File, error) {
	o, st, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	f, err := newFile(o)
	if err != nil {
		o.Close()
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	f.Path, f.closer, f.size, f.modTime = path, o, st.Size(), st.ModTime().Round(time.Millisecond)
	return f, nil
}

// newFile reads the headers of an ELF file.
func newFile(r io.ReaderAt) (f *File, err error) {
	err = guard.Do(malformed, func() error {
		e, err := elf.NewFile(r)
		if err != nil {
			return err
		}
		f = &File{elf: e, r: r}
		f.BuildID = f.buildID()
		return nil
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

// OnDisk tells whether it is a file, and not an image in memory, of which the
// dump may say anything.
func (f *File) OnDisk() bool { return f.closer != nil }

func (f *File) close() {
	for _, b := range f.maps {
		unmap(b)
	}
	f.maps = nil
	if f.closer != nil {
		f.closer.Close()
	}
}

// malformed is said of a panic of debug/elf, which trusts what it reads.
const malformed = "malformed file"

const maxNote = 4 << 10 // bytes that are looked at for a build id

func (f *File) buildID() []byte {
	if s := f.Section(".note.gnu.build-id"); s != nil {
		b := make([]byte, min(s.Size, maxNote))
		n, _ := f.r.ReadAt(b, int64(s.Offset))
		return elfimage.BuildID(b[:max(n, 0)])
	}
	for _, p := range f.elf.Progs {
		if p.Type != elf.PT_NOTE {
			continue
		}
		b := make([]byte, min(p.Filesz, maxNote))
		n, _ := f.r.ReadAt(b, int64(p.Off))
		if id := elfimage.BuildID(b[:max(n, 0)]); id != nil {
			return id
		}
	}
	return nil
}

// Section returns the section of that name that has bytes in the file, or nil.
// Separate debug files name sections that they do not hold.
func (f *File) Section(name string) *elf.Section {
	for _, s := range f.elf.Sections {
		if s.Name == name && s.Type != elf.SHT_NOBITS && s.Size > 0 {
			return s
		}
	}
	return nil
}

// errNoSection means that a file has no section of that name.
var errNoSection = errors.New("no such section")

// Data returns a section's bytes, decompressed. One of more than limit bytes
// is an error.
func (f *File) Data(name string, limit uint64) (b []byte, err error) {
	s := f.Section(name)
	if s == nil {
		return nil, errNoSection
	}
	if s.Size > limit {
		return nil, fmt.Errorf("section %s of %d MiB is too large", name, s.Size>>20)
	}
	err = guard.Do(malformed, func() error { b, err = f.unpacked(s); return err })
	if err != nil {
		return nil, fmt.Errorf("read section %s: %w", name, err)
	}
	return b, nil
}

// leastMapped is the size of a section, in bytes, that is not worth mapping.
const leastMapped = 1 << 20

// Mapped is Data, but a large section that is not compressed is mapped, so that
// only what is looked at of it takes time and memory. Whoever reads it must expect
// a fault, for the file may become shorter (debug.SetPanicOnFault), and keep
// nothing of it beyond the Set's end. It may be called by several goroutines.
func (f *File) Mapped(name string, limit uint64) ([]byte, error) {
	s := f.Section(name)
	o, ok := f.r.(*os.File)
	if !ok || s == nil || s.Flags&elf.SHF_COMPRESSED != 0 || s.Size < leastMapped || s.Size > limit ||
		s.Offset > uint64(f.size) || s.Size > uint64(f.size)-s.Offset {
		return f.Data(name, limit)
	}
	part, whole := mapFile(o, int64(s.Offset), int64(s.Size))
	if part == nil {
		return f.Data(name, limit)
	}
	f.mapping.Lock()
	defer f.mapping.Unlock()
	f.maps = append(f.maps, whole)
	return part, nil
}

// unpacked returns a section's bytes. What zlib has compressed, debug information
// as a rule, takes most of the time of a report: it is not left to debug/elf,
// which takes nearly twice as long.
func (f *File) unpacked(s *elf.Section) ([]byte, error) {
	// Elf64_Chdr: type, reserved, and of 8 bytes size and alignment; Elf32_Chdr:
	// type, size and alignment of 4 bytes (elf(5)).
	head := make([]byte, 24)
	if f.elf.Class == elf.ELFCLASS32 {
		head = head[:12]
	}
	if s.Flags&elf.SHF_COMPRESSED == 0 || s.FileSize < uint64(len(head)) {
		return s.Data()
	}
	if _, err := f.r.ReadAt(head, int64(s.Offset)); err != nil {
		return nil, err
	}
	if elf.CompressionType(f.elf.ByteOrder.Uint32(head)) != elf.COMPRESS_ZLIB {
		return s.Data()
	}
	packed := s.FileSize - uint64(len(head))
	const most = 1032 // bytes that one of zlib's can stand for (zlib.net/zlib_tech.html)
	if s.Size/most > packed {
		return nil, fmt.Errorf("%d compressed bytes cannot be %d", packed, s.Size)
	}
	z, err := zlib.NewReader(bufio.NewReaderSize(io.NewSectionReader(f.r, int64(s.Offset)+int64(len(head)), int64(packed)), 64<<10))
	if err != nil {
		return nil, err
	}
	b := make([]byte, s.Size)
	_, err = io.ReadFull(z, b)
	return b, err
}

// Symbol is an entry of a symbol table.
type Symbol struct {
	Name        uint32 // offset in the table of names
	Info        byte   // elf.ST_TYPE and elf.ST_BIND tell what is in it
	Section     elf.SectionIndex
	Value, Size uint64
}

// Names are those of a symbol table; they are read when asked for.
type Names struct {
	r    io.ReaderAt
	off  int64
	size uint64
}

// At returns the name at an offset, "" if there is none.
func (n Names) At(off uint32) string {
	const most = 1 << 16
	var out []byte
	for at := uint64(off); at < n.size && len(out) < most; {
		b := make([]byte, min(128, n.size-at))
		k, _ := n.r.ReadAt(b, n.off+int64(at))
		b = b[:max(k, 0)]
		if i := bytes.IndexByte(b, 0); i >= 0 {
			return string(append(out, b[:i]...))
		}
		if len(b) == 0 {
			break
		}
		out, at = append(out, b...), at+uint64(len(b))
	}
	return ""
}

// Symbols calls each for every entry of the file's symbol table of that type
// (elf.SHT_SYMTAB, elf.SHT_DYNSYM) and returns their names; false: there is no
// such table.
func (f *File) Symbols(typ elf.SectionType, each func(Symbol)) (Names, bool) {
	for _, s := range f.elf.Sections {
		if s.Type != typ || s.Size == 0 || s.Flags&elf.SHF_COMPRESSED != 0 || int(s.Link) >= len(f.elf.Sections) {
			continue
		}
		names := f.elf.Sections[s.Link]
		if names.Type != elf.SHT_STRTAB || names.Flags&elf.SHF_COMPRESSED != 0 {
			continue
		}
		f.eachSymbol(s, each)
		return Names{f.r, int64(names.Offset), names.FileSize}, true
	}
	return Names{}, false
}

// Code tells whether a section is one of code.
func (f *File) Code(i elf.SectionIndex) bool {
	return int(i) < len(f.elf.Sections) && f.elf.Sections[i].Flags&elf.SHF_EXECINSTR != 0
}

func (f *File) eachSymbol(s *elf.Section, each func(Symbol)) {
	entry := 24
	if f.elf.Class == elf.ELFCLASS32 {
		entry = 16
	}
	buf := make([]byte, 4096*entry)
	le := binary.LittleEndian
	for off := uint64(0); off < s.FileSize; off += uint64(len(buf)) {
		n, _ := f.r.ReadAt(buf[:min(uint64(len(buf)), s.FileSize-off)], int64(s.Offset+off))
		if n < entry {
			return
		}
		for b := buf[:n]; len(b) >= entry; b = b[entry:] {
			if entry == 24 {
				each(Symbol{le.Uint32(b), b[4], elf.SectionIndex(le.Uint16(b[6:])), le.Uint64(b[8:]), le.Uint64(b[16:])})
			} else {
				each(Symbol{le.Uint32(b), b[12], elf.SectionIndex(le.Uint16(b[14:])), uint64(le.Uint32(b[4:])), uint64(le.Uint32(b[8:]))})
			}
		}
	}
}

// FindSymbol returns the address in the file of the symbol of that name.
func (f *File) FindSymbol(typ elf.SectionType, name string) (value uint64, ok bool) {
	y, ok := f.FindSymbols(typ, name)[name]
	return y.Value, ok
}

// FindSymbols returns the symbols of those names, as far as there are any.
func (f *File) FindSymbols(typ elf.SectionType, wanted ...string) map[string]Symbol {
	var all []Symbol
	names, _ := f.Symbols(typ, func(y Symbol) {
		if y.Section != elf.SHN_UNDEF && y.Value != 0 {
			all = append(all, y)
		}
	})
	if names.r == nil {
		return nil
	}
	const most = 64 << 20
	text := make([]byte, min(names.size, most))
	n, _ := names.r.ReadAt(text, names.off)
	text = text[:max(n, 0)]
	found := map[string]Symbol{}
	for _, name := range wanted {
		want := append([]byte(name), 0)
		for _, y := range all {
			if uint64(y.Name) < uint64(len(text)) && bytes.HasPrefix(text[y.Name:], want) {
				found[name] = y
				break
			}
		}
	}
	return found
}

// ReadAt reads the file's bytes.
func (f *File) ReadAt(p []byte, off int64) (int, error) { return f.r.ReadAt(p, off) }
