package diskdump

import (
	"bytes"
	"errors"
	"io"

	"procdump/kdump"
)

// batch is the scratch memory of one large read.
type batch struct {
	table []byte
	descs []descriptor
	data  []byte
}

// readPages reads whole pages from pfn on into b, as many as fit and a batch
// holds, and returns how many bytes it read.
func (m *memory) readPages(b []byte, pfn uint64) (n int, err error) {
	if pfn < m.h.startPFN || pfn >= m.h.endPFN {
		return 0, m.missing(pfn)
	}
	limit := min(m.h.endPFN, pfn+min(uint64(len(b)), batchSize)/m.page)
	end, err := m.here.next(pfn, limit, false)
	if err != nil {
		return 0, m.damaged(pfn, err)
	}
	if end == pfn {
		return 0, m.missing(pfn)
	}
	rank, err := m.rankOf(pfn)
	if err != nil {
		return 0, m.damaged(pfn, err)
	}
	s := m.batches.Get().(*batch)
	defer m.batches.Put(s)
	s.table = grow(s.table, int(end-pfn)*descSize)
	at := int64(m.h.descOffset() + (rank-m.skip)*descSize)
	got, err := m.r.ReadAt(s.table, at)
	s.descs = s.descs[:0]
	for i := range int(end - pfn) {
		if (i+1)*descSize > got {
			break
		}
		d, bad := m.descriptor(s.table[i*descSize:])
		if err = bad; bad != nil {
			break
		}
		s.descs = append(s.descs, d)
	}
	done, derr := m.decodePages(b, s)
	n = done * int(m.page)
	switch {
	case derr != nil:
		return n, m.damaged(pfn+uint64(done), derr)
	case uint64(done) == end-pfn:
		return n, nil
	case errors.Is(err, kdump.ErrExcluded):
		return n, err
	case err == nil:
		err = io.ErrUnexpectedEOF
	}
	return n, m.damaged(pfn+uint64(done), err)
}

// span returns how many of descs can be read at once, and the bytes of the
// file that hold them: pages that lie in a row, with any number of shared zero
// pages between.
func span(descs []descriptor, zero int64) (start, end int64, n int) {
	for i, d := range descs {
		switch {
		case d.off == zero:
		case end == 0:
			start, end = d.off, d.off+int64(d.size)
		case d.off == end && end+int64(d.size)-start <= batchSize:
			end += int64(d.size)
		default:
			return start, end, i
		}
	}
	return start, end, len(descs)
}

// decodePages decompresses the pages of s.descs to b. It returns the number of
// pages done.
func (m *memory) decodePages(b []byte, s *batch) (done int, err error) {
	page := int(m.page)
	for done < len(s.descs) {
		zero := m.zeroOff.Load()
		start, end, n := span(s.descs[done:], zero)
		s.data = grow(s.data, int(end-start))
		if got, err := m.r.ReadAt(s.data, start); got < len(s.data) {
			return done, err
		}
		for range n {
			d, dst := s.descs[done], b[done*page:(done+1)*page]
			if d.off == zero {
				clear(dst)
			} else if err := decode(dst, s.data[d.off-start:][:d.size], d.flags); err != nil {
				return done, err
			} else if zero == 0 && isZero(dst) {
				m.zeroOff.Store(d.off)
			}
			done++
		}
	}
	return done, nil
}

// grow returns b with length n; its contents are lost.
func grow(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n)
	}
	return b[:n]
}

var zeros [kdump.MaxPageSize]byte

// isZero tells whether a page is all zero.
func isZero(page []byte) bool { return bytes.Equal(page, zeros[:len(page)]) }
