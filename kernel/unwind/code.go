package unwind

import (
	"fmt"

	"procdump/kernel/layout"
)

// Location is a place in code.
type Location struct {
	Symbol string // function; "" if unknown
	Offset uint64 // bytes from its beginning
	Module string // "" for the kernel itself
}

// String is the place as the kernel prints it: "vfs_read+0x9c" or
// "msr_read+0x5 [msr]".
func (l Location) String() string {
	s := l.Symbol
	if s != "" {
		s = fmt.Sprintf("%s+%#x", s, l.Offset)
	}
	if l.Module != "" {
		if s != "" {
			s += " "
		}
		s += "[" + l.Module + "]"
	}
	return s
}

// code knows where code is, and its names.
type code struct {
	k          *layout.Kernel
	symbols    *layout.Symbols
	err        error // why there are no symbols
	ranges     [][2]uint64
	modules    []layout.Module
	modulesErr error
	tables     map[string]*layout.Symbols
	known      map[uint64]Location
}

// usualText is how long the code of a kernel is, in bytes, where that is not
// told: about what distributions' have.
const usualText = 20 << 20

func newCode(k *layout.Kernel) *code {
	c := &code{k: k, tables: make(map[string]*layout.Symbols), known: make(map[uint64]Location)}
	c.symbols, c.err = k.Symbols()
	for _, names := range [][2]string{{"_stext", "_etext"}, {"_sinittext", "_einittext"}} {
		from, err := k.Symbol(names[0])
		to, err2 := k.Symbol(names[1])
		if err == nil && err2 == nil && from < to {
			c.ranges = append(c.ranges, [2]uint64{from, to})
		}
	}
	if a, ok := k.Info.Symbol("_stext"); ok && len(c.ranges) == 0 {
		c.ranges = [][2]uint64{{a, a + usualText}}
	}
	c.modules, c.modulesErr = k.Modules()
	return c
}

// unknown tells that it cannot be told what is code.
func (c *code) unknown() bool { return len(c.ranges) == 0 }

// kernel tells whether an address lies in the code of the kernel's image.
func (c *code) kernel(addr uint64) bool {
	for _, r := range c.ranges {
		if addr >= r[0] && addr <= r[1] { // a return address may lie behind the last call
			return true
		}
	}
	return false
}

// module returns the module that an address lies in.
func (c *code) module(addr uint64) (layout.Module, bool) {
	for _, m := range c.modules {
		if m.Contains(addr) {
			return m, true
		}
	}
	return layout.Module{}, false
}

// contains tells whether an address is one of code, as far as is known.
func (c *code) contains(addr uint64) bool {
	if c.kernel(addr) {
		return true
	}
	m, ok := c.module(addr)
	if !ok {
		return false
	}
	if len(m.Areas) > 1 { // the first holds the code
		return addr-m.Areas[0].Addr < m.Areas[0].Size
	}
	return true
}

// at names the code of a frame. The return address of a function's last
// instruction, a call that does not return, belongs to the next function.
func (c *code) at(pc uint64, exact bool) Location {
	if exact || pc == 0 {
		return c.locate(pc)
	}
	l := c.locate(pc - 1)
	l.Offset++
	return l
}

// maxKnown bounds the names that are remembered.
const maxKnown = 1 << 16

func (c *code) locate(addr uint64) Location {
	if l, ok := c.known[addr]; ok {
		return l
	}
	l := c.search(addr)
	if len(c.known) < maxKnown {
		c.known[addr] = l
	}
	return l
}

func (c *code) search(addr uint64) Location {
	m, inModule := c.module(addr)
	symbols := c.symbols
	var l Location
	switch {
	case inModule:
		l.Module = m.Name
		symbols = c.table(m)
	case !c.kernel(addr):
		return l
	}
	if symbols == nil {
		return l
	}
	if s, off, ok := symbols.Find(addr); ok && off < 1<<20 {
		l.Symbol, l.Offset = s.Name, off
	}
	return l
}

// table is the symbol table of a module, nil if it cannot be read.
func (c *code) table(m layout.Module) *layout.Symbols {
	s, ok := c.tables[m.Name]
	if !ok {
		var err error
		if s, err = c.k.ModuleSymbols(m); err != nil {
			s = nil
		}
		c.tables[m.Name] = s
	}
	return s
}
