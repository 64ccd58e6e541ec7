package unwind

import (
	"encoding/binary"
	"errors"
)

var (
	errUnsupported = errors.ErrUnsupported
	errFormat      = errors.New("unwind: malformed call frame information")
)

// maxEntry bounds an entry of call frame information, in bytes.
const maxEntry = 1 << 20

// section is a place of call frame information: .eh_frame, at addresses in
// memory, or .debug_frame, at offsets in the section.
type section struct {
	read  func(p []byte, at uint64) int
	spend func(n int) bool // as Unwinder.spend
	eh    bool
	word  int
	bias  uint64 // of .debug_frame: added to an address it gives one in memory
	data  uint64 // what addresses relative to data relate to: .eh_frame_hdr
	cies  map[uint64]*cie
}

// entry is a CIE or an FDE, without its length.
type entry struct {
	at   uint64 // of body
	body []byte
	next uint64 // where the following entry is; 0: this one ends the section
	id   uint64 // what tells a CIE, or leads to it
	wide bool   // the 64-bit format
}

// entryAt reads the entry at a place.
func (s *section) entryAt(at uint64) (entry, error) {
	var head [12]byte
	n := s.read(head[:], at)
	if n < 4 {
		return entry{}, errFormat
	}
	e := entry{at: at + 4}
	size := uint64(binary.LittleEndian.Uint32(head[:]))
	if size == 0xffffffff {
		if n < 12 {
			return entry{}, errFormat
		}
		e.wide, e.at, size = true, at+12, binary.LittleEndian.Uint64(head[4:])
	}
	if size == 0 {
		return e, nil
	}
	idSize := uint64(4)
	if e.wide && !s.eh {
		idSize = 8
	}
	if size > maxEntry || size < idSize {
		return entry{}, errFormat
	}
	b := make([]byte, size)
	if s.read(b, e.at) < len(b) {
		return entry{}, errFormat
	}
	e.next = e.at + size
	if idSize == 8 {
		e.id = binary.LittleEndian.Uint64(b)
	} else {
		e.id = uint64(binary.LittleEndian.Uint32(b))
	}
	e.body, e.at = b[idSize:], e.at+idSize
	return e, nil
}

// isCIE tells a CIE from an FDE.
func (s *section) isCIE(e *entry) bool {
	switch {
	case s.eh:
		return e.id == 0
	case e.wide:
		return e.id == ^uint64(0)
	}
	return e.id == 0xffffffff
}

// cieOf is where the CIE of an FDE lies.
func (s *section) cieOf(e *entry) uint64 {
	if s.eh {
		return e.at - 4 - e.id
	}
	return e.id
}

// cie is a common information entry.
type cie struct {
	codeAlign    uint64
	dataAlign    int64
	ra           uint64 // column of the return address
	encoding     byte   // of addresses in its FDEs
	augmented    bool   // FDEs have the length of their augmentation data
	signal       bool   // its functions are what signal handlers return to
	instructions []byte
}

// fde is a frame description entry: what holds for the code [start, start+size).
type fde struct {
	*cie
	start, size  uint64
	instructions []byte
}

// cieAt reads a CIE, once.
func (s *section) cieAt(at uint64) (*cie, error) {
	if c, ok := s.cies[at]; ok {
		if c == nil {
			return nil, errFormat
		}
		return c, nil
	}
	if s.cies == nil || len(s.cies) > 1<<12 {
		s.cies = map[uint64]*cie{}
	}
	c, err := s.readCIE(at)
	s.cies[at] = c
	return c, err
}

func (s *section) readCIE(at uint64) (*cie, error) {
	e, err := s.entryAt(at)
	if err != nil || e.body == nil || !s.isCIE(&e) {
		return nil, errFormat
	}
	r := reader{b: e.body, at: e.at, word: s.word, data: s.data}
	version := r.u8()
	augmentation := r.text()
	c := &cie{}
	if version == 4 {
		if r.u8() != byte(s.word) || r.u8() != 0 { // sizes of an address and of a segment
			return nil, errFormat
		}
	}
	c.codeAlign, c.dataAlign = r.uleb(), r.sleb()
	if version == 1 {
		c.ra = uint64(r.u8())
	} else {
		c.ra = r.uleb()
	}
	if version != 1 && version != 3 && version != 4 || r.bad {
		return nil, errFormat
	}
	if augmentation != "" && augmentation[0] != 'z' {
		return nil, errFormat
	}
	if augmentation != "" {
		c.augmented = true
		n := r.uleb()
		if n > uint64(len(r.b)) {
			return nil, errFormat
		}
		a := r
		a.b = r.b[:n]
		r.b, r.at = r.b[n:], r.at+n
		c.augment(augmentation[1:], &a)
		if a.bad {
			return nil, errFormat
		}
	}
	c.instructions = r.b
	return c, nil
}

// augment reads what the letters announce. What follows an unknown one cannot
// be read, and needs not be.
func (c *cie) augment(letters string, r *reader) {
	for _, l := range letters {
		switch l {
		case 'R':
			c.encoding = r.u8()
		case 'P':
			r.pointer(r.u8())
		case 'L':
			r.u8()
		case 'S':
			c.signal = true
		case 'B', 'G': // of arm64: signed with key B; the stack's memory is tagged
		default:
			return
		}
	}
}

// fdeOf reads an FDE from its entry.
func (s *section) fdeOf(e *entry) (*fde, error) {
	c, err := s.cieAt(s.cieOf(e))
	if err != nil {
		return nil, err
	}
	r := reader{b: e.body, at: e.at, word: s.word, data: s.data}
	f := &fde{cie: c}
	if s.eh {
		f.start, _ = r.pointer(c.encoding)
		f.size, _ = r.pointer(c.encoding & 0x0f)
	} else {
		f.start = r.address() + s.bias
		f.size = r.address()
	}
	if c.augmented {
		n := r.uleb()
		if n > uint64(len(r.b)) {
			return nil, errFormat
		}
		r.b = r.b[n:]
	}
	if s.word == 4 {
		f.start, f.size = uint64(uint32(f.start)), uint64(uint32(f.size))
	}
	f.instructions = r.b
	if r.bad {
		return nil, errFormat
	}
	return f, nil
}
