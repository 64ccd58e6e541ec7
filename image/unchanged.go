package image

import (
	"bytes"
	"os"

	"procdump/snapshot"
)

// Unchanged is the memory of a dump that knows which pages are still the same in
// the files on this machine that were mapped: dumps do not say which pages a
// process has changed. Close must be called.
//
// It is for one goroutine at a time.
type Unchanged struct {
	snapshot.Memory
	p       *snapshot.Process
	regions map[int][]snapshot.Extent // by index, once they were compared

	path string // of file
	file *os.File
}

// NewUnchanged compares the memory of a process with files.
func NewUnchanged(p *snapshot.Process) *Unchanged {
	return &Unchanged{Memory: p.Memory, p: p, regions: map[int][]snapshot.Extent{}}
}

// Close closes the file that was compared last.
func (u *Unchanged) Close() {
	if u.file != nil {
		u.file.Close()
	}
	u.file, u.path = nil, ""
}

// Extents implements snapshot.Memory. Pages that a file has, too, have the kind
// of a file's.
func (u *Unchanged) Extents(r snapshot.Range) ([]snapshot.Extent, error) {
	xs, err := u.Memory.Extents(r)
	if err != nil {
		return nil, err
	}
	var out []snapshot.Extent
	add := func(x snapshot.Extent) {
		if n := len(out); n > 0 && out[n-1].End() == x.Addr && out[n-1].Kind == x.Kind {
			out[n-1].Size += x.Size
		} else if x.Size > 0 {
			out = append(out, x)
		}
	}
	for _, x := range xs {
		for x.Size > 0 {
			part, i := x, u.p.FindRegion(x.Addr)
			if i < 0 {
				add(part)
				break
			}
			part.Range = part.Intersect(u.p.Regions[i].Range)
			if g := &u.p.Regions[i]; len(g.Path) == 0 || g.Path[0] != '/' || g.Deleted {
				add(part)
			} else {
				known, err := u.compared(i)
				if err != nil {
					return nil, err
				}
				for _, k := range known {
					add(snapshot.Extent{Range: k.Intersect(part.Range), Kind: k.Kind})
				}
			}
			x.Addr, x.Size = part.End(), x.Size-part.Size
		}
	}
	return out, nil
}

// compared lists what the dump holds of a region, changed pages apart from those
// that its file still has.
func (u *Unchanged) compared(i int) ([]snapshot.Extent, error) {
	if xs, ok := u.regions[i]; ok {
		return xs, nil
	}
	g := &u.p.Regions[i]
	xs, err := u.Memory.Extents(g.Range)
	if err != nil {
		return nil, err
	}
	path, err := below("", g.Path)
	if err != nil {
		return nil, err
	}
	if f := u.open(path); f != nil {
		var all []snapshot.Extent
		for _, x := range xs {
			all = u.compare(all, x, f, int64(g.Offset-g.Addr))
		}
		xs = all
	}
	u.regions[i] = xs
	return xs, nil
}

// open opens a file that a region was mapped from; nil: it is not to be had.
func (u *Unchanged) open(path string) *os.File {
	if u.path != path {
		u.Close()
		u.path = path
		u.file, _, _ = openRegular(path)
	}
	return u.file
}

// compare appends an extent to all, in pieces of one kind. What lies at an
// address should be in the file at the address plus shift.
func (u *Unchanged) compare(all []snapshot.Extent, x snapshot.Extent, f *os.File, shift int64) []snapshot.Extent {
	const chunk = 64 * pageSize
	mem, file := make([]byte, chunk), make([]byte, chunk)
	for x.Size > 0 {
		n := min(x.Size, chunk-x.Addr%chunk)
		have, _ := u.Memory.ReadMemory(mem[:n], x.Addr)
		k, _ := f.ReadAt(file[:n], int64(x.Addr)+shift)
		for at := uint64(0); at < n; {
			end := min(n, at+pageSize-(x.Addr+at)%pageSize)
			kind := x.Kind &^ snapshot.ExtentFile
			if end <= uint64(min(have, k)) && bytes.Equal(mem[at:end], file[at:end]) {
				kind |= snapshot.ExtentFile
			}
			r := snapshot.Range{Addr: x.Addr + at, Size: end - at}
			if n := len(all); n > 0 && all[n-1].End() == r.Addr && all[n-1].Kind == kind {
				all[n-1].Size += r.Size
			} else {
				all = append(all, snapshot.Extent{Range: r, Kind: kind})
			}
			at = end
		}
		x.Addr, x.Size = x.Addr+n, x.Size-n
	}
	return all
}
