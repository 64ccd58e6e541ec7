package elfimage

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// flat is memory that begins at base.
type flat struct {
	base uint64
	b    []byte
	read int // bytes asked for
}

var errNone = errors.New("not mapped")

func (m *flat) ReadMemory(p []byte, addr uint64) (int, error) {
	m.read += len(p)
	if addr < m.base || addr-m.base >= uint64(len(m.b)) {
		return 0, errNone
	}
	if n := copy(p, m.b[addr-m.base:]); n < len(p) {
		return n, errNone
	}
	return len(p), nil
}

// mapFile loads an ELF file as the kernel maps it, with the addresses in its
// dynamic section relocated as ld.so does if relocate is set.
func mapFile(path string, base uint64, relocate bool) (*flat, *elf.File, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	if f.Type != elf.ET_EXEC && f.Type != elf.ET_DYN {
		return nil, nil, errors.New("not an image")
	}
	first, end := ^uint64(0), uint64(0)
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD {
			first, end = min(first, p.Vaddr-p.Off%4096), max(end, p.Vaddr+p.Memsz)
		}
	}
	if end <= first || end-first > 1<<28 {
		return nil, nil, errors.New("no or too large a PT_LOAD")
	}
	if f.Type == elf.ET_EXEC {
		base = first
	}
	if f.Class == elf.ELFCLASS32 {
		base &= 1<<31 - 1
	}
	m := &flat{base: base, b: make([]byte, (end-first+4095)&^4095)}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD {
			lead := p.Vaddr % 4096 // whole pages are mapped
			n := min(p.Filesz+lead, uint64(len(raw))-(p.Off-lead))
			copy(m.b[p.Vaddr-lead-first:], raw[p.Off-lead:][:n])
		}
	}
	if s := f.SectionByType(elf.SHT_DYNAMIC); s != nil && relocate {
		w := uint64(4)
		if f.Class == elf.ELFCLASS64 {
			w = 8
		}
		for at := s.Addr - first; at+2*w <= s.Addr-first+s.Size; at += 2 * w {
			if m.b[at] == byte(elf.DT_STRTAB) && bytes.Count(m.b[at+1:at+w], []byte{0}) == int(w-1) {
				if w == 8 {
					binary.LittleEndian.PutUint64(m.b[at+w:], binary.LittleEndian.Uint64(m.b[at+w:])+base-first)
				} else {
					binary.LittleEndian.PutUint32(m.b[at+w:], binary.LittleEndian.Uint32(m.b[at+w:])+uint32(base-first))
				}
			}
		}
	}
	return m, f, nil
}

// TestReadFiles reads programs and libraries of this machine as if they were
// mapped, and compares with what debug/elf says of the files.
func TestReadFiles(t *testing.T) {
	var paths []string
	for _, pattern := range []string{"/usr/bin/*", "/usr/lib/*/lib*.so*", "/lib/ld-*", "/lib32/*.so*", "/usr/lib32/*.so*"} {
		some, _ := filepath.Glob(pattern)
		paths = append(paths, some[:min(len(some), 150)]...)
	}
	read, sonames := 0, 0
	for i, path := range paths {
		if st, err := os.Stat(path); err != nil || !st.Mode().IsRegular() || st.Size() > 20<<20 {
			continue
		}
		m, f, err := mapFile(path, 0x7f0012340000, i%3 != 0)
		if err != nil {
			continue
		}
		im, err := Read(m, m.base)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		read++
		if im.Class != f.Class || im.Machine != f.Machine || im.Type != f.Type || im.Entry != f.Entry+im.Bias || im.Size != uint64(len(m.b)) || len(im.Phdrs) != len(f.Progs) {
			t.Errorf("%s: %v %v %v, entry %#x, size %#x, %d headers", path, im.Class, im.Machine, im.Type, im.Entry, im.Size, len(im.Phdrs))
		}
		var id []byte
		if s := f.Section(".note.gnu.build-id"); s != nil && s.Type != elf.SHT_NOBITS {
			b := m.b[s.Addr+im.Bias-m.base:][:s.Size]
			id = b[16:]
		}
		if !bytes.Equal(im.BuildID, id) {
			t.Errorf("%s: build id %x, want %x", path, im.BuildID, id)
		}
		s := f.SectionByType(elf.SHT_DYNAMIC)
		if s == nil != (im.Dynamic == 0) || s != nil && (im.Dynamic != s.Addr+im.Bias || im.DynSize != s.Size) {
			t.Errorf("%s: dynamic section at %#x", path, im.Dynamic)
		}
		if im.Interp != (f.Section(".interp") != nil) {
			t.Errorf("%s: interpreter %v", path, im.Interp)
		}
		want := ""
		if raw, err := os.Open(path); err == nil {
			if g, err := elf.NewFile(raw); err == nil {
				if names, err := g.DynString(elf.DT_SONAME); err == nil && len(names) > 0 {
					want = names[0]
				}
			}
			raw.Close()
		}
		if im.SOName != want {
			t.Errorf("%s: soname %q, want %q", path, im.SOName, want)
		}
		if want != "" {
			sonames++
		}
	}
	if read < 20 || sonames < 5 {
		t.Errorf("only %d images and %d with a soname were found", read, sonames)
	}
}

