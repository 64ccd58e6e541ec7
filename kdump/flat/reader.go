package flat

import (
	"cmp"
	"container/heap"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"sort"

	"procdump/kdump"
)

// Reader is the file whose pieces a flattened file holds. Bytes that no record
// has written are zero.
type Reader struct {
	r      io.ReaderAt
	pieces []piece // in ascending order of offset, disjoint
	size   int64
	lost   piece // what is missing of the last record if the stream was cut
	whole  bool
}

// piece is a range of the file within one record: 24 bytes.
type piece struct {
	off, size int64 // in the rearranged file
	at        int64 // in the flattened file
}

func bad(off int64, what string, args ...any) error {
	return &kdump.FormatError{Format: format, Off: off, What: fmt.Sprintf(what, args...)}
}

// NewReader reads the headers of all records of a flattened file. The index
// takes 24 bytes per record; makedumpfile's records have about 1 MiB.
func NewReader(r io.ReaderAt, size int64) (*Reader, error) {
	head := make([]byte, 32)
	if _, err := r.ReadAt(head, 0); err != nil || !Match(head) {
		if err != nil && err != io.EOF {
			return nil, err
		}
		return nil, kdump.ErrFormat
	}
	be := binary.BigEndian
	if t, v := be.Uint64(head[16:]), be.Uint64(head[24:]); t != flatType || v != version {
		return nil, bad(16, "type %d, version %d; known is type 1, version 1", t, v)
	}
	f := &Reader{r: r}
	if err := f.scan(size); err != nil {
		return nil, err
	}
	f.arrange()
	return f, nil
}

// scan reads the record headers.
func (f *Reader) scan(size int64) error {
	var b [recordSize]byte
	for at := int64(headerSize); size-at >= recordSize; {
		if _, err := f.r.ReadAt(b[:], at); err != nil {
			return fmt.Errorf("read record at %#x: %w", at, err)
		}
		p := piece{int64(binary.BigEndian.Uint64(b[:])), int64(binary.BigEndian.Uint64(b[8:])), at + recordSize}
		if p.off == endMark && p.size == endMark {
			f.whole = true
			return nil
		}
		if p.off < 0 || p.size < 0 || p.off+p.size < 0 {
			return bad(at, "record of %d bytes for offset %d", p.size, p.off)
		}
		f.size = max(f.size, p.off+p.size)
		at = p.at + p.size
		if have := size - p.at; have < p.size {
			f.lost = piece{off: p.off + have, size: p.size - have}
			p.size = have
		}
		if p.size > 0 {
			f.pieces = append(f.pieces, p)
		}
		if at < p.at || at > size {
			return nil
		}
	}
	return nil
}

// arrange sorts the pieces and cuts away what later records overwrite.
func (f *Reader) arrange() {
	type numbered struct {
		piece
		n int
	}
	in := make([]numbered, len(f.pieces))
	sorted, end := true, int64(0)
	for i, p := range f.pieces {
		in[i] = numbered{p, i}
		sorted = sorted && p.off >= end
		end = p.off + p.size
	}
	if sorted {
		return
	}
	slices.SortFunc(in, func(a, b numbered) int { return cmp.Or(cmp.Compare(a.off, b.off), cmp.Compare(a.n, b.n)) })
	// The records that cover pos wait in a heap, the latest on top.
	var out []piece
	top := &pieceHeap{}
	for pos := int64(0); len(in) > 0 || top.Len() > 0; {
		if top.Len() == 0 {
			pos = max(pos, in[0].off)
		}
		for len(in) > 0 && in[0].off <= pos {
			heap.Push(top, ranked{in[0].piece, in[0].n})
			in = in[1:]
		}
		p := (*top)[0]
		if p.off+p.size <= pos {
			heap.Pop(top)
			continue
		}
		end := p.off + p.size
		if len(in) > 0 {
			end = min(end, in[0].off)
		}
		at := p.at + (pos - p.off)
		if n := len(out); n > 0 && out[n-1].off+out[n-1].size == pos && out[n-1].at+out[n-1].size == at {
			out[n-1].size += end - pos
		} else {
			out = append(out, piece{pos, end - pos, at})
		}
		pos = end
	}
	f.pieces = out
}

// ranked is a piece and the number of its record.
type ranked struct {
	piece
	n int
}

type pieceHeap []ranked

func (h pieceHeap) Len() int           { return len(h) }
func (h pieceHeap) Less(i, j int) bool { return h[i].n > h[j].n }
func (h pieceHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *pieceHeap) Push(x any)        { *h = append(*h, x.(ranked)) }
func (h *pieceHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

// Size is the size of the rearranged file in bytes.
func (f *Reader) Size() int64 { return f.size }

// Whole tells whether the stream ends with its end record.
func (f *Reader) Whole() bool { return f.whole }

// ReadAt implements io.ReaderAt on the rearranged file.
func (f *Reader) ReadAt(b []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, bad(off, "read at a negative offset")
	}
	if off >= f.size {
		return 0, io.EOF
	}
	if int64(len(b)) > f.size-off {
		b, err = b[:f.size-off], io.EOF
	}
	if l := f.lost; l.size > 0 && off < l.off+l.size && off+int64(len(b)) > l.off {
		b, err = b[:max(l.off-off, 0)], fmt.Errorf("flattened file was cut off at %#x: %w", l.off, io.ErrUnexpectedEOF)
	}
	i := sort.Search(len(f.pieces), func(i int) bool { return f.pieces[i].off+f.pieces[i].size > off })
	for n < len(b) {
		pos := off + int64(n)
		if i == len(f.pieces) || f.pieces[i].off > pos {
			gap := int64(len(b) - n)
			if i < len(f.pieces) {
				gap = min(gap, f.pieces[i].off-pos)
			}
			clear(b[n : n+int(gap)])
			n += int(gap)
			continue
		}
		p := f.pieces[i]
		c := int(min(int64(len(b)-n), p.off+p.size-pos))
		got, rerr := f.r.ReadAt(b[n:n+c], p.at+(pos-p.off))
		n += got
		if got < c {
			return n, rerr
		}
		i++
	}
	return n, err
}
