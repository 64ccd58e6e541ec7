package pclntab

import (
	"encoding/binary"
)

// Call is a function at a place of its source.
type Call struct {
	Name string
	File string // "" if it is not known
	Line int    // 0 if it is not known
	// Inlined tells that the function's code was put into that of the next.
	Inlined bool
}

// Indices of a function's tables (internal/abi/symtab.go).
const (
	pcdataInlTreeIndex = 2
	funcdataInlTree    = 3
)

const maxInlined = 256 // functions within each other at one place

// SetFuncData tells where the functions' data lie, among them which functions
// were inlined where: read fills p from that offset of them. Without it there
// are no inlined functions.
func (t *Table) SetFuncData(read func(p []byte, off uint32) bool) { t.funcData = read }

// Calls returns what is at pc, the innermost inlined function first, the
// function that has a frame last.
func (f *Func) Calls(pc uint64) []Call {
	var all []Call
	tree, ok := f.inlined()
	for ok && len(all) < maxInlined {
		i, found := f.value(f.pcdata(pcdataInlTreeIndex), pc)
		if !found || i < 0 {
			break
		}
		// struct inlinedCall of runtime/symtabinl.go: id u8, 0, name i32, the pc
		// of the call relative to the entry i32, first line i32.
		var b [16]byte
		if !f.t.funcData(b[:], tree+16*uint32(i)) {
			break
		}
		c := Call{Name: f.t.text0(f.t.names + int64(int32(binary.LittleEndian.Uint32(b[4:])))), Inlined: true}
		c.File, c.Line = f.Line(pc)
		all = append(all, c)
		pc = f.Entry + uint64(binary.LittleEndian.Uint32(b[8:]))
	}
	c := Call{Name: f.Name}
	c.File, c.Line = f.Line(pc)
	return append(all, c)
}

// inlined is the offset of the function's tree of inlined functions.
func (f *Func) inlined() (uint32, bool) {
	if f.t.funcData == nil || f.t.id != 40 || f.nfuncdata <= funcdataInlTree { // before Go 1.20 the tree had another form
		return 0, false
	}
	b := f.t.read(f.at+44+4*int64(f.npcdata)+4*funcdataInlTree, 4)
	if len(b) < 4 {
		return 0, false
	}
	off := binary.LittleEndian.Uint32(b)
	return off, off != 0xffffffff
}

// pcdata is the offset of the function's table of that index, 0 if it has none.
func (f *Func) pcdata(i uint32) uint32 {
	if i >= f.npcdata {
		return 0
	}
	b := f.t.read(f.at+44+4*int64(i), 4)
	if len(b) < 4 {
		return 0
	}
	return binary.LittleEndian.Uint32(b)
}
