package layout

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// maxBTF bounds the size of type data; a kernel of 2026 has 6 MB.
const maxBTF = 64 << 20

// The BPF Type Format (Documentation/bpf/btf.rst). A header of 24 bytes and
// more:
//
//	0 u16 magic 0xeb9f    8 u32 type_off   16 u32 str_off
//	2 u8  version 1      12 u32 type_len   20 u32 str_len
//	4 u32 hdr_len            offsets count from the header's end
//
// A type is {u32 name_off, u32 info, u32 size or type} and what its kind adds;
// info holds vlen (bits 0-15), kind (24-28) and kind_flag (31). Types are
// numbered from 1 in order; type data of a module goes on where that of the
// kernel ends, numbers of types and offsets of strings alike.
const (
	btfMagic  = 0xeb9f
	btfHeader = 24
)

// Kinds of types.
const (
	btfInt       = 1
	btfPtr       = 2
	btfArray     = 3
	btfStruct    = 4
	btfUnion     = 5
	btfEnum      = 6
	btfFwd       = 7
	btfTypedef   = 8
	btfVolatile  = 9
	btfConst     = 10
	btfRestrict  = 11
	btfFunc      = 12
	btfFuncProto = 13
	btfVar       = 14
	btfDatasec   = 15
	btfFloat     = 16
	btfDeclTag   = 17
	btfTypeTag   = 18
	btfEnum64    = 19
)

// BTF is the type data of a kernel or, on top of that, of a module. It keeps
// the raw data and an offset per type. It is not safe for concurrent use.
type BTF struct {
	base    *BTF
	types   []byte
	strings []byte
	off     []uint32 // where each own type begins in types; off[0] is type first
	first   uint32   // number of the first own type
	strBase uint32   // offset of the first own string
	stopped string   // why the types end early, if they do
	found   map[btfName]uint32
}

type btfName struct {
	kinds uint32 // bit mask
	name  string
}

// btfType is the head of a type.
type btfType struct {
	name   uint32
	kind   uint32
	vlen   uint32
	flag   bool
	size   uint32 // or the number of a type
	detail []byte // what the kind adds
}

// ParseBTF reads type data. base is the kernel's, for that of a module, else
// nil. The result refers to data. Data that ends in a kind of type that is not
// known is read up to there.
func ParseBTF(data []byte, base *BTF) (*BTF, error) {
	if len(data) < btfHeader {
		return nil, fmt.Errorf("layout: type data of %d bytes: too short", len(data))
	}
	u32 := func(off int) uint64 { return uint64(binary.LittleEndian.Uint32(data[off:])) }
	if m := binary.LittleEndian.Uint16(data); m != btfMagic {
		return nil, fmt.Errorf("layout: type data begins with %#04x, not %#04x", m, btfMagic)
	}
	head, size := u32(4), uint64(len(data))
	typeOff, typeLen, strOff, strLen := head+u32(8), u32(12), head+u32(16), u32(20)
	if head < btfHeader || typeOff > size || typeLen > size-typeOff || strOff > size || strLen > size-strOff {
		return nil, fmt.Errorf("layout: header of type data points behind its %d bytes", size)
	}
	b := &BTF{
		base: base, first: 1, found: make(map[btfName]uint32),
		types: data[typeOff : typeOff+typeLen], strings: data[strOff : strOff+strLen],
	}
	if base != nil {
		b.first = base.first + uint32(len(base.off))
		b.strBase = base.strBase + uint32(len(base.strings))
	}
	for off := 0; off < len(b.types); {
		_, n, err := b.head(off)
		if err != nil {
			b.stopped = err.Error()
			break
		}
		b.off = append(b.off, uint32(off))
		off += n
	}
	if len(b.off) == 0 {
		return nil, fmt.Errorf("layout: type data holds no types: %s", b.stopped)
	}
	return b, nil
}

