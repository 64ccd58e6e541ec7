package pe

import (
	"bytes"
	"encoding/binary"
)

// Export is a name that an image exports, of a place in it.
type Export struct {
	RVA  uint32
	name uint32
}

// maxExports bounds those of an image: their numbers have 16 bits.
const maxExports = 1 << 16

// Exports returns at most that many names of code, in the order of the table.
func (x *Image) Exports(most int) []Export {
	le := binary.LittleEndian
	d := x.dirs[exportDirectory]
	// IMAGE_EXPORT_DIRECTORY: at 20 the numbers of functions and of names, and
	// where the functions, the names and the names' functions are.
	var head [40]byte
	if d.size < uint32(len(head)) || !x.full(head[:], d.rva) {
		return nil
	}
	functions := x.table(le.Uint32(head[28:]), le.Uint32(head[20:]), 4)
	names := x.table(le.Uint32(head[32:]), le.Uint32(head[24:]), 4)
	ordinals := x.table(le.Uint32(head[36:]), le.Uint32(head[24:]), 2)
	var all []Export
	for i := 0; i < len(ordinals)/2 && i < len(names)/4 && len(all) < most; i++ {
		n := int(le.Uint16(ordinals[2*i:]))
		if n >= len(functions)/4 {
			continue
		}
		// What lies in the table itself is the name of another library's.
		if rva := le.Uint32(functions[4*n:]); !d.contains(rva) && x.Code(rva) {
			all = append(all, Export{rva, le.Uint32(names[4*i:])})
		}
	}
	return all
}

// table reads n entries of some bytes; nil: it cannot.
func (x *Image) table(rva, n, size uint32) []byte {
	if n > maxExports || x.within(span{rva, n * size}).size < n*size {
		return nil
	}
	b := make([]byte, n*size)
	return b[:x.Read(b, rva)]
}

// Name returns the name of an export, "" if it cannot be read.
func (x *Image) Name(e Export) string {
	const most = 4096
	var out []byte
	for len(out) < most {
		var b [64]byte
		n := x.Read(b[:], e.name+uint32(len(out)))
		if i := bytes.IndexByte(b[:n], 0); i >= 0 {
			return string(append(out, b[:i]...))
		}
		if n == 0 {
			break
		}
		out = append(out, b[:n]...)
	}
	return ""
}
