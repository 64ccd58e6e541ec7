package linux

import (
	"debug/elf"
	"os"
	"strings"
	"time"

	"procdump/internal/elfimage"
	"procdump/snapshot"
)

// moduleKey is a mapping that may begin an image; what it holds does not
// change while it stays mapped.
type moduleKey struct {
	addr, dev, inode uint64
	path             string
}

// moduleCache remembers images read before the stop; nil: not an image.
type moduleCache map[moduleKey]*snapshot.Module

// find lists the images mapped in regions, reading those it does not know, and
// marks their regions. exe is the path of the executable, which comes first.
func (c moduleCache) find(mem elfimage.Reader, pid int, regions []snapshot.Region, exe string) []snapshot.Module {
	var out []snapshot.Module
	for i := range regions {
		g := &regions[i]
		vdso := g.Path == "[vdso]"
		if !vdso && (g.Inode == 0 || g.Perm&snapshot.Read == 0 || g.Flags&(snapshot.IO|snapshot.PFNMap|snapshot.Userfault) != 0) {
			continue
		}
		key := moduleKey{g.Addr, g.Dev, g.Inode, g.Path}
		m, ok := c[key]
		if !ok {
			m = readModule(mem, pid, regions, i)
			c[key] = m
		}
		if m == nil || (len(out) > 0 && g.Addr < out[len(out)-1].End()) {
			continue
		}
		out = append(out, *m)
	}
	mark(regions, out)
	for i := range out {
		if i > 0 && out[i].Path == exe {
			main := out[i]
			copy(out[1:i+1], out[:i])
			out[0] = main
			break
		}
	}
	return out
}

// mark sets the Image flag on the regions that modules cover.
func mark(regions []snapshot.Region, modules []snapshot.Module) {
	for _, m := range modules {
		for i := range regions {
			if g := &regions[i]; g.Addr < m.End() && m.Addr < g.End() && (g.Inode == m.ID.Inode || g.Inode == 0) {
				g.Flags |= snapshot.Image
			}
		}
	}
}

// readModule reads the image that begins at regions[i], or returns nil: the
// file is mapped as data only, or is no ELF file.
func readModule(mem elfimage.Reader, pid int, regions []snapshot.Region, i int) *snapshot.Module {
	g := &regions[i]
	im, err := elfimage.Read(mem, g.Addr)
	if err != nil || im.Type != elf.ET_EXEC && im.Type != elf.ET_DYN {
		return nil
	}
	if g.Path == "[vdso]" {
		return &snapshot.Module{Range: g.Range, Path: "linux-gate.so", BuildID: im.BuildID, SOName: im.SOName,
			Bias: im.Bias, Dynamic: im.Dynamic}
	}
	// What the headers say, but no further than something is mapped.
	end, code := g.End(), false
	for j := i; j < len(regions) && regions[j].Addr < im.Base+im.Size; j++ {
		r := &regions[j]
		end = max(end, min(r.End(), im.Base+im.Size))
		if r.Inode == g.Inode && r.Dev == g.Dev {
			end = max(end, r.End())
			code = code || r.Perm&snapshot.Execute != 0
		}
	}
	if !code {
		return nil
	}
	m := &snapshot.Module{
		Range: snapshot.Range{Addr: g.Addr, Size: end - g.Addr},
		Path:  g.Path, Deleted: g.Deleted, BuildID: im.BuildID, SOName: im.SOName, Bias: im.Bias, Dynamic: im.Dynamic,
		ID: snapshot.FileID{Dev: g.Dev, Inode: g.Inode},
	}
	if g.Flags&snapshot.RemoteFile == 0 && strings.HasPrefix(g.Path, "/") {
		if st, err := os.Stat(procPath(pid, "root") + g.Path); err == nil && keyOf(st).inode == g.Inode {
			m.ID.Size, m.ID.ModTime = st.Size(), st.ModTime().Round(time.Millisecond)
		}
	}
	return m
}
