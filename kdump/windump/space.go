package windump

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"procdump/arch"
)

// table is one level of page tables.
type table struct {
	name  string
	shift uint // of the virtual address: lowest bit of the index
	width uint // bits of the index
	large bool // an entry may map memory itself
}

// paging is a way to translate addresses.
type paging struct {
	name     string
	levels   []table
	entry    int    // bytes of an entry
	rootMask uint64 // of the root's physical address in DirectoryTableBase
	addrMask uint64 // of the physical address in an entry
	// high is the first bit of a virtual address that must equal the bit below
	// it, and so on to bit 63.
	high uint
	arm  bool
}

// The tables of Intel SDM volume 3, chapter 5, and of the Arm Architecture
// Reference Manual, D8 (4 KiB granule). On arm64 Windows gives each half of the
// address space 47 bits and lets TTBR1_EL1 point into the middle of the page
// that TTBR0_EL1 points to, so that one table of 512 entries serves both and can
// map itself as on x64. That is inferred, no full dump of arm64 was seen.
var (
	paging4 = paging{
		name: "4-level", entry: 8, rootMask: 0x000ffffffffff000, addrMask: 0x000ffffffffff000, high: 48,
		levels: []table{{"PML4 entry", 39, 9, false}, {"PDPT entry", 30, 9, true}, {"page directory entry", 21, 9, true}, {"page table entry", 12, 9, true}},
	}
	paging5 = paging{
		name: "5-level", entry: 8, rootMask: 0x000ffffffffff000, addrMask: 0x000ffffffffff000, high: 57,
		levels: append([]table{{"PML5 entry", 48, 9, false}}, paging4.levels...),
	}
	pagingPAE = paging{
		name: "PAE", entry: 8, rootMask: 0xffffffe0, addrMask: 0x000ffffffffff000,
		levels: []table{{"PDPT entry", 30, 2, false}, {"page directory entry", 21, 9, true}, {"page table entry", 12, 9, true}},
	}
	paging32 = paging{
		name: "32-bit", entry: 4, rootMask: 0xfffff000, addrMask: 0xfffff000,
		levels: []table{{"page directory entry", 22, 10, true}, {"page table entry", 12, 10, true}},
	}
	pagingARM = paging{
		name: "arm64", entry: 8, rootMask: 0x0000fffffffff000, addrMask: 0x0000fffffffff000, high: 48, arm: true,
		levels: []table{{"level 0 descriptor", 39, 9, false}, {"level 1 descriptor", 30, 9, true}, {"level 2 descriptor", 21, 9, true}, {"level 3 descriptor", 12, 9, true}},
	}
)

// Bits of an entry.
const (
	entryPresent = 1 << 0
	entryLarge   = 1 << 7 // x86: maps memory, in a table above the last
	armTable     = 1 << 1 // arm64: another table, or a page in the last
)

// Space is a virtual address space in a dump: page tables.
type Space struct {
	r      *Reader
	paging *paging
	root   uint64 // physical address
}

type addressSpace struct {
	space *Space
	err   error
}

// Space returns the address space whose page tables are at the physical address
// directoryTableBase: the one that Header.DirectoryTableBase names, or the
// DirectoryTableBase of a process. It has the kernel's half in any case.
func (r *Reader) Space(directoryTableBase uint64) (*Space, error) {
	s, err := r.kernelSpace()
	if err != nil {
		return nil, err
	}
	return &Space{r, s.paging, directoryTableBase & s.paging.rootMask}, nil
}

// kernelSpace returns the address space of the header.
func (r *Reader) kernelSpace() (*Space, error) {
	r.space.Do(func() {
		r.virt = &addressSpace{}
		if r.pages == nil {
			r.virt.err = r.pagesErr
			return
		}
		p := r.pagingMode()
		if p == nil {
			r.virt.err = fmt.Errorf("%w: page tables of machine %#x", ErrNotThere, r.Header.MachineImageType)
			return
		}
		r.virt.space = &Space{r, p, r.Header.DirectoryTableBase & p.rootMask}
	})
	return r.virt.space, r.virt.err
}

