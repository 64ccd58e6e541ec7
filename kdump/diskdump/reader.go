package diskdump

import (
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"sync"
	"sync/atomic"

	"procdump/arch"
	"procdump/kdump"
	"procdump/kdump/internal/cache"
)

const (
	// pageCache is how much decompressed memory is kept, in bytes.
	pageCache = 4 << 20
	// batchSize is how much memory a large read decompresses at a time, and at
	// most how much of the file it reads at a time, in bytes.
	batchSize = 1 << 20
	// maxRuns bounds the RAM ranges kept of a bitmap that is made of holes;
	// machines have some hundreds.
	maxRuns = 1 << 16
)

// memory is the physical memory in a file.
type memory struct {
	r         io.ReaderAt
	size      int64
	h         *header
	page      uint64 // bytes
	ram, here *bitmap
	// ranks holds, per chunk of the bitmap, how many bits are set in the
	// chunks before it: 8 bytes per 128 MiB.
	ranks []uint64
	skip  uint64 // bits before startPFN, which have no descriptor in this file
	pages *cache.Blocks
	// zeroOff is the file offset of a page known to be zero, which writers
	// share among all zero pages. No page lies at 0.
	zeroOff atomic.Int64
	batches sync.Pool
}

// Open reads a file's header, notes and bitmaps; pages are read when they are
// asked for. r must stay open as long as the dump is used. Memory use does not
// grow with the size of the dump, apart from 64 KiB per TiB.
func Open(r io.ReaderAt, size int64) (*kdump.Dump, error) {
	h, err := readHeader(r, size)
	if err != nil {
		return nil, err
	}
	m := &memory{r: r, size: size, h: h, page: h.blockSize, pages: cache.New(int(pageCache / h.blockSize))}
	m.batches.New = func() any { return new(batch) }
	m.ram = newBitmap(r, int64(h.bitmapOffset()), h.maxPFN)
	m.here = newBitmap(r, int64(h.bitmapOffset()+h.bitmapSize()), h.maxPFN)
	d := &kdump.Dump{
		Format:     fmt.Sprintf("%s v%d", format, h.version),
		PageSize:   int(h.blockSize),
		Uname:      h.uts,
		Time:       h.time,
		PhysBase:   h.physBase,
		DumpLevel:  int(h.dumpLevel),
		Incomplete: h.status&DUMP_DH_COMPRESSED_INCOMPLETE != 0,
		Memory:     m,
	}
	if err := m.readNotes(d); err != nil {
		return nil, err
	}
	if d.Runs, err = m.runs(); err != nil {
		return nil, err
	}
	if err := m.rank(); err != nil {
		return nil, err
	}
	d.FillFromInfo()
	return d, nil
}

func (m *memory) readNotes(d *kdump.Dump) error {
	section := func(off, size uint64, what string) ([]byte, error) {
		if size > maxNotes || off > uint64(m.size) || size > uint64(m.size)-off {
			return nil, bad(int64(off), "%s of %d bytes reaches behind the end of the file", what, size)
		}
		b := make([]byte, size)
		_, err := io.ReadFull(io.NewSectionReader(m.r, int64(off), int64(size)), b)
		return b, err
	}
	notes, err := section(m.h.noteOff, m.h.notesSize, "notes")
	if err != nil {
		return err
	}
	d.SetNotes(kdump.ParseNotes(notes))
	if d.VMCoreInfo == nil && m.h.infoSize > 0 {
		if d.VMCoreInfo, err = section(m.h.infoOff, m.h.infoSize, "VMCOREINFO"); err != nil {
			return err
		}
	}
	d.Arch = kdump.MachineOfUname(m.h.uts.Machine)
	for _, c := range d.CPUs {
		for _, a := range []arch.Machine{arch.AMD64, arch.I386, arch.ARM64} {
			if d.Arch == arch.Unknown && len(c.PRStatus) == len(kdump.BlankPRStatus(a, 0)) {
				d.Arch = a
			}
		}
	}
	return nil
}

// runs returns the RAM that bitmap 1 tells.
func (m *memory) runs() ([]kdump.Run, error) {
	var runs []kdump.Run
	add := func(first, n uint64) {
		r := kdump.Run{Addr: first * m.page, Size: n * m.page}
		if k := len(runs); k > 0 && (runs[k-1].End() == r.Addr || k == maxRuns) {
			runs[k-1].Size = r.End() - runs[k-1].Addr
			return
		}
		runs = append(runs, r)
	}
	err := m.ram.scan(func(number uint64, chunk []byte) {
		base := number * 8 * bitmapChunk
		for i := uint64(0); i < 8*bitmapChunk; {
			first, ok := nextBit(chunk, i, 0)
			if !ok {
				return
			}
			end, ok := nextBit(chunk, first, ^uint64(0))
			if !ok {
				end = 8 * bitmapChunk
			}
			add(base+first, end-first)
			i = end
		}
	})
	return runs, err
}

