package minidump

import (
	"encoding/binary"
	"fmt"

	"procdump/snapshot"
)

// MemoryDescriptor locates the bytes of a range of the target's memory.
type MemoryDescriptor struct {
	snapshot.Range
	Off int64 // file offset of the bytes
}

func (h *head) memoryList() {
	h.begin(MemoryListStream)
	h.u32(uint32(len(h.plan.list)))
	for _, r := range h.plan.list {
		h.u64(r.Addr)
		l := h.plan.locate(r)
		h.location(Location{uint32(r.Size), l.RVA})
	}
	h.end()
}

func (h *head) memory64List() {
	h.begin(Memory64ListStream)
	h.u64(uint64(len(h.plan.list64)))
	h.u64(uint64(h.plan.base64))
	for _, r := range h.plan.list64 {
		h.u64(r.Addr)
		h.u64(r.Size)
	}
	h.end()
}

// MemoryList returns the entries of the MemoryList, in file order. Their bytes
// may lie beyond the end of a truncated file.
func (r *Reader) MemoryList() ([]MemoryDescriptor, error) { return strict(r.memoryList()) }

func (r *Reader) memoryList() ([]MemoryDescriptor, error) {
	l, err := r.list(MemoryListStream, memorySize)
	if err != nil && l == nil {
		return nil, err
	}
	out := make([]MemoryDescriptor, 0, l.n)
	for e := range l.entries() {
		loc := location(e[8:])
		out = append(out, MemoryDescriptor{
			snapshot.Range{Addr: binary.LittleEndian.Uint64(e), Size: uint64(loc.Size)}, int64(loc.RVA)})
	}
	return out, err
}

// Memory64List returns the entries of the Memory64List, in file order. Their
// bytes may lie beyond the end of a truncated file.
func (r *Reader) Memory64List() ([]MemoryDescriptor, error) { return strict(r.memory64List()) }

func (r *Reader) memory64List() ([]MemoryDescriptor, error) {
	b, d, err := r.stream(Memory64ListStream)
	if len(b) < 16 {
		return nil, orShort(err, d, "Memory64List")
	}
	off := binary.LittleEndian.Uint64(b[8:])
	n, err := count(binary.LittleEndian.Uint64(b), len(b)-16, memory64Size, d, err)
	out := make([]MemoryDescriptor, 0, n)
	for i := range n {
		e := b[16+i*memory64Size:]
		m := snapshot.Range{Addr: binary.LittleEndian.Uint64(e), Size: binary.LittleEndian.Uint64(e[8:])}
		if off > 1<<62 || m.Size > 1<<62 {
			return out, &FormatError{Off: int64(d.RVA), What: fmt.Sprintf("Memory64List entry %d of %#x bytes", i, m.Size)}
		}
		out = append(out, MemoryDescriptor{m, int64(off)})
		off += m.Size
	}
	return out, err
}
