package pages

import (
	"encoding/binary"
	"fmt"
	"sort"

	"procdump/kdump"
	"procdump/kernel/layout"
)

// StructOptions changes what Structs reads.
type StructOptions struct {
	// NoTypes does without the kernel's type data, which takes some 10 MiB. The
	// classes that KernelKind takes are then one, Kernel, apart from Slab; and
	// of large folios it is not known whether they are mapped, so that they
	// count as mapped.
	NoTypes bool
}

// batchPages is the number of struct pages that are read at once: 256 KiB.
const batchPages = 4096

// Structs classifies the pages of a dump by the kernel's struct page.
type Structs struct {
	l        *pageLayout
	m        *memMap
	k        *layout.Kernel
	runs     []kdump.Run
	pageSize uint64

	buf   []byte
	bad   []bool // which struct pages of the batch could not be read
	hurt  bool   // whether any
	few   []byte // for a look at pages elsewhere
	first uint64 // the first page of the batch
	have  uint64 // pages in the batch

	next    uint64 // the page that follows the last one classified
	run     int    // the range of RAM that next lies in or before
	verdict Page   // of the compound page or free block that reaches …
	until   uint64 // … to this page, not included

	unread uint64
	typed  error
}

// NewStructs prepares to read the use of pages from the kernel's memory map.
func NewStructs(k *layout.Kernel, o StructOptions) (*Structs, error) {
	s := &Structs{k: k, runs: k.Dump().Runs, pageSize: k.Space.PageSize()}
	var types *layout.BTF
	if !o.NoTypes {
		types, s.typed = k.BTF()
	}
	var err error
	if s.l, err = newPageLayout(k.Info, types); err != nil {
		return nil, fmt.Errorf("find the use of pages: %w", err)
	}
	if s.m, err = newMemMap(k, s.pageSize, s.l.size); err != nil {
		return nil, fmt.Errorf("find the use of pages: %w", err)
	}
	s.buf = make([]byte, batchPages*s.l.size)
	s.bad = make([]bool, batchPages)
	return s, nil
}

// Unread is how many pages are Unknown because their struct page could not be
// read so far.
func (s *Structs) Unread() uint64 { return s.unread }

// TypesError says why the kernel's type data could not be used, or is nil.
func (s *Structs) TypesError() error { return s.typed }

// Refresh forgets what was read. Whoever reads a running kernel calls it before
// classifying pages again.
func (s *Structs) Refresh() {
	s.k.Space.Refresh()
	s.m.lastRead, s.have = false, 0
}

// Classify implements Source.
func (s *Structs) Classify(pfn uint64, out []Page) error {
	if pfn != s.next {
		s.restart(pfn)
	}
	for len(out) > 0 {
		for s.run < len(s.runs) && s.runs[s.run].End()/s.pageSize <= pfn {
			s.run++
		}
		n := uint64(len(out))
		if s.run == len(s.runs) {
			fill(out, page(Hole))
			pfn += n
			break
		}
		start := (s.runs[s.run].Addr + s.pageSize - 1) / s.pageSize
		if pfn < start {
			n = min(n, start-pfn)
			fill(out[:n], page(Hole))
		} else {
			n = min(n, s.runs[s.run].End()/s.pageSize-pfn)
			s.classify(pfn, out[:n])
		}
		out, pfn = out[n:], pfn+n
	}
	s.next = pfn
	return nil
}

func fill(out []Page, v Page) {
	for i := range out {
		out[i] = v
	}
}

// classify fills out; all of it is RAM.
func (s *Structs) classify(pfn uint64, out []Page) {
	for i := uint64(0); i < uint64(len(out)); {
		at := pfn + i
		if at < s.until {
			n := min(s.until-at, uint64(len(out))-i)
			fill(out[i:i+n], s.verdict)
			s.markPoison(at, out[i:i+n])
			i += n
			continue
		}
		if s.skip(at) {
			continue
		}
		if !s.load(at) {
			n := min(s.m.end(at)-at, uint64(len(out))-i)
			fill(out[i:i+n], page(Unknown))
			s.unread += n
			i += n
			continue
		}
		end := min(s.first+s.have-pfn, uint64(len(out)))
		i = s.classifyBatch(pfn, i, end, out)
	}
}

// skipOrder is the order of free blocks of which only the first struct page is
// read where one follows another: most memory of an idle machine is in those.
const skipOrder = 9

// skip takes over the verdict on such a block from pfn on.
func (s *Structs) skip(pfn uint64) bool {
	if s.until != pfn || s.verdict.Class() != Free || pfn%(1<<skipOrder) != 0 || s.holds(pfn) {
		return false
	}
	p := s.peek(pfn)
	if p == nil || s.l.tail(p) {
		return false
	}
	v, order := s.l.decide(pfn, p)
	if v.Class() != Free || order < skipOrder {
		return false
	}
	s.verdict, s.until = v, pfn+1<<order
	return true
}

