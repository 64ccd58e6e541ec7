package layouttest

import "encoding/binary"

// BTF composes type data.
type BTF struct {
	types, strings []byte
	next           uint32
	strBase        uint32
}

// Member is a member of a structure.
type Member struct {
	Name string
	Type uint32
	Bits uint32 // offset in bits
	Bit  uint32 // width of a bit field, or 0
}

// Value is an enumerator.
type Value struct {
	Name  string
	Value int64
}

// NewBTF begins type data of a kernel.
func NewBTF() *BTF { return &BTF{next: 1, strings: []byte{0}} }

// Split begins type data of a module on top of b.
func (b *BTF) Split() *BTF {
	return &BTF{next: b.next, strBase: b.strBase + uint32(len(b.strings))}
}

func (b *BTF) str(s string) uint32 {
	if s == "" {
		return 0
	}
	off := b.strBase + uint32(len(b.strings))
	b.strings = append(append(b.strings, s...), 0)
	return off
}

func (b *BTF) add(name string, kind, vlen uint32, flag bool, size uint32, detail ...uint32) uint32 {
	info := kind<<24 | vlen
	if flag {
		info |= 1 << 31
	}
	for _, v := range append([]uint32{b.str(name), info, size}, detail...) {
		b.types = binary.LittleEndian.AppendUint32(b.types, v)
	}
	b.next++
	return b.next - 1
}

// Int adds an integer type of size bytes.
func (b *BTF) Int(name string, size uint32) uint32 {
	return b.add(name, 1, 0, false, size, size*8)
}

// Ptr adds a pointer.
func (b *BTF) Ptr(to uint32) uint32 { return b.add("", 2, 0, false, to) }

// Array adds an array.
func (b *BTF) Array(elem, n uint32) uint32 { return b.add("", 3, 0, false, 0, elem, 1, n) }

// Typedef adds a typedef.
func (b *BTF) Typedef(name string, to uint32) uint32 { return b.add(name, 8, 0, false, to) }

// Const adds a const qualifier.
func (b *BTF) Const(to uint32) uint32 { return b.add("", 10, 0, false, to) }

// Struct adds a structure.
func (b *BTF) Struct(name string, size uint32, members ...Member) uint32 {
	return b.compound(4, name, size, members)
}

// Union adds a union.
func (b *BTF) Union(name string, size uint32, members ...Member) uint32 {
	return b.compound(5, name, size, members)
}

func (b *BTF) compound(kind uint32, name string, size uint32, members []Member) uint32 {
	var detail []uint32
	flag := false
	for _, m := range members {
		flag = flag || m.Bit != 0
	}
	for _, m := range members {
		off := m.Bits
		if flag {
			off |= m.Bit << 24
		}
		detail = append(detail, b.str(m.Name), m.Type, off)
	}
	return b.add(name, kind, uint32(len(members)), flag, size, detail...)
}

// Enum adds an enumeration.
func (b *BTF) Enum(name string, values ...Value) uint32 {
	var detail []uint32
	for _, v := range values {
		detail = append(detail, b.str(v.Name), uint32(v.Value))
	}
	return b.add(name, 6, uint32(len(values)), true, 4, detail...)
}

// Enum64 adds an enumeration of 64 bits.
func (b *BTF) Enum64(name string, values ...Value) uint32 {
	var detail []uint32
	for _, v := range values {
		detail = append(detail, b.str(v.Name), uint32(v.Value), uint32(uint64(v.Value)>>32))
	}
	return b.add(name, 19, uint32(len(values)), true, 8, detail...)
}

// Raw adds a type of any kind.
func (b *BTF) Raw(name string, kind, vlen, size uint32, detail ...uint32) uint32 {
	return b.add(name, kind, vlen, false, size, detail...)
}

// Bytes returns the type data.
func (b *BTF) Bytes() []byte {
	le := binary.LittleEndian
	out := le.AppendUint16(nil, 0xeb9f)
	out = append(out, 1, 0)
	for _, v := range []uint32{24, 0, uint32(len(b.types)), uint32(len(b.types)), uint32(len(b.strings))} {
		out = le.AppendUint32(out, v)
	}
	return append(append(out, b.types...), b.strings...)
}
