package image

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"procdump/image/breakpad"
	"procdump/internal/safeopen"
)

// SymbolsIn makes a Set look for Breakpad's symbol files in folders, from now on.
// They may be large: to read them takes up to seconds.
func (s *Set) SymbolsIn(dirs []string) { s.symbols = dirs }

// Breakpad returns the image's symbol file, or nil. It lies in one of the folders
// for such files: as NAME/ID/NAME.sym, where the tools of Breakpad put it and look
// for it, or as NAME.sym.
func (im *Image) Breakpad() *breakpad.File {
	if len(im.set.symbols) == 0 {
		return nil
	}
	return im.sym.get(func() *breakpad.File {
		id := im.debugID()
		if id == "" {
			return nil
		}
		for _, dir := range im.set.symbols {
			for _, name := range im.symbolNames() {
				// C:\app.pdb has app.sym.
				file := strings.TrimSuffix(name, ".pdb") + ".sym"
				for _, p := range []string{filepath.Join(dir, name, id, file), filepath.Join(dir, file)} {
					f, err := im.openSymbols(p, id)
					switch {
					case errors.Is(err, fs.ErrNotExist):
					case err != nil:
						im.set.warn("%s: %v", p, err)
					default:
						return f
					}
				}
			}
		}
		return nil
	})
}

// symbolNames are those that dump_syms may have given the image.
func (im *Image) symbolNames() []string {
	m := im.Module
	path := m.Path
	if path == "[vdso]" {
		path = "linux-gate.so"
	}
	var names []string
	for _, s := range []string{m.SOName, path} {
		s = s[strings.LastIndexAny(s, `/\`)+1:]
		if s == "" || s == "." || s == ".." || len(names) > 0 && names[0] == s {
			continue
		}
		names = append(names, s)
	}
	if len(names) > 0 && im.windows() {
		last := names[len(names)-1]
		names = append(names, strings.TrimSuffix(last, filepath.Ext(last))+".pdb")
	}
	return names
}

// debugID is what Breakpad calls an image: 16 bytes of its build id, or of a hash
// of its code, in the form of a GUID, and 0; of a PE image the GUID and the age of
// its PDB. "" if the dump does not tell.
func (im *Image) debugID() string {
	id, age := im.Module.BuildID, uint32(0)
	if len(id) == 0 {
		id = im.Module.TextHash
	}
	if len(id) == 0 {
		if f := im.File(); f != nil {
			id = f.BuildID
		}
	}
	if len(id) == 0 {
		return ""
	}
	le := binary.LittleEndian
	if im.windows() && len(id) == 20 {
		age = le.Uint32(id[16:])
	}
	var g [16]byte
	copy(g[:], id)
	return fmt.Sprintf("%08X%04X%04X%X%X", le.Uint32(g[:]), le.Uint16(g[4:]), le.Uint16(g[6:]), g[8:], age)
}

// openSymbols opens a symbol file, if it is that of an image.
func (im *Image) openSymbols(path, id string) (*breakpad.File, error) {
	o, st, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	f, err := breakpad.NewReader(o, st.Size(), im.set.sharedSymbols)
	if err == nil && !strings.EqualFold(f.ID, id) {
		err = fmt.Errorf("its symbols are those of another file (%s, not %s)", f.ID, id)
	}
	if err != nil {
		o.Close()
		return nil, err
	}
	if f.Cut {
		im.set.warn("%s: it has more functions than can be remembered", path)
	}
	im.files = append(im.files, &File{Path: path, closer: o})
	return f, nil
}

// openRegular opens a file that is one and is not empty. Its path may come from a
// dump and name anything: to open a named pipe would wait, and to read a file of
// procfs or tracefs might wait, too, or change something. Those say that they are
// empty.
func openRegular(path string) (*os.File, fs.FileInfo, error) {
	return safeopen.File(path, func(st fs.FileInfo) error {
		if !st.Mode().IsRegular() || st.Size() == 0 {
			return fmt.Errorf("%s is no regular file, or empty", path)
		}
		return nil
	})
}
