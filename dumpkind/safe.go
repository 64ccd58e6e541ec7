package dumpkind

import (
	"debug/elf"
	"encoding/binary"
	"sort"

	"procdump/snapshot"
)

// safe lists, merged, the bytes that a triage dump shows as they are: those
// that tell a debugger which modules lie where. They were written by linkers,
// not by the program; what else lies on their pages may be anything.
func safe(p *snapshot.Process, h heldMemory) []snapshot.Range {
	var out []snapshot.Range
	w := p.Machine().PointerSize()
	for i := range p.Modules {
		m := &p.Modules[i]
		if m.Path == "linux-gate.so" {
			out = append(out, m.Range)
			continue
		}
		out = append(out, headers(m.Addr, h.bytes(m.Addr, maxHeaders))...)
		out = append(out, snapshot.Range{Addr: m.Dynamic, Size: dynamicSize(h.bytes(m.Dynamic, maxDynamic), w)})
	}
	if p.Linker != nil {
		for _, r := range p.Linker.Ranges {
			// Of a name that is there in part the user's could not be hidden.
			if r == p.Linker.Dynamic || r.Size <= maxPath && h.all(r) != nil {
				out = append(out, r)
			}
		}
	}
	return snapshot.MergeRanges(out, 0)
}

// maxPath is the longest path in bytes, its NUL included (PATH_MAX), and one.
const maxPath = 4097

// maxHeaders is how much of an image is searched for notes.
const maxHeaders = 16 << 10

// heldMemory is the part of a process's memory that a dump holds.
type heldMemory struct {
	mem    snapshot.Memory
	ranges []snapshot.Range // ascending, apart
}

// at returns the index of the range that holds addr, or -1.
func (h heldMemory) at(addr uint64) int {
	i := sort.Search(len(h.ranges), func(i int) bool { return h.ranges[i].End() > addr })
	if i < len(h.ranges) && h.ranges[i].Contains(addr) {
		return i
	}
	return -1
}

// bytes returns what the dump holds from addr on without a gap, at most size
// bytes.
func (h heldMemory) bytes(addr, size uint64) []byte {
	i := h.at(addr)
	if i < 0 {
		return nil
	}
	b := make([]byte, min(size, h.ranges[i].End()-addr))
	n, _ := h.mem.ReadMemory(b, addr) // what cannot be read says nothing
	return b[:n]
}

// all returns the bytes of r, nil if the dump does not hold all of them.
func (h heldMemory) all(r snapshot.Range) []byte {
	if b := h.bytes(r.Addr, r.Size); uint64(len(b)) == r.Size {
		return b
	}
	return nil
}

// headers lists the ELF header at the beginning of b, which was mapped at addr,
// its program headers, and the notes that lie within b.
func headers(addr uint64, b []byte) []snapshot.Range {
	const ehdr32, ehdr64 = 52, 64
	if len(b) < ehdr64 || string(b[:len(elf.ELFMAG)]) != elf.ELFMAG {
		return nil
	}
	le := binary.LittleEndian
	size, phoff, phentsize, phnum := uint64(ehdr64), le.Uint64(b[32:]), uint64(56), uint64(le.Uint16(b[56:]))
	if elf.Class(b[elf.EI_CLASS]) == elf.ELFCLASS32 {
		size, phoff, phentsize, phnum = ehdr32, uint64(le.Uint32(b[28:])), 32, uint64(le.Uint16(b[44:]))
	}
	out := []snapshot.Range{{Addr: addr, Size: size}}
	n := uint64(len(b))
	if phoff > n || phnum*phentsize > n-phoff {
		return out
	}
	out = append(out, snapshot.Range{Addr: addr + phoff, Size: phnum * phentsize})
	for ph := b[phoff:][:phnum*phentsize]; len(ph) > 0; ph = ph[phentsize:] {
		if elf.ProgType(le.Uint32(ph)) != elf.PT_NOTE {
			continue
		}
		off, filesz := le.Uint64(ph[8:]), uint64(0)
		if phentsize == 32 {
			off, filesz = uint64(le.Uint32(ph[4:])), uint64(le.Uint32(ph[16:]))
		} else {
			filesz = le.Uint64(ph[32:])
		}
		if off < n && filesz <= n-off {
			out = append(out, snapshot.Range{Addr: addr + off, Size: filesz})
		}
	}
	return out
}

// dynamicSize is the length of the dynamic section that b begins with, its
// final DT_NULL included; 0 if there is none soon: it may be anything.
func dynamicSize(b []byte, w int) uint64 {
	for n := 2 * w; w > 0 && n <= min(len(b), maxDynamic); n += 2 * w {
		if elf.DynTag(word(b[n-2*w:], w)) == elf.DT_NULL {
			return uint64(n)
		}
	}
	return 0
}
