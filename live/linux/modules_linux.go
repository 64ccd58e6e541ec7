package linux

import (
	"debug/elf"
	"errors"
	"os"
	"sort"
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

// moduleCache remembers images read before the stop; nil: not an image. How far
// an image is mapped is looked at each time: the dynamic linker maps a library
// in several steps.
type moduleCache map[moduleKey]*cachedImage

type cachedImage struct {
	*elfimage.Image
	id   snapshot.FileID
	hash []byte // of an image without a build id
}

// find lists the images mapped in regions, reading those it does not know, and
// marks their regions. exe is the path of the executable, which comes first.
func (c moduleCache) find(mem elfimage.Reader, files *backing, pid int, regions []snapshot.Region, exe string) []snapshot.Module {
	var out []snapshot.Module
	for i := range regions {
		g := &regions[i]
		vdso := g.Path == "[vdso]"
		if !vdso && (g.Inode == 0 || g.Perm&snapshot.Read == 0 || g.Flags&(snapshot.IO|snapshot.PFNMap|snapshot.Userfault) != 0) {
			continue
		}
		key := moduleKey{g.Addr, g.Dev, g.Inode, g.Path}
		im, ok := c[key]
		if !ok && mem != nil {
			var err error
			im, err = readImage(mem, files, pid, g)
			if err == nil || errors.Is(err, elfimage.ErrNotELF) {
				c[key] = im
			}
		}
		m := im.module(regions, i)
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
		i := sort.Search(len(regions), func(i int) bool { return regions[i].End() > m.Addr })
		for ; i < len(regions) && regions[i].Addr < m.End(); i++ {
			if g := &regions[i]; g.Inode == m.ID.Inode || g.Inode == 0 {
				g.Flags |= snapshot.Image
			}
		}
	}
}

// readImage reads the image that begins at a region; nil: there is none.
func readImage(mem elfimage.Reader, files *backing, pid int, g *snapshot.Region) (*cachedImage, error) {
	im, err := elfimage.Read(mem, g.Addr)
	if err != nil {
		return nil, err
	}
	if im.Type != elf.ET_EXEC && im.Type != elf.ET_DYN {
		return nil, nil
	}
	c := &cachedImage{Image: im, id: snapshot.FileID{Dev: g.Dev, Inode: g.Inode}}
	if g.Flags&snapshot.RemoteFile == 0 && strings.HasPrefix(g.Path, "/") {
		if st, err := os.Stat(procPath(pid, "root") + g.Path); err == nil && keyOf(st).inode == g.Inode {
			c.id.Size, c.id.ModTime = st.Size(), st.ModTime().Round(time.Millisecond)
		}
	}
	if im.BuildID == nil {
		if f := files.open(g); f != nil {
			c.hash = elfimage.TextHash(f.f)
		}
	}
	return c, nil
}

// module is the image as it is mapped from regions[i] on, or nil: the file is
// mapped as data only.
func (c *cachedImage) module(regions []snapshot.Region, i int) *snapshot.Module {
	if c == nil {
		return nil
	}
	g, im := &regions[i], c.Image
	m := &snapshot.Module{Range: g.Range, Path: g.Path, Deleted: g.Deleted, BuildID: im.BuildID, TextHash: c.hash, SOName: im.SOName,
		Bias: im.Bias, Dynamic: im.Dynamic, ID: c.id}
	if g.Path == "[vdso]" {
		m.Path, m.ID = "linux-gate.so", snapshot.FileID{}
		return m
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
	m.Size = end - g.Addr
	return m
}
