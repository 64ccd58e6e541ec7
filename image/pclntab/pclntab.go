// Package pclntab reads the function table that a Go program carries for its
// own runtime: which function holds a program counter, its file and line, and
// how far its stack pointer has moved there. Programs have it whether or not
// they were stripped.
//
// It knows the table of Go 1.18 and later (runtime/symtab.go, internal/abi's
// symtab.go; https://go.dev/s/go12symtab is its ancestor):
//
//	magic u32 │ 0 0 │ instruction quantum u8 │ pointer size u8 │ functions │ files │
//	text start (0 since Go 1.26) │ offsets of: names │ units │ files │ pc values │ functions
//
// all after the first eight bytes as wide as a pointer. The functions' part
// begins with {entry offset u32, function offset u32} for each function, in the
// order of their entries, and the end of the last. Addresses here are those in
// memory. Nothing is read before it is needed.
package pclntab

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The table's magic numbers (internal/abi/symtab.go).
const (
	go118PCLnTabMagic = 0xfffffff0
	go120PCLnTabMagic = 0xfffffff1
)

// Flags of a function.
const (
	TopFrame = 1 << iota // the first function of its stack
	SPWrite              // it sets the stack pointer to another stack
	Asm                  // it is written in assembly
)

// ErrFormat means that the table is none that this package knows.
var ErrFormat = errors.New("pclntab: unknown format")

const (
	maxFuncs  = 1 << 24
	maxName   = 4 << 10 // bytes
	maxValues = 1 << 16 // steps of a table of pc values
	cacheSize = 4 << 10 // functions that are remembered
)

// MaxSteps is how many steps of tables of pc values may be read for a process:
// lookups in sound tables take hundreds, in damaged ones as many as a table has.
const MaxSteps = 1 << 30

// Table is the function table of one program.
type Table struct {
	r    io.ReaderAt
	size int64
	word int
	id   int64  // offset in a function's facts of its id, which its flags follow
	text uint64 // address that entry offsets relate to
	min  uint64 // quantum of program counters
	n    int

	names, units, files, values, funcs int64 // offsets

	funcData func(p []byte, off uint32) bool // nil: it is not known where they lie

	entries chunk // what was read last of the functions' order
	cache   map[int]*Func
	left    *int // steps of tables of pc values
}

// chunk is a piece of the file.
type chunk struct {
	off int64
	b   []byte
}

// New reads the table's header from r, size bytes. text is asked for where
// Go's code begins in memory if the table does not say; bias is what a table
// that says it, in a position-independent program, does not know. What lookups cost
// is taken from left; when it is spent they find nothing.
func New(r io.ReaderAt, size int64, text func() uint64, bias uint64, left *int) (*Table, error) {
	head := make([]byte, 8+8*8)
	n, _ := r.ReadAt(head[:min(int64(len(head)), size)], 0)
	head = head[:max(n, 0)]
	if len(head) < 8 {
		return nil, ErrFormat
	}
	t := &Table{r: r, size: size, word: int(head[7]), min: uint64(head[6]), id: 36, cache: map[int]*Func{}, left: left}
	magic := binary.LittleEndian.Uint32(head)
	if magic == go120PCLnTabMagic { // it has the line of a function's beginning before
		t.id = 40
	}
	if magic != go118PCLnTabMagic && magic != go120PCLnTabMagic || head[4]|head[5] != 0 || t.min == 0 ||
		t.word != 4 && t.word != 8 || len(head) < 8+8*t.word {
		return nil, fmt.Errorf("%w: it begins with % x", ErrFormat, head[:8])
	}
	var v [8]uint64
	for i := range v {
		v[i] = t.uint(head[8+i*t.word:])
	}
	for _, off := range v[3:] {
		if off > uint64(size) {
			return nil, fmt.Errorf("%w: an offset of %#x in %#x bytes", ErrFormat, off, size)
		}
	}
	if v[0] > maxFuncs {
		return nil, fmt.Errorf("%w: %d functions", ErrFormat, v[0])
	}
	t.n = int(v[0])
	t.names, t.units, t.files, t.values, t.funcs = int64(v[3]), int64(v[4]), int64(v[5]), int64(v[6]), int64(v[7])
	if t.text = v[2] + bias; v[2] == 0 {
		t.text = text()
	}
	return t, nil
}

