package pe

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
)

const (
	armTable  = 0x100 // where the entry of the tests is
	armRecord = 0x200
	armBegin  = 0x1000 // of the function
)

// armImage is one with one function.
func armImage(info uint32, record ...uint32) *Image {
	le := binary.LittleEndian
	b := make([]byte, 0x2000)
	le.PutUint32(b[armTable:], armBegin)
	le.PutUint32(b[armTable+4:], info)
	for i, w := range record {
		le.PutUint32(b[armRecord+4*i:], w)
	}
	x := &Image{Machine: MachineARM64, Size: uint32(len(b)), read: inMemory(b)}
	x.dirs[exceptionDirectory] = span{armTable, functionSizeARM64}
	return x
}

// armCodes is an image whose function has a record with these codes, and epilogs
// that begin at an instruction and with a code.
func armCodes(length uint32, codes []byte, epilogs ...[2]uint32) *Image {
	for len(codes)%4 != 0 {
		codes = append(codes, nop)
	}
	record := []uint32{length | uint32(len(epilogs))<<22 | uint32(len(codes)/4)<<27}
	for _, e := range epilogs {
		record = append(record, e[0]|e[1]<<22)
	}
	for ; len(codes) > 0; codes = codes[4:] {
		record = append(record, binary.LittleEndian.Uint32(codes))
	}
	return armImage(armRecord, record...)
}

// undone says what undoes the function before an instruction, "damaged" if that is
// not to be had.
func undone(x *Image, at uint32) string {
	f, ok, _ := x.Function(armBegin + 4*at)
	if !ok {
		return "damaged"
	}
	all, ok := x.UndoARM64(f, armBegin+4*at)
	if !ok {
		return "damaged"
	}
	var out []string
	for _, u := range all {
		switch s := fmt.Sprintf("+%d", u.Size); {
		case u.Kind == UndoFP:
			out = append(out, fmt.Sprintf("fp-%d", u.Offset))
		case u.Kind != UndoLoad:
			out = append(out, fmt.Sprintf("kind %d", u.Kind))
		case u.Count > 0:
			out = append(out, fmt.Sprintf("x%d*%d@%d%s", u.Reg, u.Count, u.Offset, s))
		case u.Size > 0:
			out = append(out, s)
		}
	}
	return strings.Join(out, " ")
}

