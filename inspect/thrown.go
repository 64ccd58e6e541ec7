package inspect

import (
	"encoding/binary"
	"slices"
	"strconv"
	"strings"

	"procdump/image"
	"procdump/symbols"
)

// Thrown is an exception of C++.
type Thrown struct {
	Type string `json:"type"` // "std::runtime_error"
	// Message is what its what() says, of those of the standard library and what
	// derives from them, or the value of a number or text that was thrown.
	Message string `json:"message,omitempty"`
}

func (t *Thrown) text() string {
	if t.Message == "" {
		return t.Type
	}
	return t.Type + ": " + t.Message
}

// words of a process's memory.
type words struct {
	set  *image.Set
	size int
}

// at reads a word; 0 if it is not there.
func (w words) at(addr uint64) uint64 {
	b := make([]byte, 8)
	if n, _ := w.set.ReadMemory(b[:w.size], addr); n < w.size {
		return 0
	}
	return binary.LittleEndian.Uint64(b)
}

// text reads a string that ends with a zero byte.
func (w words) text(addr uint64, most int) string {
	b := make([]byte, most)
	n, _ := w.set.ReadMemory(b, addr)
	s, _, _ := strings.Cut(string(b[:max(n, 0)]), "\x00")
	return strings.ToValidUTF8(s, "?")
}

// maxThrownStack is how much of the stack is looked at for the exception, in
// bytes.
const maxThrownStack = 64 << 10

// exceptionClass and libcxxClass begin the header of an exception of GCC's and
// of LLVM's library (C++ ABI: Exception Handling, 2.2.1): "GNUCC++\0",
// "CLNGC++\0" as a number.
var exceptionClass, libcxxClass uint64 = 0x474e5543432b2b00, 0x434c4e47432b2b00

// thrown finds the exception that ended the program, nil if the dump does not
// hold it. A pointer to it is on the stack of the functions that looked for a
// handler:
//
//	type_info*, destructor, …   struct __cxa_exception
//	_Unwind_Exception           which the pointer leads to
//	the object that was thrown
func (c *Collected) thrown(frames []Frame) *Thrown {
	low, high := uint64(frames[0].SP), uint64(0)
	for i := range frames {
		switch frames[i].Function {
		case "__cxa_throw", "__cxa_rethrow", "std::terminate", "__cxa_call_terminate":
			if i+1 < len(frames) {
				high = uint64(frames[i+1].SP)
			}
		}
	}
	w := words{c.set, c.p.Machine().PointerSize()}
	if low == 0 || high < low || w.size == 0 {
		return nil
	}
	low = max(low, high-min(high, maxThrownStack))
	back, object := uint64(80), uint64(32)
	if w.size == 4 {
		back = 48
	}
	// The nearest to who threw it is not one of an earlier exception.
	for at := high &^ uint64(w.size-1); at >= low && at >= uint64(w.size); at -= uint64(w.size) {
		p := w.at(at)
		if p&7 != 0 || p < lowest {
			continue
		}
		class := make([]byte, 8)
		n, _ := c.set.ReadMemory(class, p)
		if k := binary.LittleEndian.Uint64(class); n < 8 || k != exceptionClass && k != libcxxClass {
			continue
		}
		if t := w.object(w.at(p-back), p+object); t != nil {
			return t
		}
	}
	return nil
}

// object says what an object of that type is.
func (w words) object(info, addr uint64) *Thrown {
	name := w.typeName(info)
	if name == "" {
		return nil
	}
	t := &Thrown{Type: typeOf(name)}
	switch name {
	case "i", "l", "x":
		size := map[string]int{"i": 4, "l": w.size, "x": 8}[name]
		b := make([]byte, 8)
		if n, _ := w.set.ReadMemory(b[:size], addr); n == size {
			t.Message = decimal(b, size)
		}
	case "PKc", "Pc":
		t.Message = w.text(w.at(addr), maxMessage)
	case "NSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE":
		t.Message = w.text(w.at(addr), int(min(w.at(addr+uint64(w.size)), maxMessage)))
	default:
		if w.derives(info) {
			t.Message = w.text(w.at(addr+uint64(w.size)), maxMessage)
		}
	}
	return t
}

// decimal writes a number of so many bytes.
func decimal(b []byte, size int) string {
	v := int64(binary.LittleEndian.Uint64(b))
	if size == 4 {
		v = int64(int32(v))
	}
	return strconv.FormatInt(v, 10)
}

// typeName reads the name of a type from its type_info: {vtable, name}; "" if
// that is none.
func (w words) typeName(info uint64) string {
	const most = 1000
	name := strings.TrimPrefix(w.text(w.at(info+uint64(w.size)), most), "*") // which is compared by address
	for _, r := range name {
		if r <= ' ' || r > '~' {
			return ""
		}
	}
	return name
}

// typeOf is a type as the source has it.
func typeOf(name string) string {
	const what = "typeinfo name for "
	s, ok := strings.CutPrefix(symbols.Demangle("_ZTS"+name), what)
	if !ok {
		return name
	}
	return s
}

// derives tells whether a type is one of the standard library's that begin with
// {vtable, text}, or derives from one, by its first bases: __si_class_type_info
// has the base behind the name, __vmi_class_type_info {flags, count} and then
// {base, offset} for each.
func (w words) derives(info uint64) bool {
	const depth, countLimit = 16, 64
	for range depth {
		if slices.Contains([]string{"St13runtime_error", "St11logic_error"}, w.typeName(info)) {
			return true
		}
		behind := info + 2*uint64(w.size)
		next := w.at(behind)
		b := make([]byte, 8)
		w.set.ReadMemory(b, behind)
		if flags, count := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:]); flags < 4 && count > 0 && count < countLimit {
			next = w.at(behind + 8)
		}
		if next < lowest || w.typeName(next) == "" {
			return false
		}
		info = next
	}
	return false
}

// rustPanics are functions that begin a panic of Rust, and why.
var rustPanics = []struct{ part, what string }{
	{"panic_bounds_check", "an index is out of bounds"}, {"slice_index_fail", "a range is out of bounds"},
	{"slice_end_index_len_fail", "a range is out of bounds"}, {"slice_start_index_len_fail", "a range is out of bounds"},
	{"option::unwrap_failed", "unwrap of None"}, {"option::expect_failed", "expect of None"}, {"result::unwrap_failed", "unwrap of an Err"},
	{"panic_const_div_by_zero", "division by zero"}, {"panic_const_rem_by_zero", "division by zero"}, {"_overflow", "arithmetic overflow"},
	{"panic_already_borrowed", "a RefCell is borrowed already"}, {"panic_cannot_unwind", "a panic in a function that must not unwind"},
	{"assert_failed", "an assertion failed"},
}

// rustPanic says that a program of Rust has panicked, and why if the functions
// tell; "" if it has not.
func rustPanic(frames []Frame) string {
	panicked := false
	for i := range frames {
		name := frames[i].Function
		panicked = panicked || strings.HasPrefix(name, "std::panicking::") || strings.HasPrefix(name, "core::panicking::") || strings.HasSuffix(name, "rust_begin_unwind")
		if !panicked || !strings.HasPrefix(name, "core::") {
			continue
		}
		for _, p := range rustPanics {
			if strings.Contains(name, p.part) {
				return "a panic of Rust: " + p.what
			}
		}
	}
	if panicked {
		return "a panic of Rust"
	}
	return ""
}
