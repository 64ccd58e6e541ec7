package capture

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"

	"procdump/arch"
	"procdump/kdump"
	"procdump/kernel/pages"
)

const pageSize = 4096

// machine is memory whose pages change their use while it is read. Page n is
// full of random bytes that n seeds; those of zeros are all zero.
type machine struct {
	dump    kdump.Dump
	classes []pages.Class
	zero    func(pfn uint64) bool
	reads   atomic.Int64
	// change is called before the classes are read for the nth time, from 0.
	change  func(n int)
	scans   int
	noFlags error
	broken  func(pfn uint64) bool
	onRead  func(n int64)
}

// newMachine has n pages from page 16 on, all of the class.
func newMachine(n int, class pages.Class) *machine {
	m := &machine{classes: make([]pages.Class, n+16)}
	for i := range m.classes {
		m.classes[i] = class
	}
	m.dump = kdump.Dump{
		Arch: arch.AMD64, PageSize: pageSize, Memory: m,
		Runs:       []kdump.Run{{Addr: 16 * pageSize, Size: uint64(n) * pageSize}},
		CPUs:       []kdump.CPU{{PRStatus: kdump.BlankPRStatus(arch.AMD64, 0)}},
		VMCoreInfo: []byte("OSRELEASE=6.1.0\nPAGESIZE=4096\n"),
		Segments:   []kdump.Segment{{VirtAddr: 0xffff888000000000, PhysAddr: 0, MemSize: uint64(n+16) * pageSize, FileSize: uint64(n+16) * pageSize}},
	}
	return m
}

func (m *machine) Dump() *kdump.Dump { return &m.dump }
func (m *machine) Live() bool        { return m.change != nil }

func (m *machine) Pages() (pages.Source, error) {
	if m.noFlags != nil {
		return nil, m.noFlags
	}
	return m, nil
}

// set gives count pages from pfn on a class.
func (m *machine) set(pfn, count uint64, class pages.Class) {
	for i := range count {
		m.classes[pfn+i] = class
	}
}

func (m *machine) Classify(pfn uint64, out []pages.Page) error {
	if pfn == 16 && m.change != nil {
		m.change(m.scans)
		m.scans++
	}
	for i := range out {
		out[i] = pages.Page(m.classes[pfn+uint64(i)])
	}
	return nil
}

// contents is what the page is full of.
func (m *machine) contents(pfn uint64) []byte {
	b := make([]byte, pageSize)
	if m.zero != nil && m.zero(pfn) {
		return b
	}
	r := rand.NewChaCha8([32]byte{byte(pfn), byte(pfn >> 8), byte(pfn >> 16), 1})
	r.Read(b)
	return b
}

func (m *machine) ReadPhys(b []byte, addr uint64) (int, error) {
	if m.onRead != nil {
		m.onRead(m.reads.Add(1))
	}
	n := 0
	for n < len(b) {
		pfn := (addr + uint64(n)) / pageSize
		if pfn < 16 || pfn >= uint64(len(m.classes)) {
			return n, kdump.ErrAbsent
		}
		if m.broken != nil && m.broken(pfn) {
			return n, fmt.Errorf("page %#x: %w", pfn, kdump.ErrDamaged)
		}
		n += copy(b[n:], m.contents(pfn)[(addr+uint64(n))%pageSize:])
	}
	return n, nil
}
