// Package lzo1x decompresses LZO1X, the format of makedumpfile -l.
//
// The format has no public specification but the Linux kernel's description
// (Documentation/staging/lzo.rst), which this package follows. A stream is a
// row of instructions; each copies a match from what is decompressed already
// and then 0 to 3 literals, or a longer row of literals:
//
//	0000LLLL            literals (state 0): 3 + L, L=0: 18 + 255 per zero byte + byte
//	0000DDSS H          match (state 1..3): 2 bytes, distance (H<<2) + D + 1
//	0000DDSS H          match (state 4): 3 bytes, distance (H<<2) + D + 2049
//	0001HLLL DDDDDDDD DDDDDDSS  length 2 + L (L=0: 9 + …), distance 16384 + (H<<14) + D; 16384 ends
//	001LLLLL DDDDDDDD DDDDDDSS  length 2 + L (L=0: 33 + …), distance D + 1
//	01LDDDSS H          3 + L bytes, distance (H<<3) + D + 1
//	1LLDDDSS H          5 + L bytes, distance (H<<3) + D + 1
//
// S literals follow a match and are the state of the next instruction; after a
// row of literals the state is 4. Version 1 of the bit stream (lzo-rle) is not
// read: makedumpfile does not write it.
package lzo1x

import "errors"

// ErrCorrupt says that the input is no valid stream or gives more than the
// destination holds.
var ErrCorrupt = errors.New("lzo1x: corrupt input")

// decoder keeps the position in input and output.
type decoder struct {
	src, dst []byte
	in, out  int
}

// Decompress decompresses src into dst and returns the number of bytes that it
// wrote. It neither reads nor writes outside of its arguments.
func Decompress(dst, src []byte) (int, error) {
	d := decoder{src: src, dst: dst}
	state := 0
	if len(src) == 0 {
		return 0, ErrCorrupt
	}
	// The first byte may be a row of literals in a shorter form.
	if b := src[0]; b > 17 {
		d.in = 1
		n := int(b) - 17
		if !d.literals(n) {
			return d.out, ErrCorrupt
		}
		if state = n; n >= 4 {
			state = 4
		}
	}
	for {
		next, end, ok := d.instruction(state)
		if !ok {
			return d.out, ErrCorrupt
		}
		if end {
			if d.in != len(src) {
				return d.out, ErrCorrupt
			}
			return d.out, nil
		}
		state = next
	}
}

// instruction executes one instruction.
func (d *decoder) instruction(state int) (next int, end, ok bool) {
	b, ok := d.byte()
	if !ok {
		return 0, false, false
	}
	var length, distance, follow int
	switch {
	case b >= 64:
		h, ok := d.byte()
		if !ok {
			return 0, false, false
		}
		length = b>>5 + 1
		distance = h<<3 + b>>2&7 + 1
		follow = b & 3
	case b >= 16:
		long := b >= 32
		mask, base := 7, 16384
		if long {
			mask, base = 31, 1
		}
		length, ok = d.length(b&mask, mask)
		lo, ok2 := d.byte()
		hi, ok3 := d.byte()
		if !ok || !ok2 || !ok3 {
			return 0, false, false
		}
		length += 2
		distance = base + hi<<6 + lo>>2
		if !long {
			distance += b >> 3 & 1 << 14
			if distance == 16384 {
				return 0, true, length == 3
			}
		}
		follow = lo & 3
	case state == 0:
		n, ok := d.length(b, 15)
		return 4, false, ok && d.literals(n+3)
	default:
		h, ok := d.byte()
		if !ok {
			return 0, false, false
		}
		length, distance = 2, h<<2+b>>2+1
		if state == 4 {
			length, distance = 3, distance+2048
		}
		follow = b & 3
	}
	return follow, false, d.match(length, distance) && d.literals(follow)
}

func (d *decoder) byte() (int, bool) {
	if d.in >= len(d.src) {
		return 0, false
	}
	b := d.src[d.in]
	d.in++
	return int(b), true
}

// length reads the rest of a length whose field held v; a field of zero means
// its largest value plus 255 for each zero byte plus the byte behind those.
func (d *decoder) length(v, mask int) (int, bool) {
	if v != 0 {
		return v, true
	}
	v = mask
	for {
		b, ok := d.byte()
		if !ok || v > len(d.dst) {
			return 0, false
		}
		if b != 0 {
			return v + b, true
		}
		v += 255
	}
}

func (d *decoder) literals(n int) bool {
	if n > len(d.src)-d.in || n > len(d.dst)-d.out {
		return false
	}
	copy(d.dst[d.out:], d.src[d.in:d.in+n])
	d.in += n
	d.out += n
	return true
}

// match copies n bytes from distance bytes back; they may overlap what is
// written, which repeats the last distance bytes.
func (d *decoder) match(n, distance int) bool {
	if distance > d.out || n > len(d.dst)-d.out {
		return false
	}
	for end := d.out + n; d.out < end; {
		c := copy(d.dst[d.out:end], d.dst[d.out-distance:d.out])
		d.out += c
	}
	return true
}
