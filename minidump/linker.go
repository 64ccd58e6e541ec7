package minidump

import (
	"encoding/binary"
	"fmt"

	"procdump/arch"
	"procdump/snapshot"
)

// debugLayout says where the fields of the LINUX_DSO_DEBUG stream lie: those of
// MDRawDebug behind version, map RVA and count, and of MDRawLinkMap.
type debugLayout struct {
	word         int // bytes of an address
	size, fields int // MDRawDebug, and where brk, ldbase, dynamic begin
	entry, ld    int // MDRawLinkMap {addr, u32 name RVA, ld}, and where ld is
}

// Breakpad declares these structures outside its #pragma pack, so on 64-bit
// machines they have padding before the first u64 that follows a u32. Writers
// that go by the header's other structures pack them to 4 bytes.
var (
	debug32       = debugLayout{4, 24, 12, 12, 8}
	debug64       = debugLayout{8, 40, 16, 24, 16}
	debug64Packed = debugLayout{8, 36, 12, 20, 12}
)

// linker writes the LINUX_DSO_DEBUG stream. Its last part is a copy of the
// dynamic section; that is memory, so it is not written here but is the first
// placement, which begins where the head ends. The stream has to be the last.
func (h *head) linker(p *snapshot.Process) {
	k, d, word := p.Linker, debug64, h.u64
	if p.Machine().PointerSize() == 4 {
		d, word = debug32, func(v uint64) { h.u32(uint32(v)) }
	}
	names := make([]uint32, len(k.Maps))
	for i, m := range k.Maps {
		names[i] = h.str(cutName(m.Name))
	}
	h.align(8)
	maps := h.rva()
	for i, m := range k.Maps {
		word(m.Addr)
		h.u32(names[i])
		h.zeros(int64(d.ld - d.word - 4))
		word(m.LD)
	}
	if len(k.Maps) == 0 {
		maps = 0xffffffff // Breakpad's kInvalidMDRVA
	}
	h.align(8)
	h.zeros(h.slack)
	h.beginHere(LinuxDSODebugStream)
	h.u32(uint32(k.Version))
	h.u32(maps)
	h.u32(uint32(len(k.Maps)))
	h.zeros(int64(d.fields - 12))
	word(k.Brk)
	word(k.Base)
	word(k.Dynamic.Addr)
	h.end()
	h.dir[len(h.dir)-1].Size += uint32(h.plan.dynamic.Size)
}

// Linker returns the LINUX_DSO_DEBUG stream. The size of the dynamic section
// is that of the copy in the dump.
func (r *Reader) Linker() (*snapshot.Linker, error) { return strict(r.linker()) }

func (r *Reader) linker() (*snapshot.Linker, error) {
	b, d, err := r.stream(LinuxDSODebugStream)
	if err != nil && len(b) == 0 {
		return nil, err
	}
	le, l := binary.LittleEndian, r.debugLayout(b)
	word := le.Uint64
	if l.word == 4 {
		word = func(b []byte) uint64 { return uint64(le.Uint32(b)) }
	}
	if len(b) < l.size {
		return nil, orShort(err, d, "LinuxDSODebug")
	}
	f := b[l.fields:]
	k := &snapshot.Linker{Version: int(int32(le.Uint32(b))), Brk: word(f), Base: word(f[l.word:])}
	k.Dynamic = snapshot.Range{Addr: word(f[2*l.word:]), Size: uint64(d.Size) - uint64(l.size)}
	n, off := le.Uint32(b[8:]), int64(le.Uint32(b[4:]))
	maps, merr := r.bytes(off, int(min(n, maxEntries))*l.entry)
	if merr != nil {
		return k, fmt.Errorf("read link map: %w", merr)
	}
	s := r.strings()
	for ; len(maps) >= l.entry; maps = maps[l.entry:] {
		name, serr := s.at(int64(le.Uint32(maps[l.word:])))
		if serr != nil && err == nil {
			err = fmt.Errorf("link map: %w", serr)
		}
		k.Maps = append(k.Maps, snapshot.LinkMap{Addr: word(maps), Name: name, LD: word(maps[l.ld:])})
	}
	if len(k.Maps) < int(n) && err == nil {
		err = &FormatError{Off: off, What: fmt.Sprintf("link map of %d entries", n)}
	}
	return k, err
}

// debugLayout tells which layout a LINUX_DSO_DEBUG stream has. In the 64-bit
// one the padding is zero; packed, half of a code address is in its place.
func (r *Reader) debugLayout(b []byte) debugLayout {
	s, err := r.SystemInfo()
	switch {
	case err == nil && s.Machine() == arch.I386:
		return debug32
	case len(b) >= debug64.size && binary.LittleEndian.Uint32(b[12:]) == 0:
		return debug64
	}
	return debug64Packed
}
