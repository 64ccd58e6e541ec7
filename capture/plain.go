package capture

import (
	"bytes"
	"context"
	"io"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"procdump/internal/sys/fsys"
	"procdump/snapshot"
)

// The start of a dump goes through the page cache, which takes it at the speed
// of memory while the disk already writes; what follows goes past it, in large
// writes, several under way at a time. A dump so dirties a bounded part of the
// machine's memory, and there is little left to sync at its end. A run of pages
// between two holes that is shorter than directMin the page cache does better.
const (
	directSize    = 4 << 20 // bytes in a write
	directMin     = 256 << 10
	directWorkers = 4
)

// cachedMax is how many bytes of a dump go through the page cache, or the
// cachedShare'th part of the machine's memory if that is less; a quarter more if
// that is all. Tests lower it.
var cachedMax int64 = 1 << 30

const cachedShare = 16

// plain is an uncompressed, sparse file.
type plain struct {
	f      *os.File
	size   int64
	direct *os.File // the same file, opened O_DIRECT; nil: not used
	cached int64    // offset from which on it is used
	refuse atomic.Bool
}

// openDirect opens the file past the page cache where a part of it goes there.
func (o *plain) openDirect() bool {
	o.cached = cachedMax
	if ram := fsys.Memory(); ram > 0 {
		o.cached = min(o.cached, ram/cachedShare)
	}
	if o.size <= o.cached+o.cached/4 { // the rest is not worth another way to write
		o.cached = o.size
		return false
	}
	d, err := fsys.OpenDirect(o.f)
	if err != nil {
		return false
	}
	o.direct = d
	return true
}

// copy reads and writes with several goroutines: one reads while another
// writes.
func (o *plain) copy(ctx context.Context, m snapshot.Memory, places []snapshot.Placement, pace *Pacer, meter *meter) ([]snapshot.Range, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	buffer, workers := readSize, min(2, runtime.NumCPU())
	if o.openDirect() {
		defer o.direct.Close()
		buffer, workers = directSize, directWorkers
		// Writers are at work at once only in a file that has its length.
		if err := o.f.Truncate(o.size); err != nil {
			return nil, err
		}
	}
	units := split(places)
	var mu sync.Mutex
	var bad []snapshot.Range
	var wg sync.WaitGroup
	next := func() work {
		mu.Lock()
		defer mu.Unlock()
		if len(units) == 0 {
			return nil
		}
		w := units[0]
		units = units[1:]
		return w
	}
	for range min(workers, max(1, len(units))) {
		wg.Go(func() {
			r := newReader(m, pace, buffer)
			for w := next(); w != nil; w = next() {
				// What goes through the page cache is copied twice: in small
				// batches it stays in the processor's cache.
				limit := buffer
				if w[0].Off < o.cached {
					limit = readSize
				}
				err := r.read(ctx, w, limit, func(b []byte, at []snapshot.Placement) error { return o.put(b, at, meter) })
				if err != nil {
					cancel(err)
					break
				}
				last := w[len(w)-1]
				fsys.StartWriteback(o.f, w[0].Off, last.Off+int64(last.Size)-w[0].Off)
			}
			mu.Lock()
			defer mu.Unlock()
			bad = append(bad, r.bad...)
		})
	}
	wg.Wait()
	return bad, context.Cause(ctx)
}

// put writes a batch, leaving pages of zeros as holes.
func (o *plain) put(b []byte, at []snapshot.Placement, meter *meter) error {
	meter.add(uint64(len(b)))
	for i := 0; i < len(at); {
		// Pieces that follow each other in the file become one write.
		n := at[i].Size
		j := i + 1
		for j < len(at) && at[j].Off == at[i].Off+int64(n) {
			n += at[j].Size
			j++
		}
		if err := o.writeSparse(b[:n], at[i].Off); err != nil {
			return err
		}
		b = b[n:]
		i = j
	}
	return nil
}

var zeros [page]byte

func isZero(b []byte) bool { return bytes.Equal(b, zeros[:len(b)]) }

func (o *plain) writeSparse(b []byte, off int64) error {
	for len(b) > 0 {
		n := min(page, len(b))
		if isZero(b[:n]) {
			b, off = b[n:], off+int64(n)
			continue
		}
		for n < len(b) && !isZero(b[n:min(n+page, len(b))]) {
			n = min(n+page, len(b))
		}
		if err := o.write(b[:n], off); err != nil {
			return err
		}
		b, off = b[n:], off+int64(n)
	}
	return nil
}

// write writes a run of pages, directly if it is long.
func (o *plain) write(b []byte, off int64) error {
	if o.direct != nil && off >= o.cached && len(b) >= directMin && fsys.IsAligned(b, off) && !o.refuse.Load() {
		_, err := o.direct.WriteAt(b, off)
		if !fsys.IsDirectRefused(err) {
			return err
		}
		o.refuse.Store(true)
	}
	_, err := o.f.WriteAt(b, off)
	return err
}

func (o *plain) finish(l layout) error {
	if err := o.f.Truncate(o.size); err != nil {
		return err
	}
	return l.WriteHead(io.NewOffsetWriter(o.f, 0))
}

func (o *plain) abort() {}
