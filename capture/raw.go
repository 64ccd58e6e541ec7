package capture

import (
	"errors"
	"io"

	"procdump/dumpkind"
	"procdump/snapshot"
)

// rawLayout is the layout of a copy of a file of so many bytes: the offsets in
// the file take the place of addresses.
type rawLayout int64

func (l rawLayout) Size() int64             { return int64(l) }
func (rawLayout) HeadSize() int64           { return 0 }
func (rawLayout) WriteHead(io.Writer) error { return nil }
func (l rawLayout) whole() snapshot.Range   { return snapshot.Range{Size: uint64(l)} }
func (l rawLayout) region() snapshot.Region { return snapshot.Region{Range: l.whole(), Path: "/"} }
func (l rawLayout) extent() snapshot.Extent {
	return snapshot.Extent{Range: l.whole(), Kind: snapshot.ExtentPresent}
}
func (l rawLayout) place() []snapshot.Placement { return []snapshot.Placement{{Range: l.whole()}} }

// Placements implements layout.
func (l rawLayout) Placements() []snapshot.Placement {
	if l == 0 {
		return nil
	}
	return l.place()
}

// rawSelection is all of a dump's file, as the memory of its process.
func rawSelection(p *snapshot.Process, o *Output) *dumpkind.Selection {
	l := rawLayout(o.RawSize)
	q := *p
	q.Memory, q.Regions = rawMemory{o.Raw, l}, []snapshot.Region{l.region()}
	return &dumpkind.Selection{Process: &q, Ranges: []snapshot.Range{l.whole()}}
}

// rawMemory is a file as memory. A byte of it that cannot be read ends the copy.
type rawMemory struct {
	r io.ReaderAt
	l rawLayout
}

// errCut means that a file has become shorter.
var errCut = errors.New("read dump: it ends before its length")

// ReadMemory implements snapshot.Memory.
func (m rawMemory) ReadMemory(p []byte, addr uint64) (int, error) {
	n, err := m.r.ReadAt(p, int64(addr))
	switch {
	case n == len(p):
		return n, nil
	case errors.Is(err, io.EOF):
		return n, errCut
	}
	return n, err
}

// Extents implements snapshot.Memory.
func (m rawMemory) Extents(r snapshot.Range) ([]snapshot.Extent, error) {
	x := m.l.extent()
	if x.Range = x.Intersect(r); x.Size == 0 {
		return nil, nil
	}
	return []snapshot.Extent{x}, nil
}
