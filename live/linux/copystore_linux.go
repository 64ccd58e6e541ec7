package linux

import (
	"bytes"
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"procdump/internal/sys/fsys"
	"procdump/snapshot"
)

// copyStore is a copy of a process's memory in a file, page by page. It is made
// of chunks, each of which has its place in the file as soon as something of it
// is written; pages that are zero are not written. Several goroutines may use it
// at once, but not the same chunk.
//
//	address space   │ chunk 7 │ chunk 8 │      …      │ chunk 90 │
//	file            │ chunk 8 │ chunk 90 │ chunk 7 │   as they were met first
type copyStore struct {
	file    *os.File
	direct  *os.File // the same file past the page cache (O_DIRECT); nil: not used
	refused atomic.Bool

	mu     sync.Mutex
	chunks map[uint64]*chunk // by address / chunkSize
	size   int64
}

// chunk says what is known of a chunk's pages: of those in neither set nothing.
type chunk struct {
	off  int64   // in the file
	held pageSet // pages that are there
	zero pageSet // pages that exist and are zero

	looked bool // at the stop
}

// directMin is the shortest write that goes past the page cache, in bytes.
const directMin = 256 << 10

func newCopyStore(f *os.File) *copyStore {
	st := &copyStore{file: f, chunks: map[uint64]*chunk{}}
	if d, err := fsys.OpenDirect(f); err == nil {
		st.direct = d
	}
	return st
}

// close leaves the file to its owner. It can be read, but nothing can be put any more.
func (st *copyStore) close() {
	if st != nil && st.direct != nil {
		st.direct.Close()
		st.direct = nil
	}
}

// at returns the chunk of an address. One that is not there is made if create is set, else it is nil.
func (st *copyStore) at(addr uint64, create bool) *chunk {
	st.mu.Lock()
	defer st.mu.Unlock()
	c := st.chunks[addr/chunkSize]
	if c == nil && create {
		c = &chunk{off: st.size}
		st.chunks[addr/chunkSize] = c
		st.size += chunkSize
	}
	return c
}

// parts calls f for the part of each chunk that a range of whole pages has: the
// pages from i up to j of the chunk that begins at addr.
func parts(r snapshot.Range, f func(addr uint64, i, j int)) {
	for at := r.Addr; at < r.End(); {
		base := at &^ (chunkSize - 1)
		end := min(r.End(), base+chunkSize)
		f(base, int(at-base)/chunkPage, int(end-base)/chunkPage)
		at = end
	}
}

// forget makes pages unknown.
func (st *copyStore) forget(r snapshot.Range) {
	parts(r, func(addr uint64, i, j int) {
		if c := st.at(addr, false); c != nil {
			c.held.remove(span(i, j))
			c.zero.remove(span(i, j))
		}
	})
}

// sweep makes all unknown that was not looked at: nothing exists there any more.
func (st *copyStore) sweep() {
	for _, c := range st.chunks {
		if !c.looked {
			c.held, c.zero = pageSet{}, pageSet{}
		}
		c.looked = false
	}
}

// put stores pages that begin at addr. What was there is overwritten.
func (st *copyStore) put(addr uint64, p []byte) error {
	var err error
	parts(snapshot.Range{Addr: addr, Size: uint64(len(p))}, func(base uint64, i, j int) {
		if err == nil {
			err = st.putIn(st.at(base, true), i, p[base+uint64(i)*chunkPage-addr:][:(j-i)*chunkPage])
		}
	})
	return err
}

// putIn stores pages from the i-th of a chunk on.
func (st *copyStore) putIn(c *chunk, i int, p []byte) error {
	for len(p) > 0 {
		n, zero := 0, zeroPage(p)
		for n < len(p) && zeroPage(p[n:]) == zero {
			n += chunkPage
		}
		pages := span(i, i+n/chunkPage)
		c.held.remove(pages)
		c.zero.remove(pages)
		if zero {
			c.zero.add(pages)
		} else {
			if err := st.write(p[:n], c.off+int64(i)*chunkPage); err != nil {
				return err
			}
			c.held.add(pages)
		}
		p, i = p[n:], i+n/chunkPage
	}
	return nil
}

var noContent [chunkPage]byte

func zeroPage(p []byte) bool { return bytes.Equal(p[:chunkPage], noContent[:]) }

func (st *copyStore) write(p []byte, off int64) error {
	if st.direct != nil && len(p) >= directMin && fsys.IsAligned(p, off) && !st.refused.Load() {
		_, err := st.direct.WriteAt(p, off)
		if !fsys.IsDirectRefused(err) {
			return err
		}
		st.refused.Store(true)
	}
	_, err := st.file.WriteAt(p, off)
	return err
}

// extents lists what exists of a range of whole pages.
func (st *copyStore) extents(r snapshot.Range) (out []snapshot.Extent) {
	parts(r, func(addr uint64, i, j int) {
		c := st.at(addr, false)
		if c == nil {
			return
		}
		for i < j {
			set, kind := &c.held, snapshot.ExtentPresent
			k := set.next(i, true)
			if z := c.zero.next(i, true); z < k {
				set, kind, k = &c.zero, snapshot.ExtentPresent|snapshot.ExtentZero, z
			}
			if i = min(set.next(k, false), j); k < i {
				out = appendExtent(out, addr+uint64(k)*chunkPage, addr+uint64(i)*chunkPage, kind)
			}
		}
	})
	return out
}

// read fills p with a range that lies within extents that are not zero.
func (st *copyStore) read(p []byte, r snapshot.Range) error {
	for len(p) > 0 {
		c := st.at(r.Addr, false)
		in := r.Addr % chunkSize
		n := min(chunkSize-in, uint64(len(p)))
		off := c.off + int64(in)
		// Chunks that follow each other often do so in the file.
		for next := c; n < uint64(len(p)); n = min(n+chunkSize, uint64(len(p))) {
			if next = st.at(r.Addr+n, false); next == nil || next.off != off+int64(n) {
				break
			}
		}
		if _, err := st.file.ReadAt(p[:n], off); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		fsys.DropCached(st.file, off, int64(n))
		p, r.Addr, r.Size = p[n:], r.Addr+n, r.Size-n
	}
	return nil
}
