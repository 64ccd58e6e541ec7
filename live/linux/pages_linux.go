package linux

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"procdump/internal/sys/procmem"
	"procdump/snapshot"
)

// scanner finds which pages of a process exist, by PAGEMAP_SCAN where the
// kernel has it (6.7), else by reading /proc/PID/pagemap.
type scanner struct {
	pagemap *os.File
	page    uint64 // page size in bytes
	noScan  atomic.Bool
	// there tells whether the address space is still there; nil: it is. Of one
	// that is gone the page map says nothing, as beyond the end of one, which
	// would be taken for zeros. (PAGEMAP_SCAN says ESRCH.)
	there func() bool
}

// scanBuffers saves the collector 12 KiB of garbage a range: small dumps ask
// for many small ones while the process stands still.
var scanBuffers = sync.Pool{New: func() any { return new([512]procmem.Region) }}

// present lists the pages of r that are in RAM or swap.
func (s *scanner) present(r snapshot.Range) ([]snapshot.Extent, error) {
	if s.noScan.Load() {
		return s.read(r)
	}
	var out []snapshot.Extent
	pooled := scanBuffers.Get().(*[512]procmem.Region)
	defer scanBuffers.Put(pooled)
	buf := pooled[:min(uint64(len(pooled)), r.Size/s.page+1)]
	for at := r.Addr; at < r.End(); {
		n, next, err := procmem.Scan(s.pagemap, at, r.End(), buf)
		if err != nil {
			if gone(err) {
				return nil, err
			}
			// An older kernel says ENOTTY or EINVAL, a seccomp filter EPERM or
			// ENOSYS: do not ask again. Anything else concerns this range.
			for _, no := range []error{syscall.ENOTTY, syscall.EINVAL, syscall.EPERM, syscall.ENOSYS} {
				if errors.Is(err, no) {
					s.noScan.Store(true)
				}
			}
			return s.read(r)
		}
		for _, p := range buf[:n] {
			out = appendExtent(out, p.Start, p.End, snapshot.ExtentKind(p.Categories))
		}
		if next <= at {
			break
		}
		at = next
	}
	return out, nil
}

// Bits of a pagemap entry (Documentation/admin-guide/mm/pagemap.rst).
const (
	pmPresent = 1 << 63
	pmSwapped = 1 << 62
	pmFile    = 1 << 61
)

func (s *scanner) read(r snapshot.Range) ([]snapshot.Extent, error) {
	var out []snapshot.Extent
	buf := make([]byte, min(64<<10, (r.Size/s.page+1)*8))
	for at := r.Addr; at < r.End(); {
		n, err := s.pagemap.ReadAt(buf[:min(uint64(len(buf)), (r.End()-at+s.page-1)/s.page*8)], int64(at/s.page*8))
		if n < 8 {
			switch {
			case err != nil && !errors.Is(err, io.EOF):
				return nil, err
			case s.there != nil && !s.there():
				return nil, ErrGone
			}
			break // beyond the end of the user address space
		}
		for i := 0; i+8 <= n; i += 8 {
			if kind := pagemapKind(binary.LittleEndian.Uint64(buf[i:])); kind != 0 {
				out = appendExtent(out, at, at+s.page, kind)
			}
			at += s.page
		}
	}
	return out, nil
}

func pagemapKind(e uint64) snapshot.ExtentKind {
	var k snapshot.ExtentKind
	switch {
	case e&pmPresent != 0:
		k = snapshot.ExtentPresent
	case e&pmSwapped != 0:
		k = snapshot.ExtentSwapped
	default:
		return 0
	}
	if e&pmFile != 0 {
		k |= snapshot.ExtentFile
	}
	return k
}

// appendExtent adds [start, end), joining it to the last one of the same kind.
func appendExtent(out []snapshot.Extent, start, end uint64, kind snapshot.ExtentKind) []snapshot.Extent {
	if n := len(out); n > 0 && out[n-1].End() == start && out[n-1].Kind == kind {
		out[n-1].Size += end - start
		return out
	}
	return append(out, snapshot.Extent{Range: snapshot.Range{Addr: start, Size: end - start}, Kind: kind})
}