// pagingMode chooses how to translate. No field of the header tells whether an
// x64 machine ran with five levels: with the wrong number of them the list of
// modules is not a list.
func (r *Reader) pagingMode() *paging {
	switch r.Header.Machine() {
	case arch.ARM64:
		return &pagingARM
	case arch.I386:
		if r.Header.PAE {
			return &pagingPAE
		}
		return &paging32
	case arch.AMD64:
	default:
		return nil
	}
	for _, p := range []*paging{&paging4, &paging5} {
		s := &Space{r, p, r.Header.DirectoryTableBase & p.rootMask}
		for _, head := range []uint64{r.Header.PsLoadedModuleList, r.Header.PsActiveProcessHead} {
			if s.isList(head) {
				return p
			}
		}
	}
	return &paging4
}

// isList tells whether there is a LIST_ENTRY whose neighbour points back to it.
func (s *Space) isList(head uint64) bool {
	next, err := readPointer(s, head, 8)
	if err != nil || next == 0 {
		return false
	}
	back, err := readPointer(s, next+8, 8)
	return err == nil && back == head
}

// Levels says how the space is translated: "4-level", "5-level", "PAE", "32-bit"
// or "arm64".
func (s *Space) Levels() string { return s.paging.name }

// Translate returns the physical address of a virtual one, and how many bytes
// follow in its page. The error is a *PageFault.
func (s *Space) Translate(addr uint64) (phys, left uint64, err error) {
	return s.translate(addr, true)
}

// translate follows a prototype entry, which lies in virtual memory itself, if
// prototypes is true.
func (s *Space) translate(addr uint64, prototypes bool) (phys, left uint64, err error) {
	p := s.paging
	if p.high == 0 {
		// The pointers of the debugger data block are sign-extended.
		if top := addr >> 32; top != 0 && top != 0xffffffff {
			return 0, 0, &PageFault{Addr: addr, Level: "address", Entry: addr, Reason: "not a 32-bit address", Err: ErrNotMapped}
		}
		addr &= 0xffffffff
	} else if top := int64(addr) >> (p.high - 1); top != 0 && top != -1 {
		return 0, 0, &PageFault{Addr: addr, Level: "address", Entry: addr, Reason: "not a canonical address", Err: ErrNotMapped}
	}
	at := s.root
	for i, t := range p.levels {
		at += (addr >> t.shift & (1<<t.width - 1)) * uint64(p.entry)
		e, err := s.readEntry(at)
		if err != nil {
			return 0, 0, &PageFault{addr, t.name, at, "its table is not in the dump", err}
		}
		last := i == len(p.levels)-1
		at, err = s.follow(addr, e, t, last && prototypes)
		if err != nil {
			return 0, 0, err
		}
		if last || t.large && e&entryPresent != 0 && s.maps(e) {
			size := uint64(1) << t.shift
			in := addr & (size - 1)
			return at&^(size-1) + in, size - in, nil
		}
	}
	return 0, 0, &PageFault{Addr: addr, Level: p.name, Reason: "no page tables", Err: ErrNotMapped}
}

// maps tells whether a present entry above the last level maps memory.
func (s *Space) maps(e uint64) bool {
	if s.paging.arm {
		return e&armTable == 0
	}
	return e&entryLarge != 0
}

// follow returns the physical address in an entry.
func (s *Space) follow(addr, e uint64, t table, prototypes bool) (uint64, error) {
	if e&entryPresent != 0 && !(s.paging.arm && t.shift == pageShift && e&armTable == 0) {
		return e & s.paging.addrMask, nil
	}
	phys, reason, err := s.notPresent(e, prototypes)
	if reason != "" {
		return 0, &PageFault{addr, t.name, e, reason, err}
	}
	return phys, nil
}

