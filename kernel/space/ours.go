package space

import (
	"bytes"
	"cmp"
	"debug/elf"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"procdump/kdump/diskdump"
	"procdump/kdump/vmcore"
	"procdump/kernel/capture"
	"procdump/kernel/small"
)

// smallName is the name of a small dump, as package rescue has it.
const smallName = "small_YYMMDD_HHMMSS.elf"

// dumpsOf lists the dumps in a folder that a mask has named and whose content
// is that of a dump, by the time of the crash. What merely has such a name is
// nobody's to remove.
func dumpsOf(folder, mask string, ours func(f *os.File, size int64) bool) []string {
	name, err := capture.ParseName(filepath.Join(folder, mask), capture.FormatAuto)
	if err != nil {
		return nil
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		if name.Named(e.Name()) && e.Type().IsRegular() && check(filepath.Join(folder, e.Name()), ours) {
			names = append(names, e.Name())
		}
	}
	// The words of a mask are as long as what they stand for; what is put between
	// that and the extension numbers the dumps of the same second.
	stem := len(strings.TrimSuffix(mask, filepath.Ext(mask)))
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(strings.Compare(a[:stem], b[:stem]), len(a)-len(b), strings.Compare(a, b))
	})
	for i := range names {
		names[i] = filepath.Join(folder, names[i])
	}
	return names
}

func check(path string, ours func(*os.File, int64) bool) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	st, err := f.Stat()
	return err == nil && st.Mode().IsRegular() && ours(f, st.Size())
}

// isDump tells whether a file is a dump of a format that procdump writes.
func isDump(f *os.File, _ int64) bool {
	head := make([]byte, 4096)
	n, _ := io.ReadFull(f, head)
	return diskdump.Match(head[:n]) || vmcore.Match(head[:n])
}

// isSmall tells whether a file is a small dump of procdump: an ELF core file
// with its note.
func isSmall(f *os.File, size int64) bool {
	if size > small.MaxSize {
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
