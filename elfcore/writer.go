package elfcore

import (
	"errors"
	"fmt"
	"io"

	"procdump/snapshot"
)

const chunkSize = 1 << 20 // bytes of memory read at a time

// Write writes a core of p to w from beginning to end. For ranges see
// [NewLayout]. It does not close w.
//
// The head, which says what could not be read, comes before the memory. So that
// it tells the truth, Write reads the memory twice: first to find the pages that
// cannot be read. It adds those to p.Info.Unreadable and leaves them out of the
// core, as memory that the process had and the core does not hold. If more
// becomes unreadable after that, Write returns ErrChanged. Where a second
// reading is too dear use [Layout].
func Write(w io.Writer, p *snapshot.Process, ranges []snapshot.Range) error {
	l, err := NewLayout(p, ranges) // checks ranges
	if err != nil {
		return err
	}
	buf := make([]byte, chunkSize)
	var readable, unreadable []snapshot.Range
	for _, r := range ranges {
		readable, unreadable = probe(p.Memory, r, l.page, buf, readable, unreadable)
	}
	if len(unreadable) > 0 {
		p.Info.Unreadable = append(p.Info.Unreadable, unreadable...)
		if l, err = NewLayout(p, readable); err != nil {
			return err
		}
	}
	if err := l.WriteHead(w); err != nil {
		return err
	}
	for _, pl := range l.Placements() {
		if err := copyMemory(w, p.Memory, pl.Range, buf); err != nil {
			return err
		}
	}
	return nil
}

// probe reads r and sorts its pages into those that can be read and the others.
func probe(mem snapshot.Memory, r snapshot.Range, page uint64, buf []byte, readable, unreadable []snapshot.Range) (yes, no []snapshot.Range) {
	add := func(rs []snapshot.Range, addr, end uint64) []snapshot.Range {
		if n := len(rs); n > 0 && rs[n-1].End() == addr {
			rs[n-1].Size += end - addr
			return rs
		}
		return append(rs, snapshot.Range{Addr: addr, Size: end - addr})
	}
	for addr := r.Addr; addr < r.End(); {
		n, err := readSome(mem, buf, addr, r.End())
		good := addr + uint64(n)
		if err != nil {
			good &^= page - 1
		}
		if good > addr {
			readable = add(readable, addr, good)
		}
		if addr = good; err != nil {
			unreadable = add(unreadable, addr, addr+page)
			addr += page
		}
	}
	return readable, unreadable
}

// readSome reads from addr at most to end, or as much as buf takes.
func readSome(mem snapshot.Memory, buf []byte, addr, end uint64) (int, error) {
	if mem == nil {
		return 0, &snapshot.MemoryError{Addr: addr, Err: snapshot.ErrNotMapped}
	}
	want := min(uint64(len(buf)), end-addr)
	n, err := mem.ReadMemory(buf[:want], addr)
	if err == nil && uint64(n) < want {
		err = &snapshot.MemoryError{Addr: addr + uint64(n), Err: io.ErrUnexpectedEOF}
	}
	return n, err
}

func copyMemory(w io.Writer, mem snapshot.Memory, r snapshot.Range, buf []byte) error {
	for addr := r.Addr; addr < r.End(); {
		n, err := readSome(mem, buf, addr, r.End())
		if err != nil {
			return errors.Join(ErrChanged, err)
		}
		if _, err := w.Write(buf[:n]); err != nil {
			return fmt.Errorf("write memory at %#x: %w", addr, err)
		}
		addr += uint64(n)
	}
	return nil
}