// image is a small ELF64 image with one PT_LOAD.
func image(change func(b []byte)) []byte {
	b := make([]byte, 0x1000)
	copy(b, "\x7fELF\x02\x01\x01")
	le := binary.LittleEndian
	le.PutUint16(b[16:], uint16(elf.ET_DYN))
	le.PutUint16(b[18:], uint16(elf.EM_X86_64))
	le.PutUint64(b[32:], 64)
	le.PutUint16(b[54:], 56)
	le.PutUint16(b[56:], 2)
	ph := b[64:]
	le.PutUint32(ph, uint32(elf.PT_LOAD))
	le.PutUint64(ph[32:], 0x1000)
	le.PutUint64(ph[40:], 0x1234)
	ph = ph[56:]
	le.PutUint32(ph, uint32(elf.PT_NOTE))
	le.PutUint64(ph[16:], 0x200)
	le.PutUint64(ph[32:], 0x20)
	copy(b[0x200:], "\x04\x00\x00\x00\x03\x00\x00\x00\x03\x00\x00\x00GNU\x00\x01\x02\x03\x00")
	if change != nil {
		change(b)
	}
	return b
}

func TestReadHostile(t *testing.T) {
	le := binary.LittleEndian
	const base = 0x7f0000000000
	im, err := Read(&flat{base: base, b: image(nil)}, base)
	if err != nil || im.Size != 0x2000 || !bytes.Equal(im.BuildID, []byte{1, 2, 3}) {
		t.Fatalf("%+v, %v", im, err)
	}
	for name, change := range map[string]func(b []byte){
		"no magic":       func(b []byte) { b[0] = 0 },
		"big endian":     func(b []byte) { b[5] = 2 },
		"class":          func(b []byte) { b[4] = 3 },
		"no headers":     func(b []byte) { le.PutUint16(b[56:], 0) },
		"65535 headers":  func(b []byte) { le.PutUint16(b[56:], 65535) },
		"header size":    func(b []byte) { le.PutUint16(b[54:], 1) },
		"headers beyond": func(b []byte) { le.PutUint64(b[32:], 1<<63) },
		"headers before": func(b []byte) { le.PutUint64(b[32:], ^uint64(0)-100) },
		"no PT_LOAD":     func(b []byte) { b[64] = 0 },
		"huge":           func(b []byte) { le.PutUint64(b[64+40:], 1<<50) },
		"wraps":          func(b []byte) { le.PutUint64(b[64+40:], 1<<64-1); le.PutUint64(b[64+16:], 1<<63) },
		"second wraps":   func(b []byte) { b[64+56] = 1; le.PutUint64(b[64+56+16:], 1<<63); le.PutUint64(b[64+56+40:], 1<<63) },
		"huge offset":    func(b []byte) { le.PutUint64(b[64+8:], 1<<62) },
	} {
		if im, err := Read(&flat{base: base, b: image(change)}, base); err == nil || im != nil {
			t.Errorf("%s: %+v, %v", name, im, err)
		}
	}
	for n := range 0x300 { // cut short anywhere
		im, err := Read(&flat{base: base, b: image(nil)[:n]}, base)
		if (im == nil) != (err != nil) {
			t.Errorf("%d bytes: %v, %v", n, im, err)
		}
	}
	if _, err := Read(&flat{base: 1<<64 - 0x1000, b: image(nil)}, 1<<64-0x1000); err == nil {
		t.Error("an image passes the end of memory")
	}
}