// head reads the type at an offset and returns its length.
func (b *BTF) head(off int) (t btfType, n int, err error) {
	d := b.types[off:]
	if len(d) < 12 {
		return t, 0, fmt.Errorf("type data ends within a type")
	}
	le := binary.LittleEndian
	info := le.Uint32(d[4:])
	t = btfType{name: le.Uint32(d), kind: info >> 24 & 0x1f, vlen: info & 0xffff, flag: info>>31 == 1, size: le.Uint32(d[8:])}
	extra := 0
	switch t.kind {
	case btfPtr, btfFwd, btfTypedef, btfVolatile, btfConst, btfRestrict, btfFunc, btfFloat, btfTypeTag:
	case btfInt, btfVar, btfDeclTag:
		extra = 4
	case btfArray:
		extra = 12
	case btfStruct, btfUnion, btfDatasec, btfEnum64:
		extra = 12 * int(t.vlen)
	case btfEnum, btfFuncProto:
		extra = 8 * int(t.vlen)
	default:
		return t, 0, fmt.Errorf("kind %d of type %d is not known", t.kind, b.first+uint32(len(b.off)))
	}
	if len(d) < 12+extra {
		return t, 0, fmt.Errorf("type data ends within a type")
	}
	t.detail = d[12 : 12+extra]
	return t, 12 + extra, nil
}

// Len is the number of types, those of the base included.
func (b *BTF) Len() int { return int(b.first) - 1 + len(b.off) }

// Truncated says why the type data was not read to its end, or is "".
func (b *BTF) Truncated() string { return b.stopped }

// typ returns the type of a number; ok is false for void and unknown numbers.
func (b *BTF) typ(id uint32) (t btfType, ok bool) {
	for x := b; x != nil; x = x.base {
		if id >= x.first {
			if id-x.first >= uint32(len(x.off)) {
				return t, false
			}
			t, _, err := x.head(int(x.off[id-x.first]))
			return t, err == nil
		}
	}
	return t, false
}

// str returns the string at an offset.
func (b *BTF) str(off uint32) []byte {
	x := b
	for off < x.strBase && x.base != nil {
		x = x.base
	}
	off -= x.strBase
	if uint64(off) >= uint64(len(x.strings)) {
		return nil
	}
	s := x.strings[off:]
	if end := bytes.IndexByte(s, 0); end >= 0 {
		s = s[:end]
	}
	return s
}

// find returns the number of the first type of this name whose kind is one of
// kinds.
func (b *BTF) find(name string, kinds ...uint32) (uint32, bool) {
	var mask uint32
	for _, k := range kinds {
		mask |= 1 << k
	}
	key := btfName{mask, name}
	if id, ok := b.found[key]; ok {
		return id, id != 0
	}
	id, ok := b.search(name, mask)
	b.found[key] = id
	return id, ok
}

func (b *BTF) search(name string, mask uint32) (uint32, bool) {
	if b.base != nil {
		if id, ok := b.base.search(name, mask); ok {
			return id, true
		}
	}
	for i, off := range b.off {
		t, _, err := b.head(int(off))
		if err == nil && mask>>t.kind&1 == 1 && string(b.str(t.name)) == name {
			return b.first + uint32(i), true
		}
	}
	return 0, false
}

// maxTypeDepth bounds chains of types in damaged data.
const maxTypeDepth = 32

// resolve follows typedefs and qualifiers.
func (b *BTF) resolve(id uint32) (uint32, btfType, bool) {
	for range maxTypeDepth {
		t, ok := b.typ(id)
		if !ok {
			return 0, t, false
		}
		switch t.kind {
		case btfTypedef, btfVolatile, btfConst, btfRestrict, btfTypeTag, btfVar, btfDeclTag:
			id = t.size
		default:
			return id, t, true
		}
	}
	return 0, btfType{}, false
}

// sizeOf returns the size in bytes of a type.
func (b *BTF) sizeOf(id uint32) (uint64, bool) {
	count := uint64(1)
	for range maxTypeDepth {
		_, t, ok := b.resolve(id)
		if !ok {
			return 0, false
		}
		switch t.kind {
		case btfInt, btfStruct, btfUnion, btfEnum, btfEnum64, btfFloat:
			return uint64(t.size) * count, true
		case btfPtr:
			return 8 * count, true
		case btfArray:
			n := uint64(binary.LittleEndian.Uint32(t.detail[8:]))
			if n > 1<<32/max(count, 1) {
				return 0, false
			}
			count *= n
			id = binary.LittleEndian.Uint32(t.detail)
		default:
			return 0, false
		}
	}
	return 0, false
}