func (t *Table) uint(b []byte) uint64 {
	if t.word == 8 {
		return binary.LittleEndian.Uint64(b)
	}
	return uint64(binary.LittleEndian.Uint32(b))
}

// read returns up to n bytes at an offset.
func (t *Table) read(off int64, n int) []byte {
	if off < 0 || off >= t.size {
		return nil
	}
	b := make([]byte, min(int64(n), t.size-off))
	k, _ := t.r.ReadAt(b, off)
	return b[:max(k, 0)]
}

// entry returns entry i of the functions' order: where the function begins,
// relative to the text, and where its facts lie, relative to the functions.
func (t *Table) entry(i int) (pc, fn uint32, ok bool) {
	off := t.funcs + int64(i)*8
	in := off - t.entries.off
	if in < 0 || in+8 > int64(len(t.entries.b)) {
		const ahead = 512
		t.entries = chunk{off &^ (ahead - 1), t.read(off&^(ahead-1), ahead+8)}
		in = off - t.entries.off
	}
	b := t.entries.b
	if in+4 > int64(len(b)) {
		return 0, 0, false
	}
	pc = binary.LittleEndian.Uint32(b[in:])
	if in+8 <= int64(len(b)) {
		fn = binary.LittleEndian.Uint32(b[in+4:])
	}
	return pc, fn, true
}

// Find returns the function that holds the program counter, or nil.
func (t *Table) Find(pc uint64) *Func {
	off := pc - t.text
	if pc < t.text || off > 0xffffffff || t.n == 0 {
		return nil
	}
	lo, hi := 0, t.n // entries[lo] ≤ off < entries[hi]
	if first, _, ok := t.entry(0); !ok || uint64(first) > off {
		return nil
	}
	if end, _, ok := t.entry(t.n); !ok || uint64(end) <= off {
		return nil
	}
	for hi-lo > 1 {
		mid := int(uint(lo+hi) / 2)
		v, _, ok := t.entry(mid)
		if !ok {
			return nil
		}
		if uint64(v) <= off {
			lo = mid
		} else {
			hi = mid
		}
	}
	if f, ok := t.cache[lo]; ok {
		return f
	}
	f := t.function(lo)
	if len(t.cache) >= cacheSize {
		clear(t.cache)
	}
	t.cache[lo] = f
	return f
}

// function reads struct _func of runtime/runtime2.go: entry u32, name i32,
// args i32, deferreturn u32, pcsp u32, pcfile u32, pcln u32, npcdata u32,
// unit u32, since Go 1.20 first line i32, id u8, flags u8, 0, nfuncdata u8; then
// npcdata offsets of tables of pc values, and nfuncdata of other data.
func (t *Table) function(i int) *Func {
	entry, at, ok := t.entry(i)
	if !ok {
		return nil
	}
	end, _, _ := t.entry(i + 1)
	off := t.funcs + int64(at)
	b := t.read(off, int(t.id)+4)
	if len(b) < int(t.id)+4 {
		return nil
	}
	le := binary.LittleEndian
	f := &Func{Entry: t.text + uint64(entry), End: t.text + uint64(end), t: t,
		pcsp: le.Uint32(b[16:]), pcfile: le.Uint32(b[20:]), pcln: le.Uint32(b[24:]), unit: le.Uint32(b[32:])}
	f.at, f.npcdata = off, le.Uint32(b[28:])
	f.Flags, f.nfuncdata = b[t.id+1], b[t.id+3]
	f.Name = t.text0(t.names + int64(int32(le.Uint32(b[4:]))))
	return f
}

// text0 reads a string that ends with a zero byte.
func (t *Table) text0(off int64) string {
	b := t.read(off, maxName)
	i := bytes.IndexByte(b, 0)
	if i < 0 {
		return ""
	}
	return string(b[:i])
}
