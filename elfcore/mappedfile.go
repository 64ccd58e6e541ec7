package elfcore

import (
	"bytes"
	"fmt"

	"procdump/arch"
	"procdump/snapshot"
)

// MappedFile is an entry of an NT_FILE note: a file mapping of the process.
// The note is (all numbers longs of the target)
//
//	count, page size
//	start, end, offset in pages    count times
//	path, NUL                      count times
type MappedFile struct {
	snapshot.Range
	Offset uint64 // in the file, bytes
	Path   string // with " (deleted)" if the file's name is gone
}

const deletedSuffix = " (deleted)"

// ParseMappedFiles reads the desc of an NT_FILE note and the page size it
// states (gcore says 1). If it is damaged it returns what it could read and an
// error.
func ParseMappedFiles(m arch.Machine, desc []byte) (files []MappedFile, pageSize uint64, err error) {
	w := m.PointerSize()
	if w == 0 {
		return nil, 0, fmt.Errorf("read NT_FILE: machine %v not supported", m)
	}
	if len(desc) < 2*w {
		return nil, 0, fmt.Errorf("read NT_FILE: %d bytes", len(desc))
	}
	d := wordBytes{desc, w}
	count, page := d.word(0), d.word(w)
	if room := uint64(len(desc)-2*w) / uint64(3*w); count > room {
		err = fmt.Errorf("read NT_FILE: %d entries, room for %d", count, room)
		count = room
	}
	names := desc[2*w+int(count)*3*w:]
	for i := range int(count) {
		name, rest, ok := bytes.Cut(names, []byte{0})
		if !ok {
			return files, page, fmt.Errorf("read NT_FILE: path %d of %d is cut off", i, count)
		}
		names = rest
		at := (2 + 3*i) * w
		start, end := d.word(at), d.word(at+w)
		if end < start {
			err = fmt.Errorf("read NT_FILE: entry %d ends at %#x before it begins at %#x", i, end, start)
			continue
		}
		files = append(files, MappedFile{snapshot.Range{Addr: start, Size: end - start}, d.word(at+2*w) * page, string(name)})
	}
	return files, page, err
}

// MarshalMappedFiles returns the desc of an NT_FILE note of machine m, nil if m
// is not supported. Offsets are rounded down to pages of pageSize bytes.
func MarshalMappedFiles(m arch.Machine, files []MappedFile, pageSize uint64) []byte {
	w := m.PointerSize()
	if w == 0 || pageSize == 0 {
		return nil
	}
	d := wordBytes{make([]byte, (2+3*len(files))*w), w}
	d.putWord(0, uint64(len(files)))
	d.putWord(w, pageSize)
	names := 0
	for i, f := range files {
		at := (2 + 3*i) * w
		d.putWord(at, f.Addr)
		d.putWord(at+w, f.End())
		d.putWord(at+2*w, f.Offset/pageSize)
		names += len(f.Path) + 1
	}
	b := append(make([]byte, 0, len(d.b)+names), d.b...)
	for _, f := range files {
		b = append(append(b, f.Path...), 0)
	}
	return b
}

// mappedFiles lists the file mappings below limit among regions.
func mappedFiles(regions []snapshot.Region, limit uint64) []MappedFile {
	var files []MappedFile
	for i := range regions {
		r := &regions[i]
		if !isFile(r) || r.End() > limit {
			continue
		}
		path := r.Path
		if r.Deleted {
			path += deletedSuffix
		}
		files = append(files, MappedFile{r.Range, r.Offset, path})
	}
	return files
}