// classifyBatch fills out from i on, up to the end of the batch or until a
// verdict is for several pages. It returns the first index that is not filled.
func (s *Structs) classifyBatch(pfn, i, end uint64, out []Page) uint64 {
	size := s.l.size
	for ; i < end; i++ {
		at := pfn + i
		in := at - s.first
		p := s.buf[in*size : s.have*size]
		switch {
		case s.hurt && s.bad[in]:
			out[i] = page(Unknown)
			s.unread++
		case s.l.tail(p):
			// Its head was not seen: it is not in RAM or is damaged.
			out[i] = page(Kernel)
		default:
			v, order := s.l.decide(at, p)
			if order != 0 {
				s.verdict, s.until = v, at+1<<order
				return i
			}
			out[i] = v
		}
	}
	return i
}

// markPoison finds the broken pages of a compound page.
func (s *Structs) markPoison(pfn uint64, out []Page) {
	if s.l.poison == 0 || s.verdict.Class() == Free {
		return
	}
	for i := range out {
		at := pfn + uint64(i)
		if !s.load(at) {
			return
		}
		if binary.LittleEndian.Uint64(s.buf[(at-s.first)*s.l.size+s.l.flags:])&s.l.poison != 0 {
			out[i] = page(Poison)
		}
	}
}

// holds tells whether the struct page of pfn is in the batch.
func (s *Structs) holds(pfn uint64) bool { return pfn >= s.first && pfn < s.first+s.have }

// load reads the struct page of pfn and those that follow, if they are not in
// the batch.
func (s *Structs) load(pfn uint64) bool {
	if s.holds(pfn) {
		return true
	}
	// Not more than the range of RAM that the page is in: elsewhere there may
	// be no struct pages.
	r, ok := s.runOf(pfn)
	if !ok {
		return false
	}
	end := min(pfn/batchPages*batchPages+batchPages, s.m.end(pfn), (r.End()+s.pageSize-1)/s.pageSize)
	addr, ok := s.m.find(pfn)
	if !ok {
		return false
	}
	s.first, s.have, s.hurt = pfn, end-pfn, false
	buf := s.buf[:s.have*s.l.size]
	if _, err := s.k.Space.ReadVirt(buf, addr); err != nil {
		s.loadPieces(buf, addr)
	}
	return true
}

// runOf returns the range of RAM that a page lies in, in whole or in part.
func (s *Structs) runOf(pfn uint64) (kdump.Run, bool) {
	i := sort.Search(len(s.runs), func(i int) bool { return s.runs[i].End() > pfn*s.pageSize })
	if i == len(s.runs) || s.runs[i].Addr >= (pfn+1)*s.pageSize {
		return kdump.Run{}, false
	}
	return s.runs[i], true
}

// loadPieces reads a batch page by page, and marks what cannot be read.
func (s *Structs) loadPieces(buf []byte, addr uint64) {
	s.hurt = true
	clear(s.bad)
	step := s.pageSize
	for at := uint64(0); at < uint64(len(buf)); {
		n := min(step-(addr+at)%step, uint64(len(buf))-at)
		got, err := s.k.Space.ReadVirt(buf[at:at+n], addr+at)
		if err != nil {
			clear(buf[at+uint64(got) : at+n])
			for i := (at + uint64(got)) / s.l.size; i <= (at+n-1)/s.l.size; i++ {
				s.bad[i] = true
			}
		}
		at += n
	}
}

// restart finds the compound page or free block that reaches into pfn.
func (s *Structs) restart(pfn uint64) {
	s.run, s.until = 0, 0
	last := pfn
	for order := uint(1); order <= maxOrder; order++ {
		head := pfn &^ (1<<order - 1)
		if head == last {
			continue
		}
		last = head
		p := s.peek(head)
		if p == nil || s.l.tail(p) {
			continue
		}
		if v, o := s.l.decide(head, p); o != 0 && head+1<<o > pfn {
			s.verdict, s.until = v, head+1<<o
			return
		}
	}
}

// hugeFree tells whether a page is the first one of a free page of hugetlbfs at
// this moment.
func (s *Structs) hugeFree(pfn uint64) bool {
	s.have = 0 // what is there is old
	p := s.peek(pfn)
	if p == nil {
		return false
	}
	v, _ := s.l.decide(pfn, p)
	return v.Class() == HugeFree
}

// peekPages is how many struct pages tell all about a compound page.
const peekPages = 4

// peek returns the struct page of pfn and those that follow, or nil.
func (s *Structs) peek(pfn uint64) []byte {
	if s.holds(pfn) {
		in := pfn - s.first
		if s.hurt && s.bad[in] {
			return nil
		}
		return s.buf[in*s.l.size : s.have*s.l.size]
	}
	if _, ok := s.runOf(pfn); !ok {
		return nil
	}
	addr, ok := s.m.find(pfn)
	if !ok {
		return nil
	}
	if s.few == nil {
		s.few = make([]byte, peekPages*s.l.size)
	}
	n, _ := s.k.Space.ReadVirt(s.few, addr)
	if uint64(n) < s.l.size {
		return nil
	}
	return s.few[:uint64(n)/s.l.size*s.l.size]
}
