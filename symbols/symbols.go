// Package symbols names the code at an address of a snapshot: the function, in
// the words of its source, its file and line, and the functions that the
// compiler inlined there.
//
// It goes by the table of Go's runtime for code of Go, else by the debug
// information (DWARF) of the image's file or of the separate file that belongs
// to it, by Breakpad's symbol file, and by symbol tables: .symtab of either file,
// the mini debug information that distributions put into .gnu_debugdata, and
// .dynsym. Names of C++ and Rust are demangled. What is missing or damaged costs
// that source only.
//
// A Symbolizer is for one goroutine at a time.
package symbols

import (
	"errors"

	"procdump/image"
	"procdump/image/pclntab"
)

// Location is a function at a place of its source.
type Location struct {
	Function string // "" if it is not known
	// Linkage is the function's name as linkers have it; "" if it is the same.
	Linkage string
	// Offset is how far the address is from the beginning of the function; of
	// one that was inlined it is that of the function it was put into.
	Offset uint64
	File   string // "" if it is not known
	Line   int    // 0 if it is not known
	// Inlined tells that the compiler has put the function's code into that of
	// the Location that follows.
	Inlined bool
}

// Symbolizer names the code of one process.
type Symbolizer struct {
	set    *image.Set
	images map[*image.Image]*names
	// exports are those of Windows images.
	exports map[*image.Image]*exports
	cache   map[uint64][]Location
	warned  map[string]bool
	debug   uint64 // bytes of debug information that may still be read
	clock   clock  // and for how long
	table   int    // symbols that may still be read
	// Warnings lists debug information that could not be used, each once.
	Warnings []string
}

// maxCached bounds how many addresses are remembered.
const maxCached = 1 << 14

// New returns a symbolizer of the images.
func New(set *image.Set) *Symbolizer {
	return &Symbolizer{set: set, images: map[*image.Image]*names{}, exports: map[*image.Image]*exports{}, cache: map[uint64][]Location{},
		warned: map[string]bool{}, debug: maxAllDebug, clock: clock{left: maxDebugTime}, table: maxSymbols}
}

func (s *Symbolizer) warn(text string) {
	if !s.warned[text] && len(s.warned) < 50 {
		s.warned[text] = true
		s.Warnings = append(s.Warnings, text)
	}
}

// warnOf warns of what went wrong with an image, if something did.
func (s *Symbolizer) warnOf(im *image.Image, err error) {
	switch {
	case errors.Is(err, errLate):
		s.warn(err.Error())
	case err != nil:
		s.warn(im.Module.Path + ": " + err.Error())
	}
}

// Lookup returns what is at an address of code, the innermost inlined function
// first, the one that has a frame last; nil if nothing is known.
func (s *Symbolizer) Lookup(pc uint64) []Location {
	if l, ok := s.cache[pc]; ok {
		return l
	}
	if len(s.cache) >= maxCached {
		clear(s.cache)
	}
	l := s.lookup(pc)
	s.cache[pc] = l
	return l
}

// names are what is known of one image.
type names struct {
	index *index // nil: not read yet
	debug *debug // nil: there is none
	bias  uint64
}

// of returns what is known of an image, nil if it is not known where it lies.
func (s *Symbolizer) of(im *image.Image) *names {
	if n, ok := s.images[im]; ok {
		return n
	}
	var n *names
	if bias, ok := im.Bias(); ok {
		n = &names{bias: bias}
		var err error
		n.debug, err = newDebug(im, &s.debug, &s.clock)
		s.warnOf(im, err)
	}
	s.images[im] = n
	return n
}

func (s *Symbolizer) lookup(pc uint64) []Location {
	im := s.set.Find(pc)
	if im == nil {
		return nil
	}
	if f := s.set.GoFunc(pc); f != nil {
		return golang(f, pc)
	}
	n := s.of(im)
	if n == nil {
		if all := calls(im, pc); len(all) > 0 {
			return all
		}
		return s.exported(im, pc)
	}
	at := pc - n.bias
	var all []Location
	if n.debug != nil {
		s.warnOf(im, s.clock.run(func() (err error) {
			all, err = n.debug.lookup(at)
			return err
		}))
	}
	if len(all) == 0 {
		if all = calls(im, pc); len(all) > 0 {
			return all
		}
	}
	outer := s.symbol(n, im, at)
	if len(all) == 0 {
		if outer == (Location{}) {
			return nil
		}
		return []Location{outer}
	}
	last := &all[len(all)-1]
	// Functions of types that have no name elsewhere, such as lambdas, have only
	// the last word of their name in the debug information.
	if last.Function == "" || last.Linkage == "" && outer.Linkage != "" {
		last.Function, last.Linkage = outer.Function, outer.Linkage
	}
	if outer.Function != "" {
		for i := range all {
			all[i].Offset = outer.Offset
		}
	}
	return all
}

// golang is what Go's table says: what the program itself would print, and
// without reading its debug information.
func golang(f *pclntab.Func, pc uint64) []Location {
	var all []Location
	for _, c := range f.Calls(pc) {
		all = append(all, Location{Function: c.Name, Offset: pc - f.Entry, File: c.File, Line: c.Line, Inlined: c.Inlined})
	}
	return all
}

// calls is what Breakpad's symbol file says.
func calls(im *image.Image, pc uint64) []Location {
	f := im.Breakpad()
	if f == nil {
		return nil
	}
	at := pc - im.Module.Addr
	var all []Location
	for _, c := range f.Lookup(at) {
		name := Demangle(c.Name)
		l := Location{Function: withoutParameters(name), Offset: at - c.Entry, File: c.File, Line: c.Line, Inlined: c.Inlined}
		if name != c.Name {
			l.Linkage = c.Name
		}
		all = append(all, l)
	}
	return all
}

// symbol looks an address of the file up in its symbol tables.
func (s *Symbolizer) symbol(n *names, im *image.Image, at uint64) Location {
	if n.index == nil {
		n.index = newIndex(im, s.table)
		s.table -= len(n.index.symbols)
	}
	name, start, ok := n.index.find(at)
	if !ok {
		return Location{}
	}
	l := Location{Function: Demangle(name), Offset: at - start}
	if l.Function != name {
		l.Linkage = name
	}
	return l
}
