package elfcore

import (
	"bufio"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"

	"procdump/arch"
	"procdump/snapshot"
)

// Layout says what lies where in the core of a process. It allows the memory
// to be copied in any order and by several goroutines: write the head at offset
// 0 (WriteHead) and the memory of each of Placements at its offset; the file's length is
// Size. All other bytes are zero.
//
// A Layout is not safe for use by several goroutines while the Process changes.
type Layout struct {
	p       *snapshot.Process
	machine arch.Machine
	page    uint64
	segs    []segment
	places  []snapshot.Placement

	shdrOff  int64 // 0: no section header
	noteOff  int64
	noteSize int64
	mapsSize int // of the memory map's text
	infoSize int // of the JSON note's document
	headSize int64
	size     int64
}

// NewLayout lays out a core of p that holds the memory in ranges, which must be
// ascending and apart from each other; they may span regions or lie outside any.
// Ranges that are no whole pages, as minidumps have them, lie in the file as they
// do in their page. It reads no memory.
//
// Every region of p gets segments, also where the core does not hold it.
// It returns ErrTooLarge if the core does not fit its format; regions of an
// i386 process above 4 GiB that are not held get no segment.
func NewLayout(p *snapshot.Process, ranges []snapshot.Range) (*Layout, error) {
	l := &Layout{p: p, machine: p.Machine(), page: defaultPageSize}
	if elfMachine(l.machine) == elf.EM_NONE {
		return nil, fmt.Errorf("lay out core: machine %v not supported", l.machine)
	}
	if n := p.System.PageSize; n > 0 {
		l.page = uint64(n)
	}
	if l.page&(l.page-1) != 0 {
		return nil, fmt.Errorf("lay out core: page size %d is no power of two", l.page)
	}
	err := checkAscending("range", len(ranges), func(i int) snapshot.Range { return ranges[i] }, 0)
	if err != nil {
		return nil, err
	}
	// Regions are cut at the borders of ranges only, so the kernel's odd ones
	// need not consist of pages of the reported size.
	err = checkAscending("region", len(p.Regions), func(i int) snapshot.Range { return p.Regions[i].Range }, 0)
	if err != nil {
		return nil, err
	}
	if n := len(ranges); n > 0 && ranges[n-1].End() > l.addrLimit() {
		return nil, fmt.Errorf("lay out core: range %v: %w", ranges[n-1], ErrTooLarge)
	}
	l.segs = planSegments(p.Regions, snapshot.MergeRanges(slices.Clone(ranges), 0), l.addrLimit())
	if l.infoSize, err = snapshot.NoteSize(p); err != nil {
		return nil, err
	}
	l.mapsSize = mapsSize(p.Regions)
	return l, l.place(l.notesSize())
}

// addrLimit is the first address that the format cannot hold.
func (l *Layout) addrLimit() uint64 {
	if l.is32() {
		return 1 << 32
	}
	return math.MaxUint64
}

func (l *Layout) is32() bool { return l.machine.PointerSize() == 4 }

// place gives everything its file offset.
func (l *Layout) place(noteSize int64) error {
	ehdr, phdr, shdr := int64(ehdrSize64), int64(phdrSize64), int64(shdrSize64)
	limit := uint64(math.MaxInt64)
	if l.is32() {
		ehdr, phdr, shdr, limit = ehdrSize32, phdrSize32, shdrSize32, math.MaxUint32
	}
	off := ehdr + phdr*l.phnum()
	if l.phnum() >= PN_XNUM {
		off = alignUp(off, 8)
		l.shdrOff = off
		off += shdr
	}
	l.noteOff, l.noteSize = off, noteSize
	l.headSize = alignUp(off+noteSize, int64(l.page))
	end := uint64(l.headSize)
	for i := range l.segs {
		s := &l.segs[i]
		if in := s.Addr & (l.page - 1); s.held && end&(l.page-1) != in {
			end = uint64(alignUp(int64(end), int64(l.page))) + in
		}
		s.off = int64(end)
		if !s.held {
			continue
		}
		if s.Size > limit-end {
			return fmt.Errorf("lay out core: %w", ErrTooLarge)
		}
		if n := len(l.places); n > 0 && l.places[n-1].End() == s.Addr {
			l.places[n-1].Size += s.Size
		} else {
			l.places = append(l.places, snapshot.Placement{Range: s.Range, Off: s.off})
		}
		end += s.Size
	}
	if end > limit {
		return fmt.Errorf("lay out core: %w", ErrTooLarge)
	}
	l.size = int64(end)
	return nil
}

// phnum is the number of program headers: the segments and PT_NOTE.
func (l *Layout) phnum() int64 { return int64(len(l.segs)) + 1 }

// Size is the length of the finished file in bytes, holes included.
func (l *Layout) Size() int64 { return l.size }

// HeadSize is the length in bytes of everything before the first segment's
// memory: ELF header, program headers and notes. It is a multiple of the page
// size.
func (l *Layout) HeadSize() int64 { return l.headSize }

// Placements lists the memory that the core holds, ascending by address and
// file offset. Offsets are at least HeadSize and those of whole pages multiples
// of the page size. Neighbouring segments are one placement. The caller must not change it.
func (l *Layout) Placements() []snapshot.Placement { return l.places }

