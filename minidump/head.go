package minidump

import (
	"encoding/binary"
	"io"
	"unicode/utf16"

	"procdump/arch"
)

// head writes the front part of a dump, what is not memory, from beginning to
// end. Nothing refers to what comes later but the directory: it is known from
// measuring, which is writing to nowhere.
type head struct {
	w    io.Writer
	err  error  // of w
	b    []byte // not yet given to w
	done int64  // bytes given to w
	dir  []Directory
	plan *plan

	contexts    []Location           // of each thread's CONTEXT, for the exception
	contextSize map[arch.Machine]int // bytes of a CONTEXT
	// slack is how many zeros come before the stream that has to touch the
	// head's end, or at the end if there is none.
	slack int64
}

// spillSize is how many bytes a head gathers before it gives them to its
// writer, about.
const spillSize = 32 << 10

// spill gives what was gathered to the writer if that is worth it.
func (h *head) spill() {
	if len(h.b) >= spillSize {
		h.flush()
	}
}

func (h *head) flush() {
	if h.err == nil {
		_, h.err = h.w.Write(h.b)
	}
	h.done, h.b = h.done+int64(len(h.b)), h.b[:0]
}

// size is how many bytes were written.
func (h *head) size() int64 { return h.done + int64(len(h.b)) }

func (h *head) u8(v uint8) { h.b = append(h.b, v) }

func (h *head) u16(v uint16) { h.b = binary.LittleEndian.AppendUint16(h.b, v) }

func (h *head) u32(v uint32) {
	h.b = binary.LittleEndian.AppendUint32(h.b, v)
	h.spill()
}

func (h *head) u64(v uint64) {
	h.b = binary.LittleEndian.AppendUint64(h.b, v)
	h.spill()
}

func (h *head) zeros(n int64) {
	var b [256]byte
	for ; n > 0; n -= int64(len(b)) {
		h.bytes(b[:min(n, int64(len(b)))])
	}
}

func (h *head) rva() uint32 { return uint32(h.size()) }

func (h *head) bytes(b []byte) {
	h.b = append(h.b, b...)
	h.spill()
}

// Write implements io.Writer.
func (h *head) Write(b []byte) (int, error) {
	h.bytes(b)
	return len(b), h.err
}

// location writes a piece's size and RVA.
func (h *head) location(l Location) {
	h.u32(l.Size)
	h.u32(l.RVA)
}

// align pads with zeros to a multiple of n, a power of two.
func (h *head) align(n int64) { h.zeros(-h.size() & (n - 1)) }

// blob writes bytes that something points at and returns where they are.
func (h *head) blob(b []byte) Location {
	if len(b) == 0 {
		return Location{}
	}
	l := h.nextBlob(len(b))
	h.bytes(b)
	return l
}

// nextBlob is where a blob of that size will be that is written next.
func (h *head) nextBlob(size int) Location {
	h.align(8)
	return Location{Size: uint32(size), RVA: h.rva()}
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
	h.zeros(2 * int64(n-len(u)))
}

// begin starts the stream of that type; what it points at has been written
// before. end closes it.
func (h *head) begin(t StreamType) {
	h.align(8)
	h.beginHere(t)
}

// beginHere starts a stream without aligning it.
func (h *head) beginHere(t StreamType) {
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
