package layout

import (
	"encoding/binary"
	"slices"

	"procdump/kernel/layout/layouttest"
)

// ExtractBTF copies structures and enumerations, with members that are
// structures of other names turned into bytes.
func ExtractBTF(b *BTF, names ...string) []byte {
	x := extractor{from: b, to: layouttest.NewBTF(), ints: make(map[uint32]uint32), done: make(map[uint32]uint32), keep: names}
	for _, name := range names {
		if id, ok := b.find(name, btfStruct, btfUnion, btfEnum, btfEnum64); ok {
			x.copy(id)
		}
	}
	return x.to.Bytes()
}

type extractor struct {
	from *BTF
	to   *layouttest.BTF
	keep []string
	ints map[uint32]uint32 // by size
	done map[uint32]uint32
}

func (x *extractor) copy(id uint32) uint32 {
	id, t, ok := x.from.resolve(id)
	if !ok {
		return x.integer(8)
	}
	if to, ok := x.done[id]; ok {
		return to
	}
	le := binary.LittleEndian
	name := string(x.from.str(t.name))
	var to uint32
	switch t.kind {
	case btfStruct, btfUnion:
		if name != "" && !slices.Contains(x.keep, name) {
			to = x.to.Array(x.integer(1), t.size)
			break
		}
		var members []layouttest.Member
		for d := t.detail; len(d) >= 12; d = d[12:] {
			m := layouttest.Member{Name: string(x.from.str(le.Uint32(d))), Type: x.copy(le.Uint32(d[4:])), Bits: le.Uint32(d[8:])}
			if t.flag {
				m.Bit, m.Bits = m.Bits>>24, m.Bits&0xffffff
			}
			members = append(members, m)
		}
		if t.kind == btfUnion {
			to = x.to.Union(name, t.size, members...)
		} else {
			to = x.to.Struct(name, t.size, members...)
		}
	case btfArray:
		to = x.to.Array(x.copy(le.Uint32(t.detail)), le.Uint32(t.detail[8:]))
	case btfEnum:
		var values []layouttest.Value
		for d := t.detail; len(d) >= 8; d = d[8:] {
			values = append(values, layouttest.Value{Name: string(x.from.str(le.Uint32(d))), Value: int64(int32(le.Uint32(d[4:])))})
		}
		if !slices.Contains(x.keep, name) {
			values = nil
		}
		to = x.to.Enum(name, values...)
	default:
		n, _ := x.from.sizeOf(id)
		to = x.integer(uint32(n))
	}
	x.done[id] = to
	return to
}

func (x *extractor) integer(size uint32) uint32 {
	if to, ok := x.ints[size]; ok {
		return to
	}
	x.ints[size] = x.to.Int("int", size)
	return x.ints[size]
}
