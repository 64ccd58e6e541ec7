package windump

import (
	"encoding/binary"
	"fmt"
	"path"
	"strings"
)

// Module is a loaded driver, or the kernel itself.
type Module struct {
	Name       string // "ntoskrnl.exe"; "" if the dump does not hold it
	Path       string // `\SystemRoot\system32\ntoskrnl.exe`
	Base       uint64 // virtual address
	Size       uint64 // bytes
	EntryPoint uint64
	CheckSum   uint32
	// TimeDateStamp is that of the image's header: on older builds seconds since
	// 1970, on reproducible ones a hash. It is 0 if the dump does not hold it.
	TimeDateStamp uint32
	// PDB and PDBID name the symbols, if the image's headers are in the dump: the
	// ID is that of a symbol server's path, GUID and age in hexadecimal.
	PDB, PDBID string
}

// Modules returns the loaded modules in load order, the kernel first: by
// PsLoadedModuleList, or from the list of a small dump. With an error it
// returns the modules before the damage.
func (r *Reader) Modules() ([]Module, error) {
	if r.Header.Type == Triage {
		return r.triageModules()
	}
	return r.loadedModules()
}

// ldr says where the fields of KLDR_DATA_TABLE_ENTRY lie.
type ldr struct {
	base, entry, size, full, name, checkSum, stamp int
	bytes                                          int
}

// In a small dump the structure ends after the time stamp, and that lies
// where the kernel of today has something else (ldr.stamp is the kernel's).
var (
	ldr64 = ldr{base: 0x30, entry: 0x38, size: 0x40, full: 0x48, name: 0x58, checkSum: 0x78, stamp: 0x9c, bytes: 0xa0}
	ldr32 = ldr{base: 0x18, entry: 0x1c, size: 0x20, full: 0x24, name: 0x2c, checkSum: 0x40, bytes: 0x44}
)

// The entries of a small dump: u32 offset of the name (and padding to a
// pointer), then the structure.
const (
	triageDriver64 = 0x90
	triageDriver32 = 0x4c
	triageStamp64  = 0x80 // in the structure
	triageStamp32  = 0x44
	build8         = 9200 // the first to have the time stamp in the list
)

func (r *Reader) ldr() *ldr {
	if r.layout.ptr == 4 {
		return &ldr32
	}
	return &ldr64
}

// module decodes the fields of a KLDR_DATA_TABLE_ENTRY that have fixed places.
func (r *Reader) module(b []byte) Module {
	l, f := r.ldr(), fields{b, r.layout.ptr}
	return Module{
		Base: f.pointer(l.base), EntryPoint: f.pointer(l.entry), Size: uint64(f.u32(l.size)), CheckSum: f.u32(l.checkSum),
	}
}

