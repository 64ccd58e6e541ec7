package linux

import (
	"debug/elf"
	"encoding/binary"

	"procdump/internal/elfimage"
	"procdump/snapshot"
)

// maxLinkMaps bounds a walk of the dynamic linker's list, which a broken
// process may have tied into a ring.
const maxLinkMaps = 65536

// Linker follows the executable's DT_DEBUG to struct r_debug and its list of
// struct link_map (<link.h>). It returns nil for a static executable. The
// executable is the first of the process's modules.
func Linker(p *snapshot.Process) *snapshot.Linker {
	if len(p.Modules) == 0 || p.Modules[0].Dynamic == 0 || p.Memory == nil {
		return nil
	}
	mem := p.Memory
	im, err := elfimage.Read(mem, p.Modules[0].Addr)
	if err != nil {
		return nil
	}
	debug, ok := im.Dyn(elf.DT_DEBUG)
	if !ok || debug == 0 {
		return nil
	}
	w := linkWalker{mem: mem, word: 8}
	if im.Class == elf.ELFCLASS32 {
		w.word = 4
	}
	// struct r_debug { int version; link_map *map; addr brk; enum state; addr ldbase; }
	d, ok := w.words(debug, 5)
	if !ok {
		return nil
	}
	l := &snapshot.Linker{Version: int(uint32(d[0])), Brk: d[2], Base: d[4], Dynamic: snapshot.Range{Addr: im.Dynamic, Size: im.DynSize}}
	l.Ranges = append(l.Ranges, snapshot.Range{Addr: debug, Size: uint64(6 * w.word)}, l.Dynamic)
	seen := map[uint64]bool{}
	for at := d[1]; at != 0 && !seen[at] && len(l.Maps) < maxLinkMaps; {
		seen[at] = true
		// struct link_map { addr l_addr; char *l_name; Dyn *l_ld; link_map *next, *prev; }
		m, ok := w.words(at, 5)
		if !ok {
			break
		}
		e := snapshot.LinkMap{Addr: m[0], LD: m[2]}
		l.Ranges = append(l.Ranges, snapshot.Range{Addr: at, Size: uint64(5 * w.word)})
		if m[1] != 0 {
			e.Name = elfimage.CString(mem, m[1])
			l.Ranges = append(l.Ranges, snapshot.Range{Addr: m[1], Size: uint64(len(e.Name) + 1)})
		}
		l.Maps = append(l.Maps, e)
		at = m[3]
	}
	return l
}

type linkWalker struct {
	mem  snapshot.Memory
	word int
}

// words reads n target words.
func (w *linkWalker) words(addr uint64, n int) ([]uint64, bool) {
	b := make([]byte, n*w.word)
	if _, err := w.mem.ReadMemory(b, addr); err != nil {
		return nil, false
	}
	out := make([]uint64, n)
	for i := range out {
		if w.word == 8 {
			out[i] = binary.LittleEndian.Uint64(b[i*8:])
		} else {
			out[i] = uint64(binary.LittleEndian.Uint32(b[i*4:]))
		}
	}
	return out, true
}