// readEntry reads an entry at a physical address.
func (s *Space) readEntry(at uint64) (uint64, error) {
	var b [8]byte
	if _, err := s.r.ReadPhys(b[:s.paging.entry], at); err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(b[:]), nil
}

// Bits of an entry that is not present. Windows lets two kinds of them name a
// page that is still in memory (Windows Internals, 7th edition, part 1,
// chapter 5, "Invalid PTEs").
const (
	softSwizzle    = 1 << 4
	softPrototype  = 1 << 10
	softTransition = 1 << 11
	// lookupNeeded in the upper half says that the VADs describe the address.
	lookupNeeded = 0xffffffff
)

// notPresent returns the page of an entry that is not present but names one, or
// the reason why there is none.
func (s *Space) notPresent(e uint64, prototypes bool) (phys uint64, reason string, err error) {
	switch {
	case e == 0:
		return 0, "nothing is mapped", ErrNotMapped
	case s.paging.arm:
		return 0, "the page is not in memory", ErrNotMapped
	case e&softPrototype != 0:
		if !prototypes || s.paging.entry != 8 {
			return 0, "the page of a mapped file is not in memory", ErrNotMapped
		}
		return s.prototype(e)
	case e&softTransition != 0:
		return s.transition(e), "", nil
	case s.paging.entry == 8 && e>>32 == 0, s.paging.entry == 4 && e>>12 == 0:
		return 0, "the page was never written (demand zero)", ErrNotMapped
	}
	return 0, "the page is in a page file or compressed", ErrNotMapped
}

// transition returns the page of an entry in transition: off the working set,
// still in memory. Against speculative reads (L1TF) Windows sets bits above the
// machine's memory in such entries and leaves bit 4 clear where it did.
func (s *Space) transition(e uint64) uint64 {
	phys := e & s.paging.addrMask
	if e&softSwizzle == 0 {
		phys &= 1<<bits.Len64(s.r.lastPhys()) - 1
	}
	return phys
}

// lastPhys is the address of the last byte of memory.
func (r *Reader) lastPhys() uint64 {
	if n := len(r.Header.Runs); n > 0 {
		return r.Header.Runs[n-1].End() - 1
	}
	return max(r.pages.end(), 1)<<pageShift - 1
}

// prototype follows an entry that points to a prototype entry, by which
// processes share a page.
func (s *Space) prototype(e uint64) (phys uint64, reason string, err error) {
	if e>>32 == lookupNeeded {
		return 0, "the page is described by a VAD, not by a page table entry", ErrNotMapped
	}
	at := uint64(int64(e) >> 16)
	if len(s.paging.levels) == 3 { // PAE
		at = e >> 32
	}
	phys, left, err := s.translate(at, false)
	if err != nil || left < 8 {
		return 0, fmt.Sprintf("its prototype entry at %#x is not in the dump", at), orNotMapped(err)
	}
	proto, err := s.readEntry(phys)
	if err != nil {
		return 0, fmt.Sprintf("its prototype entry at %#x is not in the dump", at), err
	}
	if proto&entryPresent != 0 {
		return proto & s.paging.addrMask, "", nil
	}
	return s.notPresent(proto, false)
}

func orNotMapped(err error) error {
	if err == nil {
		return ErrNotMapped
	}
	return err
}

// ReadVirt reads up to len(b) bytes from virtual address addr on. If n < len(b)
// the error says why byte n could not be read.
func (s *Space) ReadVirt(b []byte, addr uint64) (n int, err error) {
	for n < len(b) {
		phys, left, err := s.Translate(addr + uint64(n))
		if err != nil {
			return n, err
		}
		want := min(left, uint64(len(b)-n))
		k, err := s.r.ReadPhys(b[n:n+int(want)], phys)
		n += k
		if err != nil {
			return n, fmt.Errorf("windump: virtual address %#x: %w", addr+uint64(n), err)
		}
	}
	return n, nil
}
