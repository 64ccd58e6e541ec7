package vmcore

import (
	"cmp"
	"fmt"
	"io"
	"iter"
	"slices"
	"sort"

	"procdump/arch"
	"procdump/kdump"
)

const (
	// maxNotes bounds the notes that are read into memory, in bytes.
	maxNotes = 64 << 20
	// maxRAMRuns bounds how many ranges of a RAM note are believed.
	maxRAMRuns = 1 << 16
)

// extent is a range of physical memory and where it is in the file. Extents
// are sorted by address and disjoint.
type extent struct {
	addr, size uint64
	file       uint64 // the first bytes of it that are in the file
	off        int64
}

// memory is the physical memory in a file.
type memory struct {
	r       io.ReaderAt
	page    uint64
	runs    []kdump.Run // RAM
	held    []kdump.Run // of these, what counts as being in the dump
	extents []extent
}

// Open reads the headers and notes of an ELF core file; size may be the huge
// one that /proc/kcore claims. r must stay open as long as the dump is used.
func Open(r io.ReaderAt, size int64) (*kdump.Dump, error) {
	h, err := readFileHeader(r)
	if err != nil {
		return nil, err
	}
	d := &kdump.Dump{Format: format, Arch: machine(h.machine)}
	m := &memory{r: r}
	var notes []kdump.Note
	var noteBytes uint64
	err = h.programs(r, size, func(p program) error {
		switch p.typ {
		case PT_NOTE:
			noteBytes += p.filesz
			if noteBytes > maxNotes {
				return bad(p.at, "notes of more than %d bytes", maxNotes)
			}
			n, err := readNotes(r, size, p)
			notes = append(notes, n...)
			return err
		case PT_LOAD:
			m.load(d, h, p)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	d.SetNotes(notes)
	if d.Arch == arch.Unknown && len(d.Segments) > 0 && h.machine != 0 {
		return nil, bad(18, "machine %d: known are x86-64, i386 and arm64", h.machine)
	}
	m.arrange()
	for _, e := range m.extents {
		m.runs = append(m.runs, kdump.Run{Addr: e.addr, Size: e.size})
	}
	m.runs = kdump.NormalizeRuns(m.runs)
	d.Notes = slices.DeleteFunc(d.Notes, func(n kdump.Note) bool {
		if n.Name != owner || n.Type != NT_PROCDUMP_RAM {
			return false
		}
		if runs, level, ok := parseRAMNote(n.Desc); ok && len(runs) <= maxRAMRuns {
			m.runs = kdump.NormalizeRuns(append(m.runs, runs...))
			d.DumpLevel = level
		}
		return true
	})
	d.Runs, d.Memory = m.runs, m
	d.FillFromInfo()
	m.page = uint64(d.PageSize)
	m.hold(d, size)
	return d, nil
}

const (
	// structPage is less than the size of struct page, in bytes, of any kernel
	// with 64 bits, whose memory has one for each page. They are not zero.
	structPage = 32
	// fewZeros is how much memory of zeros a dump may have beside, in bytes: a
	// small dump has the kernel's empty log buffer.
	fewZeros = 64 << 20
)

// hold finds out what counts as being in a dump, which is a file of size bytes,
// for the sake of those who go through all of it. That is what the file has;
// and the zeros that it need not have, unless that would be more than there can
// be beside the struct pages in a file of this size.
func (m *memory) hold(d *kdump.Dump, size int64) {
	var zeros uint64
	for _, e := range m.extents {
		zeros += e.size - e.file
	}
	believed := (zeros-min(zeros, fewZeros))/(m.page/structPage) <= uint64(size)
	for _, e := range m.extents {
		held := e.file
		if e.file > 0 && (e.off > size || e.file > uint64(size-e.off)) {
			d.Incomplete = true
			held = uint64(max(size-e.off, 0))
		} else if believed {
			held = e.size
		}
		m.held = append(m.held, kdump.Run{Addr: e.addr, Size: held})
	}
	m.held = kdump.NormalizeRuns(m.held)
}

func readNotes(r io.ReaderAt, size int64, p program) ([]kdump.Note, error) {
	if p.off > uint64(size) || p.filesz > uint64(size)-p.off {
		return nil, bad(p.at, "notes of %d bytes reach behind the end of the file", p.filesz)
	}
	b := make([]byte, p.filesz)
	if n, err := r.ReadAt(b, int64(p.off)); n < len(b) {
		return nil, fmt.Errorf("read notes: %w", err)
	}
	return kdump.ParseNotes(b), nil
}

// load adds a PT_LOAD. /proc/kcore gives -1 as physical address of what has
// none.
func (m *memory) load(d *kdump.Dump, h *fileHeader, p program) {
	p.filesz = min(p.filesz, p.memsz)
	addr := p.paddr
	if addr == kdump.NoPhysAddr || !h.is64 && addr == 0xffffffff {
		addr = kdump.NoPhysAddr
	}
	d.Segments = append(d.Segments, kdump.Segment{
		VirtAddr: p.vaddr, PhysAddr: addr, FileSize: p.filesz, MemSize: p.memsz, Flags: p.flags,
	})
	if plausible(kdump.Run{Addr: addr, Size: p.memsz}) && p.off < 1<<63 {
		m.extents = append(m.extents, extent{addr, p.memsz, p.filesz, int64(p.off)})
	}
}

// arrange sorts the extents and makes them disjoint: the kernel image has a
// segment of its own besides the one of the RAM that it lies in.
func (m *memory) arrange() {
	slices.SortFunc(m.extents, func(a, b extent) int {
		return cmp.Or(cmp.Compare(a.addr, b.addr), cmp.Compare(b.file, a.file), cmp.Compare(b.size, a.size))
	})
	out, end := m.extents[:0], uint64(0)
	for _, e := range m.extents {
		if e.addr+e.size <= end {
			continue
		}
		if e.addr < end {
			cut := end - e.addr
			e.addr, e.size = end, e.size-cut
			if cut < e.file {
				e.file, e.off = e.file-cut, e.off+int64(cut)
			} else {
				e.file = 0
			}
		}
		end = e.addr + e.size
		if n := len(out); n > 0 && joins(out[n-1], e) {
			out[n-1].size += e.size
			out[n-1].file += e.file
			continue
		}
		out = append(out, e)
	}
	m.extents = slices.Clip(out)
}

// joins tells whether b continues a in memory and in the file.
func joins(a, b extent) bool {
	return a.addr+a.size == b.addr && a.file == a.size && a.off+int64(a.file) == b.off
}

// find returns the index of the first extent that ends behind addr.
func (m *memory) find(addr uint64) int {
	return sort.Search(len(m.extents), func(i int) bool { return m.extents[i].addr+m.extents[i].size > addr })
}

// ReadPhys implements kdump.Memory.
func (m *memory) ReadPhys(b []byte, addr uint64) (n int, err error) {
	i := m.find(addr)
	for n < len(b) {
		pos := addr + uint64(n)
		if i == len(m.extents) || m.extents[i].addr > pos || pos < addr {
			return n, m.missing(pos)
		}
		e := m.extents[i]
		in := pos - e.addr
		c := int(min(uint64(len(b)-n), e.size-in))
		if in < e.file {
			c = int(min(uint64(c), e.file-in))
			got, err := m.r.ReadAt(b[n:n+c], e.off+int64(in))
			n += got
			if got < c {
				return n, fmt.Errorf("address %#x, file offset %#x: %w: %w",
					addr+uint64(n), e.off+int64(addr+uint64(n)-e.addr), kdump.ErrDamaged, err)
			}
		} else {
			clear(b[n : n+c])
			n += c
		}
		if in+uint64(c) == e.size {
			i++
		}
	}
	return n, nil
}

func (m *memory) missing(addr uint64) error {
	i := sort.Search(len(m.runs), func(i int) bool { return m.runs[i].End() > addr })
	if i < len(m.runs) && m.runs[i].Addr <= addr {
		return fmt.Errorf("address %#x: %w", addr, kdump.ErrExcluded)
	}
	return fmt.Errorf("address %#x: %w", addr, kdump.ErrAbsent)
}

// PageRuns implements kdump.PageMap.
func (m *memory) PageRuns(from, to uint64) iter.Seq[kdump.PageRun] {
	return kdump.HeldPageRuns(m.runs, m.held, m.page, from, to)
}
