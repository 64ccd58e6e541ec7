package held

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"sync/atomic"
	"syscall"

	"procdump/internal/sys/procmem"
	"procdump/snapshot"
)

// scanner finds which pages exist, by the PAGEMAP_SCAN ioctl (Linux 6.7) or by
// reading /proc/TID/pagemap.
type scanner struct {
	file   *os.File
	page   uint64 // bytes
	noScan atomic.Bool
}

// present lists the pages of r that are in RAM or swap.
func (s *scanner) present(r snapshot.Range) ([]snapshot.Extent, error) {
	var out []snapshot.Extent
	buf := make([]procmem.Region, min(512, r.Size/s.page+1))
	for at := r.Addr; at < r.End(); {
		if s.noScan.Load() {
			return s.read(r)
		}
		n, next, err := procmem.Scan(s.file, at, r.End(), buf)
		if errors.Is(err, syscall.ESRCH) {
			return nil, err
		}
		if err != nil {
			s.noScan.Store(true)
			continue
		}
		for _, p := range buf[:n] {
			out = add(out, p.Start, p.End, snapshot.ExtentKind(p.Categories))
		}
		if next <= at {
			break
		}
		at = next
	}
	return out, nil
}

// Bits of an entry (Documentation/admin-guide/mm/pagemap.rst).
const (
	pmPresent = 1 << 63
	pmSwapped = 1 << 62
	pmFile    = 1 << 61
)

func (s *scanner) read(r snapshot.Range) ([]snapshot.Extent, error) {
	var out []snapshot.Extent
	buf := make([]byte, min(64<<10, (r.Size/s.page+1)*8))
	for at := r.Addr; at < r.End(); {
		want := min(uint64(len(buf)), (r.End()-at+s.page-1)/s.page*8)
		n, err := s.file.ReadAt(buf[:want], int64(at/s.page*8))
		if n < 8 {
			if err == nil || errors.Is(err, io.EOF) {
				break // beyond the end of the user's addresses
			}
			return nil, err
		}
		for i := 0; i+8 <= n; i += 8 {
			e := binary.LittleEndian.Uint64(buf[i:])
			var kind snapshot.ExtentKind
			switch {
			case e&pmPresent != 0:
				kind = snapshot.ExtentPresent
			case e&pmSwapped != 0:
				kind = snapshot.ExtentSwapped
			}
			if kind != 0 {
				if e&pmFile != 0 {
					kind |= snapshot.ExtentFile
				}
				out = add(out, at, at+s.page, kind)
			}
			at += s.page
		}
	}
	return out, nil
}

// add adds [start, end), joining it to the last one of the same kind.
func add(out []snapshot.Extent, start, end uint64, kind snapshot.ExtentKind) []snapshot.Extent {
	if n := len(out); n > 0 && out[n-1].End() == start && out[n-1].Kind == kind {
		out[n-1].Size += end - start
		return out
	}
	return append(out, snapshot.Extent{Range: snapshot.Range{Addr: start, Size: end - start}, Kind: kind})
}