// TestUndoARM64 has the examples of Microsoft's "ARM64 exception handling", and
// codes that are in none of them.
func TestUndoARM64(t *testing.T) {
	const region = "fp-0 x19*2@240+0 x29*2@0+256"
	parent := []byte{0xe1, 0xc8, 0x1e, 0x9f, 0xe4}
	first := armImage(0x416101ed)
	second := armImage(armRecord, 0x1040003d, 0x1000038&0x3ffff|0<<22, 0xe42291e1, 0xe42291e1)
	third := armImage(armRecord, 0x18400012, 15|4<<22, 0xe3e3e3e3, 0xe40500d6, 0xe40500d6)
	mid := armCodes(40, append([]byte{0xe5}, parent...), [2]uint32{30, 1})
	shrunk := armCodes(40, append([]byte{0xc8, 0x9c, 0xe5}, parent...), [2]uint32{10, 0})
	atEnd := armImage(armRecord, 40|1<<21|1<<22|2<<27, 0x1ec8e1e5, 0xe4e4e49f)
	extended := armImage(armRecord, 40, 1|1<<16, 20|0<<22, 0xe4e4e4<<8|0x03)
	for _, c := range []struct {
		name string
		x    *Image
		at   uint32
		want string
	}{
		{"packed", first, 0, ""},
		{"packed", first, 1, "x19*1@0+16"},
		{"packed", first, 2, "+2064 x19*1@0+16"},
		{"packed", first, 3, "x29*2@0+0 +2064 x19*1@0+16"},
		{"packed", first, 4, "fp-0 x29*2@0+0 +2064 x19*1@0+16"},
		{"packed", first, 118, "fp-0 x29*2@0+0 +2064 x19*1@0+16"},
		{"packed", first, 119, "x29*2@0+0 +2064 x19*1@0+16"},
		{"packed", first, 120, "+2064 x19*1@0+16"},
		{"packed", first, 121, "x19*1@0+16"},
		{"packed", first, 122, ""},
		{"packed, behind", first, 123, "damaged"},
		{"mirrored", second, 0, ""},
		{"mirrored", second, 1, "x19*2@0+16"},
		{"mirrored", second, 2, "x29*2@0+144 x19*2@0+16"},
		{"mirrored", second, 3, "fp-0 x29*2@0+144 x19*2@0+16"},
		{"mirrored", second, 56, "fp-0 x29*2@0+144 x19*2@0+16"},
		{"mirrored", second, 57, "x29*2@0+144 x19*2@0+16"},
		{"mirrored", second, 58, "x19*2@0+16"},
		{"mirrored", second, 59, ""},
		{"mirrored", second, 60, "fp-0 x29*2@0+144 x19*2@0+16"},
		{"variadic", third, 0, ""},
		{"variadic", third, 1, "+80"},
		{"variadic", third, 2, "x19*1@0+0 x30*1@8+0 +80"},
		{"variadic", third, 6, "x19*1@0+0 x30*1@8+0 +80"},
		{"variadic", third, 15, "x19*1@0+0 x30*1@8+0 +80"},
		{"variadic", third, 16, "+80"},
		{"variadic", third, 17, ""},
		{"a part with an epilog", mid, 0, region},
		{"a part with an epilog", mid, 29, region},
		{"a part with an epilog", mid, 31, "x19*2@240+0 x29*2@0+256"},
		{"a part with an epilog", mid, 33, ""},
		{"a part with an epilog", mid, 34, region},
		{"a part that saves more", shrunk, 0, region},
		{"a part that saves more", shrunk, 1, "x21*2@224+0 " + region},
		{"a part that saves more", shrunk, 10, "x21*2@224+0 " + region},
		{"a part that saves more", shrunk, 11, region},
		{"an epilog at the end", atEnd, 0, region},
		{"an epilog at the end", atEnd, 36, region},
		{"an epilog at the end", atEnd, 37, "x19*2@240+0 x29*2@0+256"},
		{"an epilog at the end", atEnd, 39, ""},
		{"two words of numbers", extended, 0, ""},
		{"two words of numbers", extended, 10, "+48"},
		{"two words of numbers", extended, 21, ""},
		{"packed part", armImage(packedFragment | 20<<2 | 2<<16 | 3<<21 | 3<<23), 0, "fp-0 x29*2@0+32 x19*2@0+16"},
		{"packed part", armImage(packedFragment | 20<<2 | 2<<16 | 3<<21 | 3<<23), 19, "fp-0 x29*2@0+32 x19*2@0+16"},
		{"allocate much", armCodes(20, []byte{0xe0, 1, 2, 3, 0xe4}), 10, "+1056816"},
		{"next pairs", armCodes(20, []byte{0xe6, 0xe6, 0x26, 0xe4}), 10, "x23*2@32+0 x21*2@16+0 x19*2@0+48"},
		{"next pairs of d8 on", armCodes(20, []byte{0xe6, 0xe6, 0xca, 0x02, 0xe4}), 10, "x27*2@16+0"},
		{"next pair of d8", armCodes(20, []byte{0xe6, 0xda, 0x03, 0xe4}), 10, "+32"},
		{"unwound to code", armCodes(20, []byte{0xec, 0xe4}), 10, "kind 7"},
		{"frames and contexts", armCodes(20, []byte{0xe8, 0xe9, 0xea, 0xeb, 0xe4}), 0, "kind 3 kind 4 kind 5 kind 6"},
		{"signed", armCodes(20, []byte{0xfc, 0xe4}), 1, "kind 2"},
		{"codes of the future", armCodes(20, []byte{0xf8, 1, 0xf9, 1, 2, 0xfa, 1, 2, 3, 0xfb, 1, 2, 3, 4, 0xfd, 0x01, 0xe4}), 10, "+16"},
		{"vectors of SVE", armCodes(20, []byte{0xdf, 1, 0xe4}), 10, "damaged"},
		{"vectors of SVE, before", armCodes(20, []byte{0xdf, 1, 0x01, 0xe4}), 1, "+16"},
		{"registers of SVE", armCodes(20, []byte{0xe7, 0, 0xc0, 0xe4}), 10, "damaged"},
		{"reserved", armCodes(20, []byte{0xe7, 0x80, 0, 0xe4}), 10, "damaged"},
		{"reserved", armCodes(20, []byte{0xed, 0xe4}), 10, "damaged"},
		{"reserved", armCodes(20, []byte{0xf0, 0xe4}), 10, "damaged"},
		{"no end", armCodes(20, []byte{1, 2, 3, 4}), 10, "damaged"},
		{"cut", armCodes(20, []byte{1, 2, 3, 0xe0}), 10, "damaged"},
		{"no codes", armImage(armRecord, 20), 10, "damaged"},
		{"nothing next", armCodes(20, []byte{0xe6, 0x01, 0xe4}), 10, "damaged"},
		{"nothing next", armCodes(20, []byte{0xe6, 0xe4}), 10, "damaged"},
		{"nothing next", armCodes(20, []byte{0xe6, 0xe5, 0x26, 0xe4}), 10, "damaged"},
		{"next pair of two kinds", armCodes(20, []byte{0xe6, 0xc9, 0xc2, 0xe4}), 10, "damaged"},
		{"no such register", armCodes(20, []byte{0xca, 0xc0, 0xe4}), 10, "damaged"},
		{"no such epilog", armCodes(20, []byte{1, 0xe4}, [2]uint32{5, 9}), 10, "damaged"},
		{"epilog without end", armCodes(20, []byte{1, 0xe4, 1, 1}, [2]uint32{5, 2}), 10, "damaged"},
		{"epilog longer than all", armImage(armRecord, 3|1<<21|1<<22|2<<27, 0x020201e4, 0xe4e4e402), 2, "damaged"},
		{"version 1", armImage(armRecord, 20|1<<18|1<<27, 0xe4), 10, "damaged"},
		{"reserved entry", armImage(3 | 20<<2), 0, "damaged"},
		{"record outside", armImage(0x8000), 0, "damaged"},
		{"more epilogs than there is", armImage(0x1ff0, 0), 0, "damaged"},
		{"11 registers", armImage(packedFunction | 20<<2 | 11<<16 | 20<<23), 10, "damaged"},
		{"no room for registers", armImage(packedFunction | 20<<2 | 4<<16 | 1<<23), 10, "damaged"},
		{"no room for x29", armImage(packedFunction | 20<<2 | 2<<16 | 3<<21 | 1<<23), 10, "damaged"},
	} {
		if got := undone(c.x, c.at); got != c.want {
			t.Errorf("%s, instruction %d: %s, not %s", c.name, c.at, got, c.want)
		}
	}
}

// TestFunctionsARM64 finds entries by what is in them and behind them.
func TestFunctionsARM64(t *testing.T) {
	x := armImage(0x416101ed)
	const want = armBegin + 123*4
	for _, at := range []uint32{armBegin, armBegin + 3, want - 1} {
		if f, ok, none := x.Function(at); !ok || none || f.Begin != armBegin || f.End != want {
			t.Errorf("at %#x: %x, %v, %v", at, f, ok, none)
		}
		if start, _, known := x.Start(at); !known || start != armBegin {
			t.Errorf("at %#x: the function begins at %#x, %v", at, start, known)
		}
	}
	for _, at := range []uint32{armBegin - 1, want} {
		if f, ok, none := x.Function(at); ok || !none {
			t.Errorf("at %#x: %x, %v, %v", at, f, ok, none)
		}
	}
	if _, first, known := x.Start(want + 8); known || first != want {
		t.Errorf("behind: %#x, %v", first, known)
	}
	f, _, _ := x.Function(armBegin)
	if _, ok := x.UnwindInfo(f); ok {
		t.Error("it has the unwind information of amd64")
	}
}
