package minidump

import (
	"encoding/binary"
	"unicode/utf16"
)

// head collects the front part of a dump: what is not memory. It only grows;
// the RVA of the next byte is len(b).
type head struct {
	b    []byte
	dir  []Directory
	plan *plan
}

func (h *head) u16(v uint16) { h.b = binary.LittleEndian.AppendUint16(h.b, v) }
func (h *head) u32(v uint32) { h.b = binary.LittleEndian.AppendUint32(h.b, v) }
func (h *head) u64(v uint64) { h.b = binary.LittleEndian.AppendUint64(h.b, v) }
func (h *head) zeros(n int)  { h.b = append(h.b, make([]byte, n)...) }
func (h *head) rva() uint32  { return uint32(len(h.b)) }

func (h *head) bytes(b []byte) { h.b = append(h.b, b...) }

// location writes a piece's size and RVA.
func (h *head) location(l Location) {
	h.u32(l.Size)
	h.u32(l.RVA)
}

// align pads with zeros to a multiple of n.
func (h *head) align(n int) { h.zeros((n - len(h.b)%n) % n) }

// blob writes bytes that something points at and returns where they are.
func (h *head) blob(b []byte) Location {
	if len(b) == 0 {
		return Location{}
	}
	h.align(8)
	l := Location{Size: uint32(len(b)), RVA: h.rva()}
	h.bytes(b)
	return l
}

// str writes a MINIDUMP_STRING and returns its RVA.
func (h *head) str(s string) uint32 {
	h.align(4)
	rva := h.rva()
	u := utf16.Encode([]rune(s))
	h.u32(uint32(2 * len(u)))
	h.utf16(u)
	h.u16(0)
	return rva
}

func (h *head) utf16(u []uint16) {
	for _, c := range u {
		h.u16(c)
	}
}

// text16 writes s in a fixed field of n UTF-16 units, cut if need be, always
// ending in NUL.
func (h *head) text16(s string, n int) {
	u := utf16.Encode([]rune(s))
	u = u[:min(len(u), n-1)]
	h.utf16(u)
	h.zeros(2 * (n - len(u)))
}

// begin starts the stream of that type; what it points at has been written
// before. end closes it.
func (h *head) begin(t StreamType) {
	h.align(8)
	h.dir = append(h.dir, Directory{t, Location{RVA: h.rva()}})
}

func (h *head) end() {
	d := &h.dir[len(h.dir)-1]
	d.Size = h.rva() - d.RVA
}

// raw writes a stream that is just bytes.
func (h *head) raw(t StreamType, b []byte) {
	h.begin(t)
	h.bytes(b)
	h.end()
}
