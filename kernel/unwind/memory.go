package unwind

import (
	"encoding/binary"

	"procdump/kernel/layout"
)

const (
	// pageBytes is what is read at once.
	pageBytes = 4096
	pageSlots = 32
)

type pageSlot struct {
	addr uint64
	ok   bool
	err  error
	data [pageBytes]byte
}

// memory is the kernel's virtual memory behind a small cache.
type memory struct {
	k     *layout.Kernel
	slots [pageSlots]pageSlot
}

func newMemory(k *layout.Kernel) *memory { return &memory{k: k} }

// forget empties the cache.
func (m *memory) forget() {
	for i := range m.slots {
		m.slots[i].ok = false
	}
}

// read reads len(b) bytes at va.
func (m *memory) read(b []byte, va uint64) error {
	for len(b) > 0 {
		page, off := va&^(pageBytes-1), int(va&(pageBytes-1))
		n := min(len(b), pageBytes-off)
		s := &m.slots[page/pageBytes%pageSlots]
		if !s.ok || s.addr != page {
			_, s.err = m.k.Space.ReadVirt(s.data[:], page)
			s.addr, s.ok = page, true
		}
		if s.err == nil {
			copy(b[:n], s.data[off:])
		} else if _, err := m.k.Space.ReadVirt(b[:n], va); err != nil {
			// Parts of a page may be there: a small dump has pieces.
			return err
		}
		b, va = b[n:], va+uint64(n)
	}
	return nil
}

// word reads 8 bytes.
func (m *memory) word(va uint64) (uint64, error) {
	var b [8]byte
	if err := m.read(b[:], va); err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(b[:]), nil
}