func (m *Module) setPath(p string) {
	m.Path = p
	m.Name = path.Base(strings.ReplaceAll(p, `\`, "/"))
	if p == "" {
		m.Name = ""
	}
}

// triageModules reads the list of drivers of a small dump.
func (r *Reader) triageModules() ([]Module, error) {
	t, err := r.Triage()
	if err != nil {
		return nil, err
	}
	entry, stamp := triageDriver64, triageStamp64
	if r.layout.ptr == 4 {
		entry, stamp = triageDriver32, triageStamp32
	}
	n := int(min(t.DriverCount, maxModules))
	b, err := r.exactly(int64(t.DriverListOffset), n*entry, "list of drivers")
	if err != nil {
		return nil, err
	}
	var mods []Module
	text := 0
	for ; len(b) >= entry; b = b[entry:] {
		e := b[r.layout.ptr:entry]
		m := r.module(e)
		m.TimeDateStamp = binary.LittleEndian.Uint32(e[stamp:])
		p, nameErr := t.poolString(binary.LittleEndian.Uint32(b))
		if err == nil {
			err = nameErr
		}
		// A damaged list may name one long string again and again.
		if text += len(p); text > maxTexts {
			return mods, damaged(int64(t.StringPoolOffset), "names of more than %d bytes", maxTexts)
		}
		m.setPath(p)
		r.addImage(&m)
		mods = append(mods, m)
	}
	return mods, err
}

// loadedModules walks PsLoadedModuleList.
func (r *Reader) loadedModules() ([]Module, error) {
	var mods []Module
	text := 0
	err := r.walk(r.Header.PsLoadedModuleList, maxModules, func(at uint64) error {
		l := r.ldr()
		b, err := readExactly(r, at, l.bytes)
		if err != nil {
			return err
		}
		m := r.module(b)
		if l.stamp != 0 && r.Header.MinorVersion >= build8 {
			m.TimeDateStamp = binary.LittleEndian.Uint32(b[l.stamp:])
		}
		// A damaged list may name one long text again and again.
		text += int(binary.LittleEndian.Uint16(b[l.full:])) + int(binary.LittleEndian.Uint16(b[l.name:]))
		if text > maxTexts {
			return damaged(-1, "names of more than %d bytes", maxTexts)
		}
		// A name that is paged out is no reason to lose the module.
		p, _ := r.unicodeString(b[l.full:])
		m.setPath(p)
		if name, err := r.unicodeString(b[l.name:]); err == nil && name != "" {
			m.Name = name
		}
		r.addImage(&m)
		mods = append(mods, m)
		return nil
	})
	if err != nil {
		err = fmt.Errorf("walk list of modules: %w", err)
	}
	return mods, err
}

// walk calls f for every entry of the list at head, whose LIST_ENTRY is the
// entry's first field. It ends with an error where the list is no circle.
func (r *Reader) walk(head uint64, limit int, f func(at uint64) error) error {
	if head == 0 {
		return fmt.Errorf("%w: the header names no list", ErrNotThere)
	}
	back := head
	for at, n := head, 0; ; n++ {
		next, err := r.pointer(at)
		if err != nil {
			return err
		}
		if next == head {
			return nil
		}
		if n == limit {
			return damaged(-1, "list at %#x of more than %d entries", head, limit)
		}
		// The back pointers catch every circle that misses the head.
		if prev, err := r.pointer(next + uint64(r.layout.ptr)); err != nil || prev != back {
			if err == nil {
				err = damaged(-1, "broken list: entry at %#x does not point back to %#x", next, back)
			}
			return err
		}
		if err := f(next); err != nil {
			return err
		}
		at, back = next, next
	}
}

// Offsets in the headers of a PE image (Microsoft's PE format specification).
const (
	peNewHeader  = 0x3c
	peStamp      = 8
	peMagic      = 0x18
	peDebug32    = 0x18 + 96 + 6*8 // of the data directory's entry for debug data
	peDebug64    = 0x18 + 112 + 6*8
	peHead       = peDebug64 + 8
	debugEntry   = 28
	debugEntries = 16
	codeView     = 2 // IMAGE_DEBUG_TYPE_CODEVIEW
	codeViewHead = 24
	maxPDBName   = 260
)

// addImage adds to m what the headers of its image say, if they are in the dump.
func (r *Reader) addImage(m *Module) {
	b, err := readExactly(r, m.Base, peNewHeader+4)
	if err != nil || string(b[:2]) != "MZ" {
		return
	}
	at := m.Base + uint64(binary.LittleEndian.Uint32(b[peNewHeader:]))
	if b, err = readExactly(r, at, peHead); err != nil || string(b[:4]) != "PE\x00\x00" {
		return
	}
	m.TimeDateStamp = binary.LittleEndian.Uint32(b[peStamp:])
	off := peDebug64
	if binary.LittleEndian.Uint16(b[peMagic:]) == 0x10b {
		off = peDebug32
	}
	table, n := binary.LittleEndian.Uint32(b[off:]), binary.LittleEndian.Uint32(b[off+4:])/debugEntry
	for i := range min(n, debugEntries) {
		if b, err = readExactly(r, m.Base+uint64(table)+uint64(i*debugEntry), debugEntry); err != nil {
			return
		}
		if binary.LittleEndian.Uint32(b[12:]) == codeView {
			m.PDB, m.PDBID = r.codeView(m.Base+uint64(binary.LittleEndian.Uint32(b[20:])), binary.LittleEndian.Uint32(b[16:]))
			return
		}
	}
}

// codeView reads a CodeView record: "RSDS", GUID, u32 age, path.
func (r *Reader) codeView(at uint64, size uint32) (name, id string) {
	if size <= codeViewHead {
		return "", ""
	}
	b, err := readExactly(r, at, int(min(size, codeViewHead+maxPDBName)))
	if err != nil || string(b[:4]) != "RSDS" {
		return "", ""
	}
	le := binary.LittleEndian
	id = fmt.Sprintf("%08X%04X%04X%X%X", le.Uint32(b[4:]), le.Uint16(b[8:]), le.Uint16(b[10:]), b[12:20], le.Uint32(b[20:]))
	p, _, _ := strings.Cut(string(b[codeViewHead:]), "\x00")
	return path.Base(strings.ReplaceAll(strings.ToValidUTF8(p, "?"), `\`, "/")), id
}

// ModuleAt returns the module that holds a virtual address.
func ModuleAt(mods []Module, addr uint64) (Module, bool) {
	for _, m := range mods {
		if addr >= m.Base && addr-m.Base < m.Size {
			return m, true
		}
	}
	return Module{}, false
}
