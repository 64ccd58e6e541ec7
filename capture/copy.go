package capture

import (
	"context"
	"fmt"
	"os"

	"procdump/internal/sys/fsys"
	"procdump/snapshot"
	"procdump/zseek"
)

// Sizes of the copy. One read takes up to readSize bytes in up to readPieces
// pieces (process_vm_readv is fastest at 1 MiB, and takes 1024 pieces); one
// unit of work, after which the disk is asked to begin with it, covers up to
// workSize bytes of the dump: larger ones keep the disk waiting at first and busy
// at the end, smaller ones make it do small writes.
const (
	readSize   = 1 << 20
	readPieces = 1024
	workSize   = 4 << 20
	page       = 4096
)

// sink takes a dump's bytes.
type sink interface {
	copy(ctx context.Context, m snapshot.Memory, places []snapshot.Placement, pace *Pacer, meter *meter) (bad []snapshot.Range, err error)
	finish(l layout) error // writes the head
	abort()
}

// work is a run of placements, ascending in file and address, that one reader
// copies.
type work []snapshot.Placement

// split cuts placements into units of work.
func split(places []snapshot.Placement) []work {
	var out []work
	var cur work
	var size uint64
	for _, pl := range places {
		for pl.Size > 0 {
			if n := len(cur); n > 0 && (size >= workSize || pl.Addr < cur[n-1].End()) {
				out, cur, size = append(out, cur), nil, 0
			}
			part := pl
			part.Size = min(pl.Size, workSize-size)
			cur, size = append(cur, part), size+part.Size
			pl.Addr, pl.Off, pl.Size = pl.Addr+part.Size, pl.Off+int64(part.Size), pl.Size-part.Size
		}
	}
	if len(cur) > 0 {
		out = append(out, cur)
	}
	return out
}

// reader reads units of work into one buffer that it reuses.
type reader struct {
	m    snapshot.Memory
	pace *Pacer
	buf  []byte
	bad  []snapshot.Range
}

func newReader(m snapshot.Memory, pace *Pacer, size int) *reader {
	return &reader{m: m, pace: pace, buf: fsys.AlignedBuffer(pace.batch(size))}
}

// read calls put for each batch of at most limit bytes: what was read, and
// where it goes.
func (r *reader) read(ctx context.Context, w work, limit int, put func([]byte, []snapshot.Placement) error) error {
	limit = min(limit, len(r.buf))
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	ranges := make([]snapshot.Range, len(w))
	for i := range w {
		ranges[i] = w[i].Range
	}
	xs, err := snapshot.ExtentsOf(r.m, ranges)
	if err != nil {
		return err
	}
	var batch []snapshot.Extent
	var places []snapshot.Placement
	var size uint64
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		err := r.pace.wait(ctx, size)
		if err == nil {
			err = r.fill(r.buf[:size], batch)
		}
		if err == nil {
			err = put(r.buf[:size], places)
		}
		batch, places, size = batch[:0], places[:0], 0
		return err
	}
	k := 0
	for _, x := range xs {
		for w[k].End() <= x.Addr {
			k++
		}
		for x.Size > 0 {
			part := x
			part.Size = min(x.Size, uint64(limit)-size)
			batch = append(batch, part)
			places = append(places, snapshot.Placement{Range: part.Range, Off: w[k].Off + int64(part.Addr-w[k].Addr)})
			size += part.Size
			x.Addr, x.Size = x.Addr+part.Size, x.Size-part.Size
			if size == uint64(limit) || len(batch) == readPieces {
				if err := flush(); err != nil {
					return err
				}
			}
		}
	}
	return flush()
}

func (r *reader) fill(p []byte, xs []snapshot.Extent) error {
	if er, ok := r.m.(snapshot.ExtentReader); ok {
		bad, err := er.ReadExtents(p, xs)
		r.bad = append(r.bad, bad...)
		return err
	}
	for _, x := range xs {
		bad, err := snapshot.ReadExtent(r.m, p[:x.Size], x)
		r.bad = append(r.bad, bad...)
		if err != nil {
			return err
		}
		p = p[x.Size:]
	}
	return nil
}

// compressed is a seekable zstd file.
type compressed struct {
	w    *zseek.Writer
	pos  int64
	size int64
}

// smallFrame is the size of a frame, in bytes, where RAM is dear: three of them
// are in it, and as much again for what they become.
const smallFrame = 512 << 10

func newCompressed(f *os.File, l layout, spareRAM bool) (*compressed, error) {
	var o zseek.Options
	if spareRAM {
		o.FrameSize = smallFrame
	}
	w, err := zseek.NewWriter(f, l.HeadSize(), o)
	if err != nil {
		return nil, err
	}
	return &compressed{w: w, pos: l.HeadSize(), size: l.Size()}, nil
}

// copy reads in the file's order; the zseek.Writer compresses in parallel.
func (o *compressed) copy(ctx context.Context, m snapshot.Memory, places []snapshot.Placement, pace *Pacer, meter *meter) ([]snapshot.Range, error) {
	r := newReader(m, pace, readSize)
	put := func(b []byte, at []snapshot.Placement) error {
		meter.add(uint64(len(b)))
		for _, pl := range at {
			if err := o.skip(pl.Off); err != nil {
				return err
			}
			if _, err := o.w.Write(b[:pl.Size]); err != nil {
				return err
			}
			b, o.pos = b[pl.Size:], o.pos+int64(pl.Size)
		}
		return nil
	}
	for _, w := range split(places) {
		if err := r.read(ctx, w, readSize, put); err != nil {
			return r.bad, err
		}
	}
	if err := o.skip(o.size); err != nil {
		return r.bad, err
	}
	// Other dumps follow, and the head is written when all are copied.
	return r.bad, o.w.Flush()
}

// skip fills up to off with zeros.
func (o *compressed) skip(off int64) error {
	if off < o.pos {
		return fmt.Errorf("write compressed dump: offset %#x is behind %#x", off, o.pos)
	}
	if off == o.pos {
		return nil
	}
	err := o.w.WriteZeros(off - o.pos)
	o.pos = off
	return err
}

func (o *compressed) finish(l layout) error {
	head := o.w.Head()
	if err := l.WriteHead(head); err != nil {
		return err
	}
	if err := head.Close(); err != nil {
		return err
	}
	return o.w.Close()
}

func (o *compressed) abort() { o.w.Abort() }
