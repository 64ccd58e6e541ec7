package image

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"procdump/image/pe"
)

// windows tells whether the image has a path of Windows.
func (im *Image) windows() bool { return !im.named() && strings.Contains(im.Module.Path, `\`) }

// PE returns the image of a Windows program or library, or nil: of none, or if
// neither the dump nor its file has its headers.
func (im *Image) PE() *pe.Image {
	if !im.windows() {
		return nil
	}
	return im.pe.get(func() *pe.Image {
		x, err := pe.New(im.readMapped)
		if err != nil || uint64(x.Size) > im.Module.Size {
			return nil
		}
		return x
	})
}

// readMapped reads what lies at a place of a Windows image: in the dump, or else
// in its file. It is meant for what the loader does not change.
func (im *Image) readMapped(p []byte, rva uint32) int {
	if uint64(rva) >= im.Module.Size {
		return 0
	}
	p = p[:min(uint64(len(p)), im.Module.Size-uint64(rva))]
	n, _ := im.set.ReadMemory(p, im.Module.Addr+uint64(rva))
	if n < len(p) {
		if f := im.mappedFile(); f != nil {
			n += f.Read(p[n:], rva+uint32(n))
		}
	}
	return n
}

// readPE reads memory that is the file's in every process.
func (im *Image) readPE(p []byte, addr uint64) int {
	f, rva := im.mappedFile(), uint32(addr-im.Module.Addr)
	if f == nil {
		return 0
	}
	return f.Read(p[:min(uint64(len(p)), uint64(f.Unchanged(rva)))], rva)
}

// mappedFile returns the file that a Windows image was mapped from, or nil.
func (im *Image) mappedFile() *pe.Image {
	return im.peFile.get(func() *pe.Image {
		for _, path := range im.windowsFiles() {
			o, _, err := openRegular(path)
			if err != nil {
				im.why = cmp.Or(im.why, err.Error())
				continue
			}
			f, err := pe.NewFile(o)
			if err == nil && (f.Stamp != im.Module.ID.Stamp || uint64(f.Size) != im.Module.Size) {
				err = fmt.Errorf("the file is another one (time stamp %08x, %#x bytes) than what was mapped (%08x, %#x bytes)",
					f.Stamp, f.Size, im.Module.ID.Stamp, im.Module.Size)
			}
			if err == nil {
				im.files = append(im.files, &File{Path: path, closer: o})
				return f
			}
			o.Close()
			im.why = fmt.Sprintf("%s: %v", path, err)
		}
		im.why = cmp.Or(im.why, "the dump does not hold all of it, and its file is not here (-sysroot DIR)")
		return nil
	})
}

// windowsFiles are the files that may be that of a Windows image: in a symbol
// store of Microsoft's tools, and below the roots, with and without the folder of
// its drive, or beside each other.
func (im *Image) windowsFiles() []string {
	parts := strings.FieldsFunc(im.Module.Path, func(c rune) bool { return c == '\\' || c == '/' })
	for _, p := range parts {
		if p == "." || p == ".." {
			return nil
		}
	}
	if len(parts) == 0 {
		return nil
	}
	name := parts[len(parts)-1]
	var all []string
	add := func(root string, parts ...string) {
		if f, ok := anyCase(root, parts); ok {
			all = append(all, f)
		}
	}
	for _, dir := range im.set.symbols {
		add(dir, name, fmt.Sprintf("%08X%x", im.Module.ID.Stamp, im.Module.Size), name)
	}
	// On Windows, but not over the network (\\server\share): a dump may name anyone.
	if filepath.IsAbs(im.Module.Path) && !strings.HasPrefix(im.Module.Path, `\\`) {
		all = append(all, im.Module.Path)
	}
	for _, root := range im.set.o.Roots {
		root = cmp.Or(root, "/")
		add(root, parts...)
		if strings.HasSuffix(parts[0], ":") {
			add(root, parts[1:]...)
		}
		add(root, name)
	}
	return all
}

// anyCase finds a file below a folder; Windows makes no difference between small
// and capital letters.
func anyCase(dir string, parts []string) (string, bool) {
	for _, part := range parts {
		next := filepath.Join(dir, part)
		if _, err := os.Stat(next); err != nil {
			entries, err := os.ReadDir(dir)
			if err != nil {
				return "", false
			}
			for _, e := range entries {
				if strings.EqualFold(e.Name(), part) {
					next = filepath.Join(dir, e.Name())
					break
				}
			}
		}
		dir = next
	}
	_, err := os.Stat(dir)
	return dir, err == nil
}
