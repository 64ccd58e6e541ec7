package minidump

import (
	"encoding/binary"
	"fmt"

	"procdump/arch"
	"procdump/snapshot"
)

// Sizes of the LINUX_DSO_DEBUG stream's fixed part and of its link map entries
// (Breakpad's MDRawDebug64, MDRawLinkMap64 and their 32-bit forms).
const (
	debug64Size, linkMap64Size = 36, 20
	debug32Size, linkMap32Size = 24, 12
)

// linker writes the LINUX_DSO_DEBUG stream. Its last part is a copy of the
// dynamic section; that is memory, so it is not written here but is the first
// placement, which begins where the head ends. The stream has to be the last.
func (h *head) linker(p *snapshot.Process) {
	k, word := p.Linker, h.u64
	if p.Machine().PointerSize() == 4 {
		word = func(v uint64) { h.u32(uint32(v)) }
	}
	names := make([]uint32, len(k.Maps))
	for i, m := range k.Maps {
		names[i] = h.str(cutName(m.Name))
	}
	h.align(4)
	maps := h.rva()
	for i, m := range k.Maps {
		word(m.Addr)
		h.u32(names[i])
		word(m.LD)
	}
	if len(k.Maps) == 0 {
		maps = 0
	}
	h.begin(LinuxDSODebugStream)
	h.u32(uint32(k.Version))
	h.u32(maps)
	h.u32(uint32(len(k.Maps)))
	word(k.Brk)
	word(k.Base)
	word(k.Dynamic.Addr)
	h.end()
	h.dir[len(h.dir)-1].Size += uint32(h.plan.dynamic.Size)
}

// linkerTail is how many bytes at the head's end belong to linker's stream.
func (h *head) linkerTail() int {
	return len(h.b) - int(h.dir[len(h.dir)-1].RVA)
}

// Linker returns the LINUX_DSO_DEBUG stream. The size of the dynamic section
// is that of the copy in the dump.
func (r *Reader) Linker() (*snapshot.Linker, error) { return strict(r.linker()) }

func (r *Reader) linker() (*snapshot.Linker, error) {
	b, d, err := r.stream(LinuxDSODebugStream)
	if err != nil && len(b) == 0 {
		return nil, err
	}
	size, entry, word := debug64Size, linkMap64Size, binary.LittleEndian.Uint64
	if s, err := r.SystemInfo(); err == nil && s.Machine() == arch.I386 {
		size, entry = debug32Size, linkMap32Size
		word = func(b []byte) uint64 { return uint64(binary.LittleEndian.Uint32(b)) }
	}
	if len(b) < size {
		return nil, orShort(err, d, "LinuxDSODebug")
	}
	w, le := (size-12)/3, binary.LittleEndian
	k := &snapshot.Linker{Version: int(int32(le.Uint32(b))), Brk: word(b[12:]), Base: word(b[12+w:])}
	k.Dynamic = snapshot.Range{Addr: word(b[12+2*w:]), Size: uint64(d.Size) - uint64(size)}
	n, off := le.Uint32(b[8:]), int64(le.Uint32(b[4:]))
	maps, merr := r.bytes(off, int(min(n, maxEntries))*entry)
	if merr != nil {
		return k, fmt.Errorf("read link map: %w", merr)
	}
	s := r.strings()
	for ; len(maps) >= entry; maps = maps[entry:] {
		name, serr := s.at(int64(le.Uint32(maps[w:])))
		if serr != nil && err == nil {
			err = fmt.Errorf("link map: %w", serr)
		}
		k.Maps = append(k.Maps, snapshot.LinkMap{Addr: word(maps), Name: name, LD: word(maps[w+4:])})
	}
	if len(k.Maps) < int(n) && err == nil {
		err = &FormatError{Off: off, What: fmt.Sprintf("link map of %d entries", n)}
	}
	return k, err
}