// rank fills the directory of ranks.
func (m *memory) rank() error {
	var n uint64
	err := m.here.scan(func(number uint64, chunk []byte) {
		m.ranks = append(m.ranks, n)
		n += count(chunk, 8*bitmapChunk)
	})
	if err == nil && m.h.startPFN > 0 {
		m.skip, err = m.rankOf(m.h.startPFN)
	}
	return err
}

// rankOf returns how many pages before pfn are in the dump.
func (m *memory) rankOf(pfn uint64) (uint64, error) {
	number := pfn / (8 * bitmapChunk)
	if number >= uint64(len(m.ranks)) {
		return 0, io.ErrUnexpectedEOF
	}
	c, err := m.here.chunk(number)
	if err != nil {
		return 0, err
	}
	return m.ranks[number] + count(c, pfn%(8*bitmapChunk)), nil
}

// missing returns why a page is not in the file.
func (m *memory) missing(pfn uint64) error {
	ram, err := m.ram.test(pfn)
	switch {
	case err != nil:
		return m.damaged(pfn, err)
	case ram:
		return fmt.Errorf("page at %#x: %w", pfn*m.page, kdump.ErrExcluded)
	}
	return fmt.Errorf("page at %#x: %w", pfn*m.page, kdump.ErrAbsent)
}

func (m *memory) damaged(pfn uint64, err error) error {
	return fmt.Errorf("page at %#x: %w: %w", pfn*m.page, kdump.ErrDamaged, err)
}

// ReadPhys implements kdump.Memory. Large reads decompress straight into b,
// small ones go through the cache.
func (m *memory) ReadPhys(b []byte, addr uint64) (n int, err error) {
	for n < len(b) {
		pfn, off := (addr+uint64(n))/m.page, (addr+uint64(n))%m.page
		if addr+uint64(n) < addr {
			return n, fmt.Errorf("address %#x: %w", addr, kdump.ErrAbsent)
		}
		if off == 0 && uint64(len(b)-n) >= 2*m.page {
			c, err := m.readPages(b[n:], pfn)
			n += c
			if err != nil {
				return n, err
			}
			continue
		}
		page, err := m.pages.Get(pfn, func() ([]byte, error) {
			page := make([]byte, m.page)
			_, err := m.readPages(page, pfn)
			return page, err
		})
		if err != nil {
			return n, err
		}
		n += copy(b[n:], page[off:])
	}
	return n, nil
}

// PageRuns implements kdump.PageMap.
func (m *memory) PageRuns(from, to uint64) iter.Seq[kdump.PageRun] {
	return func(yield func(kdump.PageRun) bool) {
		to = min(to, m.h.maxPFN)
		for pfn := from; pfn < to; {
			r, err := m.pageRun(pfn, to)
			if err != nil {
				return
			}
			if r.State != kdump.PageAbsent && !yield(r) {
				return
			}
			pfn += r.Count
		}
	}
}

// pageRun returns the run of pages of one state that begins at pfn.
func (m *memory) pageRun(pfn, to uint64) (kdump.PageRun, error) {
	here, err := m.here.next(pfn, to, true)
	if err != nil {
		return kdump.PageRun{}, err
	}
	if here == pfn && pfn >= m.h.startPFN && pfn < m.h.endPFN {
		end, err := m.here.next(pfn, min(to, m.h.endPFN), false)
		return kdump.PageRun{PFN: pfn, Count: end - pfn, State: kdump.PagePresent}, err
	}
	switch {
	case here > pfn:
		to = here
	case pfn < m.h.startPFN:
		to = min(to, m.h.startPFN)
	}
	ram, err := m.ram.test(pfn)
	if err != nil {
		return kdump.PageRun{}, err
	}
	r := kdump.PageRun{PFN: pfn}
	if ram || here == pfn {
		r.State = kdump.PageExcluded
		ram = true
	}
	end, err := m.ram.next(pfn+1, to, !ram)
	r.Count = end - pfn
	return r, err
}

// descriptor is a page descriptor without its page_flags.
type descriptor struct {
	off   int64
	size  uint32
	flags uint32
}

func (m *memory) descriptor(b []byte) (descriptor, error) {
	le := binary.LittleEndian
	d := descriptor{int64(le.Uint64(b)), le.Uint32(b[8:]), le.Uint32(b[12:])}
	switch {
	case d.off == 0 && d.size == 0:
		return d, fmt.Errorf("the dump was cut short before this page: %w", kdump.ErrExcluded)
	case d.off <= 0, d.size == 0, uint64(d.size) > m.page, d.off > m.size-int64(d.size):
		return d, fmt.Errorf("descriptor names %d bytes at file offset %#x", d.size, uint64(d.off))
	}
	return d, nil
}
