package goroutine

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"

	"procdump/snapshot"
)

// Kinds of Go's types (internal/abi/type.go).
const (
	kindBool    = 1
	kindInt     = 2
	kindInt64   = 6
	kindUint    = 7
	kindUintptr = 12
	kindFloat32 = 13
	kindFloat64 = 14
	kindPointer = 22
	kindString  = 24
	kindMask    = 31
	extraStar   = 2 // flag of a type: its name has a "*" before it that is not part of it
)

const maxText = 4096 // bytes of a panic's text

// panicText says what a goroutine panics with: the innermost struct _panic has
// it, after a pointer until Go 1.25, as {type, data}. Before it ends the program
// Go has turned errors into their texts.
func (f *finder) panicText(at uint64) string {
	if at == 0 {
		return ""
	}
	for _, off := range []uint64{0, 1} {
		arg := at + off*uint64(f.word)
		if typ := f.pointer(arg); f.module.Types.Contains(typ) {
			return f.value(typ, f.pointer(arg+uint64(f.word)))
		}
	}
	return ""
}

// value writes a value as Go does when it panics with it.
func (f *finder) value(typ, data uint64) string {
	// struct Type: size, ptrdata, hash u32, flags u8, align u8, field align u8,
	// kind u8, equal, gcdata, name i32.
	w := f.word
	b := make([]byte, 4*w+12)
	if n, _ := f.set.ReadMemory(b, typ); n < len(b) {
		return ""
	}
	kind, flags := b[2*w+7]&kindMask, b[2*w+4]
	name := f.typeName(f.u32(b, 4*w+8), flags&extraStar != 0)
	size := min(f.at(b, 0), 16)
	v := make([]byte, 16)
	if kind != kindPointer {
		if n, _ := f.set.ReadMemory(v[:size], data); n < int(size) {
			return name
		}
	}
	n := binary.LittleEndian.Uint64(v)
	shown := ""
	switch {
	case kind == kindString:
		shown = f.text0(f.at(v, 0), int(min(f.at(v, 1), maxText)))
		if name == "string" || strings.HasPrefix(name, "runtime.") {
			return strings.ToValidUTF8(shown, "?")
		}
		shown = strconv.Quote(shown)
	case kind == kindBool:
		shown = strconv.FormatBool(n&1 != 0)
	case kind >= kindInt && kind <= kindInt64:
		shift := 64 - 8*size
		shown = strconv.FormatInt(int64(n<<shift)>>shift, 10)
	case kind >= kindUint && kind <= kindUintptr:
		shown = strconv.FormatUint(n, 10)
	case kind == kindFloat32:
		shown = strconv.FormatFloat(float64(math.Float32frombits(uint32(n))), 'g', -1, 32)
	case kind == kindFloat64:
		shown = strconv.FormatFloat(math.Float64frombits(n), 'g', -1, 64)
	case name == "*errors.errorString": // struct { text string }
		s := make([]byte, 16)
		if k, _ := f.set.ReadMemory(s[:2*w], data); k == 2*w {
			return strings.ToValidUTF8(f.text0(f.at(s, 0), int(min(f.at(s, 1), maxText))), "?")
		}
		fallthrough
	default:
		return fmt.Sprintf("(%s) %#x", name, data)
	}
	return name + "(" + shown + ")"
}

// typeName reads a name: flags u8, its length in seven bits a byte, its bytes.
func (f *finder) typeName(off uint32, star bool) string {
	// Names of types are never written to, but may lie among variables.
	b := f.im.Variables(snapshot.Range{Addr: f.module.Types.Addr + uint64(off), Size: 300})
	n, k := binary.Uvarint(b[1:])
	if k <= 0 || n > uint64(len(b)-1-k) {
		return "?"
	}
	name := string(b[1+k : 1+k+int(n)])
	if star {
		name = strings.TrimPrefix(name, "*")
	}
	return strings.ToValidUTF8(name, "?")
}
