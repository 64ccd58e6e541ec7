package elfcore

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"slices"

	"procdump/arch"
)

// Note is a note of a core. Its desc is read when asked for.
type Note struct {
	Owner string // without its NUL: OwnerCore, OwnerLinux, …
	Type  uint32 // NT_*
	Off   int64  // file offset of the desc, bytes
	Size  uint64 // of the desc, bytes; at most what the file holds

	r *Reader
}

const (
	noteHeaderSize = 12
	maxOwnerSize   = 256
	// maxDescSize bounds what Desc allocates. The largest notes known, NT_FILE
	// and the memory map, have some 100 bytes a mapping.
	maxDescSize = 256 << 20
)

// Desc reads the note's contents.
func (n Note) Desc() ([]byte, error) {
	if n.Size > maxDescSize {
		return nil, &FormatError{n.Off, fmt.Sprintf("note of %d bytes", n.Size), nil}
	}
	return n.r.bytes(n.Off, n.Size)
}

// Unread lists the owners and types of notes that Process does not read: a
// snapshot has no place for what they say.
func (r *Reader) Unread() []string {
	var out []string
	for n, err := range r.Notes() {
		if err != nil {
			continue
		}
		switch n.Owner {
		case OwnerLinux, OwnerProcdump:
			continue
		case OwnerCore:
			switch n.Type {
			case arch.NT_PRSTATUS, arch.NT_PRFPREG, NT_PRPSINFO, NT_SIGINFO, NT_AUXV, NT_FILE:
				continue
			}
		}
		const most = 20
		if s := fmt.Sprintf("%s note of type %#x", n.Owner, n.Type); len(out) < most && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// Notes iterates over the notes of all PT_NOTE segments in the file's order. An
// error is about one segment, whose remaining notes it ends; it comes with a
// zero Note.
func (r *Reader) Notes() iter.Seq2[Note, error] {
	return func(yield func(Note, error) bool) {
		for _, ph := range r.Progs {
			if ph.Type == elf.PT_NOTE && !r.segmentNotes(ph, yield) {
				return
			}
		}
	}
}

// segmentNotes yields the notes of one segment and tells whether to go on.
func (r *Reader) segmentNotes(ph elf.ProgHeader, yield func(Note, error) bool) bool {
	if ph.Off > uint64(r.size) {
		return yield(Note{}, &FormatError{r.size, fmt.Sprintf("notes at %#x are cut off", ph.Off), io.ErrUnexpectedEOF})
	}
	off := int64(ph.Off)
	end := off + int64(min(ph.Filesz, uint64(r.size-off)))
	align := int64(4)
	if ph.Align == 8 {
		align = 8
	}
	for end-off >= noteHeaderSize {
		n, next, err := r.noteAt(off, end, align)
		if err != nil {
			return yield(Note{}, err)
		}
		if !yield(n, nil) {
			return false
		}
		off = next
	}
	if uint64(end)-ph.Off < ph.Filesz {
		return yield(Note{}, &FormatError{end, "notes are cut off", io.ErrUnexpectedEOF})
	}
	return true
}

// noteAt reads the note at off in a segment that ends at end, and says where
// the next one begins.
func (r *Reader) noteAt(off, end, align int64) (n Note, next int64, err error) {
	b := make([]byte, noteHeaderSize+maxOwnerSize)
	b = b[:min(int64(len(b)), end-off)]
	got, err := readAt(r.r, b, off)
	if err == nil && got < len(b) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return n, 0, &FormatError{off, "read note", err}
	}
	owner, desc := int64(binary.LittleEndian.Uint32(b)), int64(binary.LittleEndian.Uint32(b[4:]))
	if owner > maxOwnerSize || owner > int64(len(b)-noteHeaderSize) {
		return n, 0, &FormatError{off, fmt.Sprintf("note owner of %d bytes", owner), nil}
	}
	descOff := alignUp(off+noteHeaderSize+owner, align)
	if descOff+desc > end {
		return n, 0, &FormatError{off + 4, fmt.Sprintf("note of %d bytes reaches beyond the notes' end at %#x", desc, end), nil}
	}
	n = Note{Type: binary.LittleEndian.Uint32(b[8:]), Off: descOff, Size: uint64(desc), r: r}
	n.Owner = string(bytes.TrimRight(b[noteHeaderSize:noteHeaderSize+owner], "\x00"))
	return n, alignUp(descOff+desc, align), nil
}
