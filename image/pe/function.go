package pe

import (
	"encoding/binary"
	"sort"
)

// Function is an entry of the table of functions of an amd64 or arm64 image
// (RUNTIME_FUNCTION): the code [Begin, End) and, in Info, where its UNWIND_INFO
// lies; of arm64 see UndoARM64. A function may have several.
type Function struct{ Begin, End, Info uint32 }

const (
	functionSize      = 12
	functionSizeARM64 = 8 // Begin and Info
	indirect          = 1 // Info leads to another entry
	maxChain          = 32
)

// Flags of an UNWIND_INFO.
const flagChained = 4 // UNW_FLAG_CHAININFO

// HasFunctions tells whether the image has a table of functions.
func (x *Image) HasFunctions() bool {
	size := x.functionSize()
	return size != 0 && x.dirs[exceptionDirectory].size >= size
}

// functionSize is the size of an entry, 0 if the machine has no table.
func (x *Image) functionSize() uint32 {
	switch x.Machine {
	case MachineAMD64:
		return functionSize
	case MachineARM64:
		return functionSizeARM64
	}
	return 0
}

// Function returns the entry that has a place of code. none tells that the table
// has no such entry: a function without one keeps nothing on the stack. If neither
// is so, the table cannot be read.
func (x *Image) Function(rva uint32) (f Function, ok, none bool) {
	f, ok, good := x.before(rva)
	if !good {
		return Function{}, false, false
	}
	if !ok || rva >= f.End {
		return Function{}, false, true
	}
	for range maxChain {
		if f.Info&indirect == 0 || x.Machine == MachineARM64 {
			return f, true, false
		}
		if f, good = x.entry(f.Info &^ indirect); !good {
			break
		}
	}
	return Function{}, false, false
}

// before returns the last entry that begins at or before a place.
func (x *Image) before(rva uint32) (f Function, ok, good bool) {
	if !x.HasFunctions() {
		return Function{}, false, false
	}
	d, size := x.dirs[exceptionDirectory], x.functionSize()
	good = true
	at := func(i int) Function {
		f, ok := x.entry(d.rva + uint32(i)*size)
		good = good && ok
		return f
	}
	i := sort.Search(int(d.size/size), func(i int) bool {
		if !good {
			return true
		}
		f := at(i)
		return f.Begin > rva || f.Begin == 0 // linkers may leave free places at the end
	})
	if i == 0 || !good {
		return Function{}, false, good
	}
	f = at(i - 1)
	if x.Machine == MachineARM64 {
		length, ok := x.lengthARM64(f)
		f.End, good = f.Begin+length, good && ok
	}
	return f, good, good
}

// entry reads an entry; one of arm64 is without its end.
func (x *Image) entry(rva uint32) (Function, bool) {
	var b [functionSize]byte
	if !x.full(b[:x.functionSize()], rva) {
		return Function{}, false
	}
	le := binary.LittleEndian
	if x.Machine == MachineARM64 {
		return Function{Begin: le.Uint32(b[:]), Info: le.Uint32(b[4:])}, true
	}
	return Function{le.Uint32(b[:]), le.Uint32(b[4:]), le.Uint32(b[8:])}, true
}

// UnwindInfo is an UNWIND_INFO
// (https://learn.microsoft.com/cpp/build/exception-handling-x64):
//
//	byte 0     version (3 bits), flags (5 bits)
//	byte 1     bytes of the prolog
//	byte 2     n, the number of slots of codes
//	byte 3     frame register (4 bits), its offset / 16 (4 bits)
//	byte 4     n slots of 2 bytes, and one more if n is odd
//	           the entry of the function that goes on, if there is a chain
type UnwindInfo struct {
	Version     byte
	Prolog      uint32 // bytes
	FrameReg    byte   // 0: none
	FrameOffset uint64 // bytes
	Codes       []byte // 2 bytes a slot
	Chained     bool   // what Next says comes after this
	Next        Function
}

// UnwindInfo reads what tells how to leave a function of an amd64 image.
func (x *Image) UnwindInfo(f Function) (*UnwindInfo, bool) {
	var head [4]byte
	if x.Machine != MachineAMD64 || !x.full(head[:], f.Info) {
		return nil, false
	}
	u := &UnwindInfo{
		Version: head[0] & 7, Prolog: uint32(head[1]), FrameReg: head[3] & 15, FrameOffset: uint64(head[3]>>4) * 16,
		Codes: make([]byte, 2*int(head[2])), Chained: head[0]>>3&flagChained != 0,
	}
	if !x.full(u.Codes, f.Info+4) {
		return nil, false
	}
	if u.Chained {
		var ok bool
		slots := (uint32(head[2]) + 1) &^ 1
		if u.Next, ok = x.entry(f.Info + 4 + 2*slots); !ok {
			return nil, false
		}
	}
	return u, true
}

// Primary returns the entry that a function begins with, of one of its entries.
// Those of arm64 do not tell it: each counts as a function.
func (x *Image) Primary(f Function) (Function, bool) {
	if x.Machine == MachineARM64 {
		return f, true
	}
	for range maxChain {
		u, ok := x.UnwindInfo(f)
		if !ok {
			return Function{}, false
		}
		if !u.Chained {
			return f, true
		}
		f = u.Next
	}
	return Function{}, false
}

// Start returns the place that the function begins at that has a place of code.
// Of code without an entry in the table that is not known, but it is behind the
// entry before it: first is the first place that it may begin at.
func (x *Image) Start(rva uint32) (start, first uint32, known bool) {
	f, ok, none := x.Function(rva)
	if ok {
		if f, ok = x.Primary(f); ok {
			return f.Begin, f.Begin, true
		}
	}
	if none {
		if f, ok, _ := x.before(rva); ok {
			return 0, f.End, false
		}
	}
	return 0, 0, false
}
