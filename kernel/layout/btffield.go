package layout

import (
	"encoding/binary"
	"strings"
)

// Field is a member of a structure or union.
type Field struct {
	Offset uint64 // bytes from the beginning of the outermost structure
	Size   uint64 // bytes; of a bit field, of the integer that holds it
	// BitOffset and BitSize place a bit field in that integer, from bit 0 up.
	// BitSize is 0 for other members.
	BitOffset, BitSize uint8
	// Elem and Len are the size and number of an array's elements, 0 for
	// other members.
	Elem, Len uint64

	typ uint32
}

// Field finds a member of a structure, union or typedef of one by its path,
// such as "core_layout.base". Structures and unions without a name are looked
// into. An element of an array is named by its number: "mem.0.base".
func (b *BTF) Field(structure, path string) (Field, error) {
	id, ok := b.find(structure, btfStruct, btfUnion)
	if !ok {
		if id, ok = b.find(structure, btfTypedef); !ok {
			return Field{}, &MissingError{What: "struct " + structure + " in its type data", Why: b.stopped}
		}
	}
	f := Field{typ: id}
	for part := range strings.SplitSeq(path, ".") {
		next, ok := b.step(f, part)
		if !ok {
			return Field{}, &MissingError{What: "member " + path + " of struct " + structure + " in its type data"}
		}
		f = next
	}
	size, ok := b.sizeOf(f.typ)
	if !ok && f.Size == 0 {
		return Field{}, &MissingError{What: "size of member " + path + " of struct " + structure + " in its type data"}
	}
	if f.BitSize == 0 {
		f.Size = size
	} else {
		f.intoInteger(size)
	}
	if _, t, ok := b.resolve(f.typ); ok && t.kind == btfArray {
		f.Elem, _ = b.sizeOf(binary.LittleEndian.Uint32(t.detail))
		f.Len = uint64(binary.LittleEndian.Uint32(t.detail[8:]))
	}
	return f, nil
}

// step goes from a field to one of its members or elements.
func (b *BTF) step(f Field, name string) (Field, bool) {
	id, t, ok := b.resolve(f.typ)
	if !ok {
		return Field{}, false
	}
	if t.kind == btfArray {
		i, count := uint64(0), uint64(binary.LittleEndian.Uint32(t.detail[8:]))
		for _, c := range name {
			if c < '0' || c > '9' || i > count {
				return Field{}, false
			}
			i = i*10 + uint64(c-'0')
		}
		elem := binary.LittleEndian.Uint32(t.detail)
		size, ok := b.sizeOf(elem)
		if !ok || i >= count {
			return Field{}, false
		}
		return Field{Offset: f.Offset + i*size, typ: elem}, true
	}
	visits := maxAnonymous
	m, ok := b.member(id, name, &visits)
	if !ok || name == "" {
		return Field{}, false
	}
	return Field{Offset: f.Offset + m.bits/8, typ: m.typ, BitOffset: uint8(m.bits % 8), BitSize: m.width}, true
}

// btfMember is a member with its place in bits.
type btfMember struct {
	bits  uint64
	width uint8 // of a bit field, else 0
	typ   uint32
}

// maxAnonymous bounds the structures without a name that are looked into for
// one member. In damaged data they may hold each other.
const maxAnonymous = 1024

// member finds a member by name, also within members that have none. It looks
// into so many structures as visits has left.
func (b *BTF) member(id uint32, name string, visits *int) (btfMember, bool) {
	_, t, ok := b.resolve(id)
	if *visits--; !ok || t.kind != btfStruct && t.kind != btfUnion || *visits < 0 {
		return btfMember{}, false
	}
	for d := t.detail; len(d) >= 12; d = d[12:] {
		m := btfMember{typ: binary.LittleEndian.Uint32(d[4:]), bits: uint64(binary.LittleEndian.Uint32(d[8:]))}
		if t.flag { // bits 24-31 are the width of a bit field
			m.width = uint8(m.bits >> 24)
			m.bits &= 0xffffff
		}
		own := b.str(binary.LittleEndian.Uint32(d))
		if string(own) == name {
			if m.width == 0 && m.bits%8 != 0 {
				return btfMember{}, false
			}
			return m, true
		}
		if len(own) == 0 {
			if inner, ok := b.member(m.typ, name, visits); ok {
				inner.bits += m.bits
				return inner, true
			}
		}
	}
	return btfMember{}, false
}

// intoInteger places a bit field in the aligned integer of its type.
func (f *Field) intoInteger(size uint64) {
	if size != 1 && size != 2 && size != 4 && size != 8 {
		size = 8
	}
	bit := f.Offset*8 + uint64(f.BitOffset)
	f.Offset = bit / 8 / size * size
	f.BitOffset = uint8(bit - f.Offset*8)
	f.Size = size
}

// Size returns the size in bytes of a structure, union or typedef.
func (b *BTF) Size(name string) (uint64, error) {
	id, ok := b.find(name, btfStruct, btfUnion)
	if !ok {
		id, ok = b.find(name, btfTypedef, btfInt)
	}
	if ok {
		if n, ok := b.sizeOf(id); ok {
			return n, nil
		}
	}
	return 0, &MissingError{What: "struct " + name + " in its type data", Why: b.stopped}
}

// Enum returns the value of an enumerator, such as PG_dirty of pageflags.
func (b *BTF) Enum(enum, name string) (int64, error) {
	id, ok := b.find(enum, btfEnum, btfEnum64)
	if !ok {
		return 0, &MissingError{What: "enum " + enum + " in its type data", Why: b.stopped}
	}
	t, _ := b.typ(id)
	size := 8
	if t.kind == btfEnum64 {
		size = 12
	}
	for d := t.detail; len(d) >= size; d = d[size:] {
		if string(b.str(binary.LittleEndian.Uint32(d))) != name {
			continue
		}
		low := binary.LittleEndian.Uint32(d[4:])
		switch {
		case size == 12:
			return int64(uint64(low) | uint64(binary.LittleEndian.Uint32(d[8:]))<<32), nil
		case t.flag: // signed
			return int64(int32(low)), nil
		}
		return int64(low), nil
	}
	return 0, &MissingError{What: name + " of enum " + enum + " in its type data"}
}