// WriteHead writes the file's first HeadSize bytes from what the process says
// now, so that p.Info may be completed after the memory was copied. It returns
// ErrChanged if anything else of p changed that needs another layout; what it
// has written then is of no use. It holds little of the head in RAM.
func (l *Layout) WriteHead(w io.Writer) error {
	if n := l.notesSize(); n != l.noteSize {
		return fmt.Errorf("write head: notes are %d bytes, were %d: %w", n, l.noteSize, ErrChanged)
	}
	h := &headWriter{w: bufio.NewWriterSize(w, 64<<10)}
	l.writeHeaders(h)
	h.zerosTo(l.noteOff)
	if err := l.writeNotes(h); err != nil {
		return fmt.Errorf("write head: %w", err)
	}
	if h.n != l.noteOff+l.noteSize {
		return fmt.Errorf("write head: notes end at %#x, should end at %#x: %w", h.n, l.noteOff+l.noteSize, ErrChanged)
	}
	h.zerosTo(l.headSize)
	if err := h.w.Flush(); err != nil { // the first error of all these writes
		return fmt.Errorf("write head: %w", err)
	}
	return nil
}

// headWriter writes the head and counts its bytes.
type headWriter struct {
	w    *bufio.Writer
	n    int64
	phdr [phdrSize64]byte
}

// Write implements io.Writer.
func (h *headWriter) Write(p []byte) (int, error) {
	h.n += int64(len(p))
	return h.w.Write(p)
}

// zerosTo fills up to file offset off.
func (h *headWriter) zerosTo(off int64) {
	for ; h.n < off; h.n++ {
		h.w.WriteByte(0)
	}
}

// writeHeaders writes the ELF header, the program headers and, where there are
// too many for e_phnum, section header 0.
func (l *Layout) writeHeaders(h *headWriter) {
	l.writeEhdr(h)
	l.writePhdr(h, elf.Prog64{Type: uint32(elf.PT_NOTE), Off: uint64(l.noteOff), Filesz: uint64(l.noteSize), Align: 4})
	for _, s := range l.segs {
		ph := elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: uint32(s.flags), Off: uint64(s.off),
			Vaddr: s.Addr, Memsz: s.Size, Align: l.page}
		if s.held {
			ph.Filesz = s.Size
		}
		l.writePhdr(h, ph)
	}
	if l.shdrOff == 0 {
		return
	}
	h.zerosTo(l.shdrOff)
	if l.is32() {
		put(h, elf.Section32{Size: 1, Info: uint32(l.phnum())})
	} else {
		put(h, elf.Section64{Size: 1, Info: uint32(l.phnum())})
	}
}

func (l *Layout) writeEhdr(w *headWriter) {
	h := elf.Header64{Type: uint16(elf.ET_CORE), Machine: uint16(elfMachine(l.machine)), Version: uint32(elf.EV_CURRENT),
		Phoff: ehdrSize64, Ehsize: ehdrSize64, Phentsize: phdrSize64, Phnum: uint16(min(l.phnum(), PN_XNUM))}
	copy(h.Ident[:], elf.ELFMAG)
	h.Ident[elf.EI_CLASS] = byte(elf.ELFCLASS64)
	h.Ident[elf.EI_DATA] = byte(elf.ELFDATA2LSB)
	h.Ident[elf.EI_VERSION] = byte(elf.EV_CURRENT)
	if l.shdrOff != 0 {
		h.Shoff, h.Shentsize, h.Shnum = uint64(l.shdrOff), shdrSize64, 1
	}
	if !l.is32() {
		put(w, h)
		return
	}
	h.Ident[elf.EI_CLASS] = byte(elf.ELFCLASS32)
	h32 := elf.Header32{Ident: h.Ident, Type: h.Type, Machine: h.Machine, Version: h.Version, Phoff: ehdrSize32,
		Shoff: uint32(h.Shoff), Ehsize: ehdrSize32, Phentsize: phdrSize32, Phnum: h.Phnum, Shnum: h.Shnum}
	if l.shdrOff != 0 {
		h32.Shentsize = shdrSize32
	}
	put(w, h32)
}

// writePhdr writes a program header; a process may have so many that going
// through put would take long.
func (l *Layout) writePhdr(h *headWriter, ph elf.Prog64) {
	le := binary.LittleEndian
	b := le.AppendUint32(h.phdr[:0], ph.Type)
	if l.is32() {
		for _, v := range [...]uint64{ph.Off, ph.Vaddr, ph.Paddr, ph.Filesz, ph.Memsz, uint64(ph.Flags), ph.Align} {
			b = le.AppendUint32(b, uint32(v))
		}
	} else {
		b = le.AppendUint32(b, ph.Flags)
		for _, v := range [...]uint64{ph.Off, ph.Vaddr, ph.Paddr, ph.Filesz, ph.Memsz, ph.Align} {
			b = le.AppendUint64(b, v)
		}
	}
	h.Write(b)
}

// put writes a structure of fixed size. An error shows when h is flushed.
func put(h *headWriter, v any) { _ = binary.Write(h, binary.LittleEndian, v) }
