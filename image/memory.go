package image

import (
	"debug/elf"

	"procdump/snapshot"
)

const (
	pageSize = 4096
	maxPages = 2048 // 8 MiB
)

// pageCache holds pages that were read; nil: not to be had as a whole.
type pageCache map[uint64]*[pageSize]byte

// ReadMemory reads the process's memory as snapshot.Memory does, and what the dump
// does not hold and cannot have been changed from files: images, and what a
// miniplus dump leaves out.
func (s *Set) ReadMemory(p []byte, addr uint64) (int, error) {
	n := 0
	for n < len(p) {
		at := addr + uint64(n)
		if at < addr {
			return n, &snapshot.MemoryError{Addr: at, Err: snapshot.ErrNotMapped}
		}
		in := at % pageSize
		if page := s.page(at - in); page != nil {
			n += copy(p[n:], page[in:])
			continue
		}
		want := p[n:min(len(p), n+int(pageSize-in))]
		k := s.read(want, at)
		n += k
		if k < len(want) {
			return n, &snapshot.MemoryError{Addr: at + uint64(k), Err: snapshot.ErrNotMapped}
		}
	}
	return n, nil
}

// page returns a whole page, or nil.
func (s *Set) page(addr uint64) *[pageSize]byte {
	page, ok := s.pages[addr]
	if ok {
		return page
	}
	page = new([pageSize]byte)
	if s.read(page[:], addr) < pageSize {
		page = nil
	}
	if s.pages == nil || len(s.pages) >= maxPages {
		s.pages = pageCache{}
	}
	s.pages[addr] = page
	return page
}

// read reads what there is from addr on.
func (s *Set) read(p []byte, addr uint64) int {
	n := 0
	if s.p.Memory != nil {
		n, _ = s.p.Memory.ReadMemory(p, addr)
	}
	if n < len(p) {
		if im := s.Find(addr + uint64(n)); im != nil {
			n += im.readFile(p[n:], addr+uint64(n))
		}
	}
	if n < len(p) {
		n += s.unsaved(p[n:], addr+uint64(n))
	}
	return n
}

// readFile reads memory that is the file's as long as nobody can write to it.
func (im *Image) readFile(p []byte, addr uint64) int {
	if im.windows() {
		return im.readPE(p, addr)
	}
	f := im.File()
	if f == nil {
		return 0
	}
	h := im.headers()
	if h == nil {
		return 0
	}
	for _, ph := range h.progs {
		in := addr - h.bias - ph.Vaddr
		if ph.Type != elf.PT_LOAD || ph.Flags&elf.PF_W != 0 || in >= ph.Filesz || ph.Off+in < ph.Off {
			continue
		}
		n, _ := f.r.ReadAt(p[:min(uint64(len(p)), ph.Filesz-in)], int64(ph.Off+in))
		return max(n, 0)
	}
	return 0
}