func TestBuildID(t *testing.T) {
	note := func(typ byte, name string, desc string) string {
		pad := strings.Repeat("\x00", (4-len(desc)%4)%4)
		return string([]byte{byte(len(name)), 0, 0, 0, byte(len(desc)), 0, 0, 0, typ, 0, 0, 0}) + name + strings.Repeat("\x00", (4-len(name)%4)%4) + desc + pad
	}
	for name, tt := range map[string]struct{ in, want string }{
		"alone":            {note(3, "GNU\x00", "abcd"), "abcd"},
		"second":           {note(1, "GNU\x00", "xx") + note(3, "stapsdt\x00", "y") + note(3, "GNU\x00", "abcde"), "abcde"},
		"no padding":       {note(3, "GNU\x00", "abcde")[:16+5], "abcde"},
		"cut":              {note(3, "GNU\x00", "abcd")[:18], ""},
		"empty":            {note(3, "GNU\x00", ""), ""},
		"other":            {note(3, "GNV\x00", "abcd"), ""},
		"huge description": {"\x04\x00\x00\x00\xff\xff\xff\xff\x03\x00\x00\x00GNU\x00abcd", ""},
		"huge name":        {"\xff\xff\xff\xff\x04\x00\x00\x00\x03\x00\x00\x00GNU\x00abcd", ""},
		"nothing":          {"", ""},
	} {
		if got := BuildID([]byte(tt.in)); string(got) != tt.want || tt.want == "" && got != nil {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

// half returns less than is asked for, without an error: a source that breaks
// its contract must not keep a reader for ever.
type half struct{ *flat }

func (h half) ReadMemory(p []byte, addr uint64) (int, error) { return 0, nil }

func TestCString(t *testing.T) {
	const base = 0x1003
	text := strings.Repeat("a", 150) + "\x00" + strings.Repeat("b", maxString+100) + "\x00tail"
	m := &flat{base: base, b: []byte(text)}
	for _, tt := range []struct {
		at   uint64
		want string
	}{{base, strings.Repeat("a", 150)}, {base + 100, strings.Repeat("a", 50)}, {base + 150, ""}, {base + 151, ""}, {base - 1, ""}, {base + uint64(len(text)) - 4, ""}, {0, ""}, {1<<64 - 1, ""}} {
		if got := CString(m, tt.at); got != tt.want {
			t.Errorf("%#x: %.20q (%d bytes), want %d", tt.at, got, len(got), len(tt.want))
		}
	}
	if got := CString(half{m}, base); got != "" {
		t.Errorf("%q", got)
	}
}

// FuzzRead reads any bytes as an image.
func FuzzRead(f *testing.F) {
	f.Add(image(nil), uint64(0x7f0000000000))
	for _, path := range []string{"/bin/true", "/lib32/libc.so.6", "/usr/lib32/ld-linux.so.2"} {
		if m, _, err := mapFile(path, 0x56555000, true); err == nil {
			f.Add(m.b[:min(len(m.b), 64<<10)], m.base)
		}
	}
	exe, err := os.Open(os.Args[0])
	if err == nil {
		b := make([]byte, 4096)
		if _, err := io.ReadFull(exe, b); err == nil {
			f.Add(b, uint64(0x400000))
		}
		exe.Close()
	}
	f.Fuzz(func(t *testing.T, b []byte, base uint64) {
		m := &flat{base: base, b: b}
		im, err := Read(m, base)
		if (im == nil) != (err != nil) {
			t.Fatalf("%v and %v", im, err)
		}
		if m.read > maxPhdrs*(maxNote+strayNote+56)+4*maxDyn*16+2*maxString {
			t.Fatalf("%d bytes were asked for", m.read)
		}
		if im == nil {
			return
		}
		if im.Base != base || im.Size > maxSpan+4096 || base+im.Size < base || len(im.BuildID) > maxNote || len(im.SOName) > maxString+64 {
			t.Fatalf("%+v", im)
		}
		im.Dyn(elf.DT_DEBUG)
	})
}
