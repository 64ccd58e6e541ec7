package unwind

import (
	"cmp"
	"debug/elf"
	"encoding/binary"
	"slices"
	"sort"

	"procdump/image"
)

// tables are an image's call frame information.
type tables struct {
	header *header // .eh_frame_hdr; nil: none that is of use
	eh     section
	index  []span   // .eh_frame without a header, by address
	debug  *section // .debug_frame; nil: none
	spans  []span   // its entries
	// looked tells that .debug_frame was looked for: it is large, and needed
	// only where .eh_frame says nothing.
	looked bool
}

// span is where the FDE of some code lies.
type span struct{ start, size, at uint64 }

const (
	maxSection = 64 << 20 // bytes of a section that is read as a whole
	maxSpans   = 1 << 21
)

// header is the sorted table of .eh_frame_hdr: version 1, three encodings,
// the address of .eh_frame, the number of entries, and these: the address of
// code and of its FDE, each relative to the header (Linux Standard Base, 10.6.2).
type header struct {
	at, table uint64
	n         int
}

// tablesOf returns an image's tables.
func (u *Unwinder) tablesOf(im *image.Image) *tables {
	if t, ok := u.tables[im]; ok {
		return t
	}
	t := &tables{eh: section{read: u.read, spend: u.spend, eh: true, word: u.m.word}}
	u.tables[im] = t
	if seg, ok := im.Segment(elf.PT_GNU_EH_FRAME); ok {
		if t.header = u.headerAt(seg.Addr); t.header != nil {
			t.eh.data = seg.Addr
			return t
		}
	}
	f := im.File()
	bias, ok := im.Bias()
	if f == nil || !ok {
		return t
	}
	if s := f.Section(".eh_frame"); s != nil && s.Addr != 0 && s.Size <= maxSection {
		t.index = t.eh.index(s.Addr+bias, s.Size)
	}
	return t
}

func (u *Unwinder) read(p []byte, at uint64) int {
	if !u.spend(1 + len(p)/16) {
		return 0
	}
	n, _ := u.set.ReadMemory(p, at)
	return n
}

func (u *Unwinder) headerAt(at uint64) *header {
	b := make([]byte, 32)
	b = b[:u.read(b, at)]
	r := reader{b: b, at: at, word: u.m.word, data: at}
	version, _, count, table := r.u8(), r.u8(), byte(0), byte(0)
	frame := b[min(1, len(b)):min(2, len(b))]
	count, table = r.u8(), r.u8()
	// What linkers write: 4-byte numbers relative to the header.
	if r.bad || version != 1 || table != 0x3b {
		return nil
	}
	r.pointer(frame[0])
	n, _ := r.pointer(count)
	if r.bad || n == 0 || n > maxSpans {
		return nil
	}
	return &header{at, r.at, int(n)}
}

// find returns where the FDE lies of the last code that begins at or before pc.
func (h *header) find(u *Unwinder, pc uint64) (at uint64, ok bool) {
	var b [8]byte
	get := func(i int) (code, fde uint64, ok bool) {
		if u.read(b[:], h.table+uint64(i)*8) < len(b) {
			return 0, 0, false
		}
		le := binary.LittleEndian
		return u.m.trim(h.at + uint64(int32(le.Uint32(b[:])))), u.m.trim(h.at + uint64(int32(le.Uint32(b[4:])))), true
	}
	bad := false
	i := sort.Search(h.n, func(i int) bool {
		code, _, ok := get(i)
		bad = bad || !ok
		return code > pc
	})
	if i == 0 || bad {
		return 0, false
	}
	_, at, ok = get(i - 1)
	return at, ok
}

// index lists the FDEs of a section from at on, size bytes.
func (s *section) index(at, size uint64) []span {
	var all []span
	for end := at + size; at < end && len(all) < maxSpans; {
		e, err := s.entryAt(at)
		if err != nil || e.next == 0 {
			break
		}
		at = e.next
		if s.isCIE(&e) {
			continue
		}
		if f, err := s.fdeOf(&e); err == nil && f.size > 0 {
			all = append(all, span{f.start, f.size, e.start(s)})
		}
	}
	slices.SortFunc(all, func(a, b span) int { return cmp.Compare(a.start, b.start) })
	return all
}

// start is where the entry begins, with its length.
func (e *entry) start(s *section) uint64 {
	switch {
	case e.wide && s.eh:
		return e.at - 16
	case e.wide:
		return e.at - 20
	}
	return e.at - 8
}

// findSpan returns where the FDE of pc lies.
func findSpan(all []span, pc uint64) (at uint64, ok bool) {
	i := sort.Search(len(all), func(i int) bool { return all[i].start > pc }) - 1
	if i < 0 || pc-all[i].start >= all[i].size {
		return 0, false
	}
	return all[i].at, true
}

// row returns what call frame information says of an address, or nil.
func (u *Unwinder) row(im *image.Image, pc uint64) *row {
	if im == nil {
		return nil
	}
	if r, ok := u.rows[pc]; ok {
		return r
	}
	if len(u.rows) >= maxRows {
		clear(u.rows)
	}
	r := u.findRow(im, pc)
	u.rows[pc] = r
	return r
}

func (u *Unwinder) findRow(im *image.Image, pc uint64) *row {
	t := u.tablesOf(im)
	at, ok := uint64(0), false
	if t.header != nil {
		at, ok = t.header.find(u, pc)
	} else {
		at, ok = findSpan(t.index, pc)
	}
	if ok {
		if r := t.eh.rowOf(at, pc); r != nil {
			return r
		}
	}
	// A symbol file is asked before .debug_frame, which may have to be fetched.
	if r := u.symbolRow(im, pc); r != nil {
		return r
	}
	t.lookForDebugFrame(u, im)
	if t.debug != nil {
		if at, ok := findSpan(t.spans, pc); ok {
			return t.debug.rowOf(at, pc)
		}
	}
	return nil
}

// rowOf reads the FDE at a place and returns what it says of pc.
func (s *section) rowOf(at, pc uint64) *row {
	e, err := s.entryAt(at)
	if err != nil || e.body == nil || s.isCIE(&e) {
		return nil
	}
	f, err := s.fdeOf(&e)
	if err != nil || pc-f.start >= f.size {
		return nil
	}
	// A CIE is read once, but its instructions are those of many addresses.
	if !s.spend(len(f.cie.instructions) + len(f.instructions)) {
		return nil
	}
	r, err := f.rowAt(pc, s.word, s.data)
	if err != nil {
		return nil
	}
	return r
}

// lookForDebugFrame reads .debug_frame, which is in no memory, from the image's
// file or from its debug information.
func (t *tables) lookForDebugFrame(u *Unwinder, im *image.Image) {
	bias, ok := im.Bias()
	if t.looked || !ok {
		return
	}
	t.looked = true
	for _, f := range []*image.File{im.File(), im.Debug()} {
		if f == nil {
			continue
		}
		b, err := f.Data(".debug_frame", maxSection)
		if err != nil {
			continue
		}
		t.debug = &section{word: u.m.word, bias: bias, spend: u.spend, read: func(p []byte, at uint64) int {
			if at >= uint64(len(b)) || !u.spend(1+len(p)/16) {
				return 0
			}
			return copy(p, b[at:])
		}}
		t.spans = t.debug.index(0, uint64(len(b)))
		return
	}
}
