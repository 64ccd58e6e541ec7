package image

import (
	"io"
	"os"
	"strings"

	"procdump/internal/safeopen"
	"procdump/snapshot"
)

// kindMiniPlus is the kind of a dump that leaves out the pages of files which the
// process has not changed, and nothing else of them.
const kindMiniPlus = "miniplus"

// maxUnsaved bounds the files that are kept open for their pages.
const maxUnsaved = 64

// unsaved reads what a dump has left out because a file holds it: not of images
// alone, but of all private mappings, such as the archive of classes of a Java
// virtual machine. The file must be the very one that was mapped, and not have been
// written to since the dump.
func (s *Set) unsaved(p []byte, addr uint64) int {
	i := s.p.FindRegion(addr)
	if s.p.Info.Kind != kindMiniPlus || i < 0 {
		return 0
	}
	g := &s.p.Regions[i]
	const not = snapshot.IO | snapshot.PFNMap | snapshot.Userfault | snapshot.RemoteFile
	if g.Deleted || g.Inode == 0 || !strings.HasPrefix(g.Path, "/") || g.Perm&snapshot.Shared != 0 || g.Flags&not != 0 {
		return 0
	}
	f := s.unsavedFile(g)
	if f == nil {
		return 0
	}
	n, _ := f.ReadAt(p[:min(uint64(len(p)), g.End()-addr)], int64(g.Offset+addr-g.Addr))
	return max(n, 0)
}

// unsavedFile is the file that a region was mapped from, or nil.
func (s *Set) unsavedFile(g *snapshot.Region) io.ReaderAt {
	f, ok := s.unsavedFiles[g.Path]
	if !ok && len(s.unsavedFiles) < maxUnsaved {
		f = s.openUnsaved(g)
		if s.unsavedFiles == nil {
			s.unsavedFiles = map[string]*os.File{}
		}
		s.unsavedFiles[g.Path] = f
	}
	if f == nil {
		return nil
	}
	return f
}

func (s *Set) openUnsaved(g *snapshot.Region) *os.File {
	for _, root := range s.o.Roots {
		path, err := below(root, g.Path)
		if err != nil {
			continue
		}
		f, st, err := openRegular(path)
		if err != nil {
			continue
		}
		if safeopen.Inode(st) == g.Inode && !st.ModTime().After(s.p.Info.Time) {
			return f
		}
		f.Close()
	}
	return nil
}

func (s *Set) closeUnsaved() {
	for _, f := range s.unsavedFiles {
		if f != nil {
			f.Close()
		}
	}
	s.unsavedFiles = nil
}
