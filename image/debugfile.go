package image

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"path/filepath"

	"procdump/internal/guard"
)

// Debug returns the separate file of the image's debug information, or nil. It
// is found by the build id, or by the name and checksum that the image states
// (its .gnu_debuglink), as gdb finds it. A Fetcher is asked for what is neither
// here nor in the image's file.
func (im *Image) Debug() *File {
	if f := im.debug.get(im.findDebug); f != nil || im.set.fetcher == nil || !im.named() {
		return f
	}
	return im.fetchedDebug.get(func() *File {
		f := im.File()
		if f != nil && f.Section(".debug_info") != nil {
			return nil
		}
		return im.fetch(im.buildID(), "debuginfo")
	})
}

// buildID is that of the image, as the dump or else its file has it; nil: none.
func (im *Image) buildID() []byte {
	if id := im.Module.BuildID; id != nil {
		return id
	}
	if f := im.here(); f != nil {
		return f.BuildID
	}
	return nil
}

func (im *Image) findDebug() *File {
	if d := im.debugByID(im.buildID()); d != nil {
		return d
	}
	if f := im.here(); f != nil && f.OnDisk() {
		return im.linkedDebug(f)
	}
	return nil
}

// debugByID finds a file of debug information by its build id.
func (im *Image) debugByID(id []byte) *File {
	if len(id) < 2 {
		return nil
	}
	for _, dir := range im.set.o.DebugDirs {
		d, err := openFile(filepath.Join(dir, ".build-id", fmt.Sprintf("%x", id[:1]), fmt.Sprintf("%x.debug", id[1:])))
		if err != nil {
			continue
		}
		if bytes.Equal(d.BuildID, id) {
			im.files = append(im.files, d)
			return d
		}
		d.close()
	}
	return nil
}

// Supplement returns the file with the parts of a file's debug information that
// it shares with others, which dwz has put there, or nil. It is found by the name
// that the file states (its .gnu_debugaltlink), as an absolute path or from the
// file's own folder, or by the build id behind that.
func (im *Image) Supplement(f *File) *File {
	b, err := f.Data(".gnu_debugaltlink", maxNote)
	if err != nil {
		return nil
	}
	name, id, ok := bytes.Cut(b, []byte{0})
	if !ok || len(name) == 0 || len(id) == 0 {
		return nil
	}
	if d := im.set.supplements[string(id)]; d != nil {
		return d
	}
	d := im.findSupplement(f, string(name), id)
	if d == nil {
		im.set.warn("%s: the debug information that it shares with other files (%s, build id %x) is not here", f.Path, name, id)
		return nil
	}
	if im.set.supplements == nil {
		im.set.supplements = map[string]*File{}
	}
	im.set.supplements[string(id)] = d
	return d
}

func (im *Image) findSupplement(f *File, name string, id []byte) *File {
	var places []string
	if filepath.IsAbs(name) {
		for _, root := range im.set.o.Roots {
			if place, err := below(root, name); err == nil {
				places = append(places, place)
			}
		}
	} else if real, err := filepath.EvalSymlinks(f.Path); err == nil {
		places = append(places, filepath.Join(filepath.Dir(real), name))
	}
	// Distributions keep these files together.
	for _, dir := range im.set.o.DebugDirs {
		places = append(places, filepath.Join(dir, ".dwz", filepath.Base(name)))
	}
	for _, place := range places {
		d, err := openFile(place)
		if err != nil {
			continue
		}
		if bytes.Equal(d.BuildID, id) {
			im.files = append(im.files, d)
			return d
		}
		d.close()
	}
	if d := im.debugByID(id); d != nil {
		return d
	}
	return im.fetch(id, "debuginfo")
}

// linkedDebug finds the file that an image's .gnu_debuglink names: the name,
// NUL, zeros to a multiple of four bytes, and the CRC-32 of the file.
func (im *Image) linkedDebug(f *File) *File {
	b, err := f.Data(".gnu_debuglink", maxNote)
	if err != nil {
		return nil
	}
	name, _, ok := bytes.Cut(b, []byte{0})
	at := (len(name) + 4) &^ 3
	if !ok || len(name) == 0 || len(b) < at+4 || bytes.ContainsRune(name, '/') {
		return nil
	}
	sum := binary.LittleEndian.Uint32(b[at:])
	dir := filepath.Dir(f.Path)
	places := []string{dir, filepath.Join(dir, ".debug")}
	for _, d := range im.set.o.DebugDirs {
		places = append(places, filepath.Join(d, filepath.Dir(im.Module.Path)))
	}
	for _, place := range places {
		path := filepath.Join(place, string(name))
		if path == f.Path {
			continue
		}
		d, err := openFile(path)
		if err != nil {
			continue
		}
		if fits(f, d, sum) {
			im.files = append(im.files, d)
			return d
		}
		im.set.warn("%s: it is not the debug information of this %s", path, f.Path)
		d.close()
	}
	return nil
}

// fits tells whether a file holds another's debug information.
func fits(f, d *File, sum uint32) bool {
	if f.BuildID != nil && d.BuildID != nil {
		return bytes.Equal(f.BuildID, d.BuildID)
	}
	h := crc32.NewIEEE()
	_, err := io.Copy(h, io.NewSectionReader(d.r, 0, d.size))
	return err == nil && h.Sum32() == sum
}

const (
	maxAllMini = 128 << 20 // bytes of the mini debug files of a process, decompressed,
	maxMini    = 64 << 20  // of one,
	maxXZ      = 32 << 20  // and compressed
)

// Mini returns the mini debug information that an image carries, compressed, in
// its section .gnu_debugdata: an ELF file with the symbols of its functions.
func (im *Image) Mini() *File {
	return im.mini.get(func() *File {
		f := im.File()
		if f == nil || !f.OnDisk() {
			return nil
		}
		b, err := f.Data(".gnu_debugdata", maxXZ)
		if err == errNoSection {
			return nil
		}
		var m *File
		if err == nil {
			m, err = unpackMini(b, min(maxMini, maxAllMini-im.set.unpacked), &im.set.xzLeft)
		}
		if err != nil {
			im.set.warn("%s: mini debug information: %v", f.Path, err)
			return nil
		}
		im.set.unpacked += uint64(m.size)
		return m
	})
}

// unpackMini decompresses a mini debug file of at most limit bytes, and takes the
// memory of the dictionaries from left.
func unpackMini(b []byte, limit uint64, left *uint64) (f *File, err error) {
	err = guard.Do(malformed, func() error {
		text, err := unxz(b, limit, left)
		if err != nil {
			return err
		}
		if f, err = newFile(bytes.NewReader(text)); err == nil {
			f.size = int64(len(text))
		}
		return err
	})
	return f, err
}
