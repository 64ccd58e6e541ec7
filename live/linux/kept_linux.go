package linux

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sort"
	"syscall"

	"procdump/snapshot"
)

// keptInRAM is how many bytes of what a clone does not have are kept in RAM
// before a file takes the rest.
const keptInRAM = 1 << 20

// kept is memory that a clone does not have, as it was at the stop. A nil kept
// holds nothing.
type kept struct {
	ranges []snapshot.Range // whole pages; ascending, not overlapping
	pieces []keptPiece      // what exists in them, ascending
	ram    []byte
	file   *os.File // what did not fit into ram; nil: nothing
	size   int64    // bytes in both
}

// keptPiece is an extent, and where its content is: in ram up to its length,
// then in file.
type keptPiece struct {
	snapshot.Extent
	off int64
}

func (k *kept) close() {
	if k != nil && k.file != nil {
		k.file.Close()
	}
}

// rangeAt is the index of the first range that ends after addr.
func (k *kept) rangeAt(addr uint64) int {
	return sort.Search(len(k.ranges), func(i int) bool { return k.ranges[i].End() > addr })
}

func (k *kept) has(addr uint64) bool {
	if k == nil {
		return false
	}
	i := k.rangeAt(addr)
	return i < len(k.ranges) && k.ranges[i].Contains(addr)
}

// holds tells whether something of a range is kept. It needs no order.
func (k *kept) holds(r snapshot.Range) bool {
	return slices.ContainsFunc(k.ranges, func(have snapshot.Range) bool { return have.Intersect(r).Size > 0 })
}

// split cuts a range of whole pages into parts of which all is kept or nothing.
func (k *kept) split(r snapshot.Range) []snapshot.Range {
	if k == nil {
		return []snapshot.Range{r}
	}
	var out []snapshot.Range
	at := r.Addr
	add := func(end uint64) {
		if end > at {
			out = append(out, snapshot.Range{Addr: at, Size: end - at})
			at = end
		}
	}
	for i := k.rangeAt(at); i < len(k.ranges) && k.ranges[i].Addr < r.End(); i++ {
		add(k.ranges[i].Addr)
		add(min(k.ranges[i].End(), r.End()))
	}
	add(r.End())
	return out
}

// pieceAt is the index of the first piece that ends after addr.
func (k *kept) pieceAt(addr uint64) int {
	return sort.Search(len(k.pieces), func(i int) bool { return k.pieces[i].End() > addr })
}

func (k *kept) extents(r snapshot.Range) (out []snapshot.Extent) {
	for i := k.pieceAt(r.Addr); i < len(k.pieces) && k.pieces[i].Addr < r.End(); i++ {
		x := k.pieces[i].Extent
		x.Range = x.Range.Intersect(r)
		out = append(out, x)
	}
	return out
}

// read fills p with a range that lies within extents.
func (k *kept) read(p []byte, r snapshot.Range) error {
	for i := k.pieceAt(r.Addr); i < len(k.pieces) && k.pieces[i].Addr < r.End(); i++ {
		x := &k.pieces[i]
		part := x.Range.Intersect(r)
		if err := k.readAt(p[part.Addr-r.Addr:][:part.Size], x.off+int64(part.Addr-x.Addr)); err != nil {
			return fmt.Errorf("read memory that was kept beside the clone: %w", err)
		}
	}
	return nil
}

func (k *kept) readAt(p []byte, off int64) error {
	n := 0
	if off < int64(len(k.ram)) {
		n = copy(p, k.ram[off:])
	}
	if n == len(p) {
		return nil
	}
	_, err := k.file.ReadAt(p[n:], off+int64(n)-int64(len(k.ram)))
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// sort puts what was kept into the order of addresses. Nothing can be read before.
func (k *kept) sort() {
	slices.SortFunc(k.ranges, func(a, b snapshot.Range) int { return cmp.Compare(a.Addr, b.Addr) })
	slices.SortFunc(k.pieces, func(a, b keptPiece) int { return cmp.Compare(a.Addr, b.Addr) })
}

// keep copies what exists of a range of whole pages. spool makes the file, if one is needed.
func (k *kept) keep(m *Memory, r snapshot.Range, spool func() (*os.File, error)) error {
	const window = 64 << 20 // so that the list of a scattered region does not take much memory at a time
	const piece = 1 << 20
	buf := make([]byte, min(piece, r.Size))
	k.ranges = append(k.ranges, r)
	for at := r.Addr; at < r.End(); at += min(window, r.End()-at) {
		xs, err := m.Extents(snapshot.Range{Addr: at, Size: min(window, r.End()-at)})
		if err != nil {
			return err
		}
		for _, x := range xs {
			k.pieces = append(k.pieces, keptPiece{x, k.size})
			if x.Kind&snapshot.ExtentZero != 0 {
				continue
			}
			for x.Size > 0 {
				part := x
				part.Size = min(x.Size, piece)
				// What cannot be read is zero, as in a dump without a clone.
				if _, err := m.ReadExtents(buf[:part.Size], []snapshot.Extent{part}); err != nil {
					return err
				}
				if err := k.write(buf[:part.Size], spool); err != nil {
					return err
				}
				x.Addr, x.Size = x.Addr+part.Size, x.Size-part.Size
			}
		}
	}
	return nil
}

func (k *kept) write(p []byte, spool func() (*os.File, error)) (err error) {
	if k.file == nil && k.size+int64(len(p)) <= keptInRAM {
		k.ram = append(k.ram, p...)
		k.size += int64(len(p))
		return nil
	}
	if k.file == nil {
		if spool == nil {
			return errors.ErrUnsupported
		}
		if k.file, err = spool(); err != nil {
			return err
		}
	}
	if _, err = k.file.WriteAt(p, k.size-int64(len(k.ram))); err != nil {
		return err
	}
	k.size += int64(len(p))
	return nil
}

// notCloned tells whether a clone lacks a region, or has it in a way that does
// not stay as it is.
func notCloned(g *snapshot.Region) bool {
	const sharedWrite = snapshot.Shared | snapshot.Write
	switch {
	case unreadable(g):
		return false
	case g.Flags&(snapshot.DontFork|snapshot.WipeOnFork) != 0:
		return true
	case g.Flags&snapshot.HugeTLB != 0:
		// Where the machine has no huge page left for the process to write to,
		// the kernel takes it away from the clone.
		return true
	case g.Flags&snapshot.RemoteFile != 0:
		return true // a clone does not have the pages of files, and these may not be read from there
	}
	// Memory that is shared goes on to change. What this mapping may not write
	// another one may, where the file has no name that others open.
	return g.Perm&snapshot.Shared != 0 && (g.Perm&sharedWrite == sharedWrite || g.Deleted || g.Inode == 0)
}

// isNoSpace tells whether a file could not be written for want of space.
func isNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}
