package unwind

import (
	"bytes"
	"encoding/binary"
)

// reader reads numbers from bytes. What lies beyond their end is 0, and bad.
type reader struct {
	b    []byte
	at   uint64 // address of b
	word int    // bytes of an address
	data uint64 // what addresses relative to data relate to
	bad  bool
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.bad = true
		r.b = nil
		return make([]byte, max(n, 0)&0xff)
	}
	b := r.b[:n]
	r.b, r.at = r.b[n:], r.at+uint64(n)
	return b
}

// bytes takes n bytes, nil if there are not so many.
func (r *reader) bytes(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	return r.take(int(n))
}

func (r *reader) u8() byte    { return r.take(1)[0] }
func (r *reader) u16() uint64 { return uint64(binary.LittleEndian.Uint16(r.take(2))) }
func (r *reader) u32() uint64 { return uint64(binary.LittleEndian.Uint32(r.take(4))) }
func (r *reader) u64() uint64 { return binary.LittleEndian.Uint64(r.take(8)) }

// address reads one of the machine's size.
func (r *reader) address() uint64 {
	if r.word == 4 {
		return r.u32()
	}
	return r.u64()
}

func (r *reader) text() string {
	i := bytes.IndexByte(r.b, 0)
	if i < 0 {
		r.bad, r.b = true, nil
		return ""
	}
	return string(r.take(i + 1)[:i])
}

// uleb reads a number of seven bits a byte, the lowest first.
func (r *reader) uleb() uint64 {
	var v uint64
	for shift := 0; ; shift += 7 {
		b := r.u8()
		if shift < 64 {
			v |= uint64(b&0x7f) << shift
		}
		if b&0x80 == 0 || r.bad {
			return v
		}
	}
}

// sleb reads one with a sign.
func (r *reader) sleb() int64 {
	var v int64
	for shift := 0; ; shift += 7 {
		b := r.u8()
		if shift < 64 {
			v |= int64(b&0x7f) << shift
		}
		if b&0x80 == 0 || r.bad {
			if shift < 57 && b&0x40 != 0 {
				v |= -1 << (shift + 7)
			}
			return v
		}
	}
}

// Encodings of addresses (Linux Standard Base, Core, 10.5.1).
const (
	peOmit     = 0xff
	peForm     = 0x0f
	peRelation = 0x70
	peIndirect = 0x80
)

// pointer reads an address of that encoding; indirect tells that it is where
// the address lies.
func (r *reader) pointer(encoding byte) (v uint64, indirect bool) {
	if encoding == peOmit {
		return 0, false
	}
	at := r.at
	switch encoding & peForm {
	case 0:
		v = r.address()
	case 1:
		v = r.uleb()
	case 2:
		v = r.u16()
	case 3:
		v = r.u32()
	case 4, 12:
		v = r.u64()
	case 9:
		v = uint64(r.sleb())
	case 10:
		v = uint64(int16(r.u16()))
	case 11:
		v = uint64(int32(r.u32()))
	default:
		r.bad = true
	}
	switch encoding & peRelation {
	case 0:
	case 0x10:
		v += at
	case 0x30:
		v += r.data
	default:
		r.bad = true
	}
	return v, encoding&peIndirect != 0
}
