package space

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"

	"procdump/kernel/capture"
	"procdump/kernel/small"
)

// dumpsOf lists the dumps in a folder that a mask has named.
func dumpsOf(folder, mask string, isDump func(*os.File) bool) []string {
	name, err := capture.ParseName(filepath.Join(folder, mask), capture.FormatAuto)
	if err != nil {
		return nil
	}
	return name.Existing(isDump)
}

// isSmall tells whether a file is a small dump of procdump: an ELF core file
// with its note.
func isSmall(f *os.File) bool {
	if st, err := f.Stat(); err != nil || st.Size() > small.MaxSize {
		return false
	}
	e, err := elf.NewFile(f)
	if err != nil || e.Type != elf.ET_CORE {
		return false
	}
	for _, p := range e.Progs {
		if p.Type == elf.PT_NOTE && p.Filesz <= small.MaxSize {
			b, err := io.ReadAll(io.LimitReader(p.Open(), small.MaxSize))
			if err == nil && hasNote(b, e.ByteOrder) {
				return true
			}
		}
	}
	return false
}

// hasNote looks for the note of a small dump among those of an ELF file:
// {namesz, descsz, type u32, name, desc}, both padded to 4 bytes.
func hasNote(b []byte, order binary.ByteOrder) bool {
	const head = 12
	padded := func(n uint32) uint64 { return (uint64(n) + 3) &^ 3 }
	for len(b) >= head {
		name, desc, kind := order.Uint32(b), order.Uint32(b[4:]), order.Uint32(b[8:])
		b = b[head:]
		if padded(name)+padded(desc) > uint64(len(b)) {
			return false
		}
		owner, _, _ := bytes.Cut(b[:name], []byte{0})
		if kind == small.NoteType && string(owner) == small.NoteOwner {
			return true
		}
		b = b[padded(name)+padded(desc):]
	}
	return false
}
