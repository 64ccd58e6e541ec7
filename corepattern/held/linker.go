package held

import (
	"bytes"
	"encoding/binary"

	"procdump/snapshot"
)

// maxLinkMaps bounds a walk of the dynamic linker's list, which a broken
// process may have tied into a ring.
const maxLinkMaps = 65536

// words reads words of the target.
type words struct {
	mem  snapshot.Memory
	size int // of a word, bytes
}

func (w words) read(addr uint64, n int) ([]uint64, bool) {
	b := make([]byte, n*w.size)
	if _, err := w.mem.ReadMemory(b, addr); err != nil {
		return nil, false
	}
	out := make([]uint64, n)
	for i := range out {
		if w.size == 8 {
			out[i] = binary.LittleEndian.Uint64(b[i*8:])
		} else {
			out[i] = uint64(binary.LittleEndian.Uint32(b[i*4:]))
		}
	}
	return out, true
}

// text reads a C string of at most a path's length.
func (w words) text(addr uint64) string {
	b := make([]byte, 4096)
	n, _ := w.mem.ReadMemory(b, addr)
	s, _, ok := bytes.Cut(b[:n], []byte{0})
	if !ok {
		return ""
	}
	return string(s)
}

// dynamic finds an entry of a dynamic section and the section's size.
func (w words) dynamic(addr, tag uint64) (value, size uint64, ok bool) {
	const maxEntries = 256
	for i := range uint64(maxEntries) {
		e, read := w.read(addr+i*2*uint64(w.size), 2)
		if !read {
			return 0, 0, false
		}
		if e[0] == tag {
			value, ok = e[1], true
		}
		if e[0] == 0 { // DT_NULL
			return value, (i + 1) * 2 * uint64(w.size), ok
		}
	}
	return 0, 0, false
}

// Linker follows the executable's DT_DEBUG to struct r_debug and its list of
// struct link_map (<link.h>). It returns nil for a static executable.
func Linker(p *snapshot.Process) *snapshot.Linker {
	if len(p.Modules) == 0 || p.Modules[0].Dynamic == 0 || p.Memory == nil {
		return nil
	}
	w := words{p.Memory, p.Machine().PointerSize()}
	const dtDebug = 21
	at := p.Modules[0].Dynamic
	debug, size, ok := w.dynamic(at, dtDebug)
	if !ok || debug == 0 {
		return nil
	}
	// struct r_debug { int version; link_map *map; addr brk; enum state; addr ldbase; }
	d, ok := w.read(debug, 5)
	if !ok {
		return nil
	}
	l := &snapshot.Linker{Version: int(uint32(d[0])), Brk: d[2], Base: d[4], Dynamic: snapshot.Range{Addr: at, Size: size}}
	l.Ranges = append(l.Ranges, snapshot.Range{Addr: debug, Size: uint64(6 * w.size)}, l.Dynamic)
	seen := map[uint64]bool{}
	for at := d[1]; at != 0 && !seen[at] && len(l.Maps) < maxLinkMaps; {
		seen[at] = true
		// struct link_map { addr l_addr; char *l_name; Dyn *l_ld; link_map *next, *prev; }
		m, ok := w.read(at, 5)
		if !ok {
			break
		}
		e := snapshot.LinkMap{Addr: m[0], LD: m[2]}
		l.Ranges = append(l.Ranges, snapshot.Range{Addr: at, Size: uint64(5 * w.size)})
		if m[1] != 0 {
			e.Name = w.text(m[1])
			l.Ranges = append(l.Ranges, snapshot.Range{Addr: m[1], Size: uint64(len(e.Name) + 1)})
		}
		l.Maps = append(l.Maps, e)
		at = m[3]
	}
	return l
}
