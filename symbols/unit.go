package symbols

import (
	"cmp"
	"debug/dwarf"
	"errors"
	"io"
	"math"
	"slices"
	"sort"
)

// unit is one compilation unit: a source file and what it includes.
type unit struct {
	functions []function // by address
	lines     []line     // by address
	files     []string
	// scopes are the namespaces and types of functions whose linkage name does
	// not tell: "victim::".
	scopes map[dwarf.Offset]string
}

// function is where a function of a unit lies; one in several pieces is listed
// several times.
type function struct {
	low, high uint64
	at        dwarf.Offset
}

// line is where the code of a line begins; the number 0 ends a sequence.
type line struct {
	addr uint64
	file int32 // index of unit.files
	line int32
}

const (
	maxEntries = 4 << 20 // of a unit
	maxLines   = 1 << 20
	maxInlined = 64 // functions at one address
)

// newUnit reads the functions and lines of the unit whose entry is at a place.
// What cannot be read is missing.
func (x *debug) newUnit(at dwarf.Offset) (*unit, error) {
	r := x.d.Reader()
	r.Seek(at)
	e, err := r.Next()
	if err != nil || e == nil {
		return nil, err
	}
	u := &unit{}
	err = errors.Join(u.readLines(x.d, e), u.readFunctions(x, r))
	slices.SortFunc(u.functions, func(a, b function) int { return cmp.Compare(a.low, b.low) })
	return u, err
}

// readFunctions lists the functions below the unit's entry: on its own level,
// and in the namespaces and types that compilers put them into.
func (u *unit) readFunctions(x *debug, r *dwarf.Reader) error {
	scope := []string{""} // of each level
	for n := 0; len(scope) > 0 && n < maxEntries && !x.clock.late(); n++ {
		e, err := r.Next()
		if err != nil || e == nil {
			return err
		}
		here := scope[len(scope)-1]
		switch e.Tag {
		case 0:
			scope = scope[:len(scope)-1]
		case dwarf.TagSubprogram:
			u.addFunction(x, e, here)
			r.SkipChildren()
		case dwarf.TagNamespace, dwarf.TagModule, dwarf.TagStructType, dwarf.TagClassType, dwarf.TagUnionType, dwarf.TagEnumerationType:
			if e.Children && len(scope) < maxScopes {
				scope = append(scope, inner(here, x, e))
			} else {
				r.SkipChildren()
			}
		default:
			r.SkipChildren()
		}
	}
	return nil
}

const (
	maxScopes = 64   // in each other
	maxScope  = 1024 // bytes of their names
)

// inner is the scope of what a namespace or type holds.
func inner(scope string, x *debug, e *dwarf.Entry) string {
	name := x.string(e, dwarf.AttrName)
	if name == "" && e.Tag == dwarf.TagNamespace {
		name = "(anonymous namespace)"
	}
	if name == "" || len(scope)+len(name) > maxScope {
		return scope
	}
	return scope + name + "::"
}

func (u *unit) addFunction(x *debug, e *dwarf.Entry, scope string) {
	if ranges, err := x.d.Ranges(e); err == nil {
		for _, p := range ranges[:min(len(ranges), maxEntries-len(u.functions))] {
			u.functions = append(u.functions, function{p[0], p[1], e.Offset})
		}
	}
	if scope != "" && e.Val(dwarf.AttrName) != nil && x.linkageName(e) == "" {
		if u.scopes == nil {
			u.scopes = map[dwarf.Offset]string{}
		}
		u.scopes[e.Offset] = scope
	}
}

func (u *unit) readLines(d *dwarf.Data, e *dwarf.Entry) error {
	r, err := d.LineReader(e)
	if r == nil || err != nil {
		return err
	}
	index := map[*dwarf.LineFile]int32{}
	for _, f := range r.Files() {
		name := ""
		if f != nil {
			name = f.Name
			index[f] = int32(len(u.files))
		}
		u.files = append(u.files, name)
	}
	var l dwarf.LineEntry
	for len(u.lines) < maxLines {
		if err = r.Next(&l); err != nil {
			if err == io.EOF {
				err = nil
			}
			break
		}
		row := line{addr: l.Address, file: -1, line: int32(lineNumber(int64(l.Line)))}
		if i, ok := index[l.File]; ok {
			row.file = i
		}
		if l.EndSequence {
			row.line, row.file = 0, -1
		}
		u.lines = append(u.lines, row)
	}
	// Where one sequence ends another may begin: the end comes first.
	slices.SortStableFunc(u.lines, func(a, b line) int {
		if c := cmp.Compare(a.addr, b.addr); c != 0 || (a.file < 0) == (b.file < 0) {
			return c
		}
		if a.file < 0 {
			return -1
		}
		return 1
	})
	return err
}

// lineNumber is a line as the debug information states it, 0 for what is none.
func lineNumber(n int64) int {
	if n < 0 || n > math.MaxInt32 {
		return 0
	}
	return int(n)
}

// lineAt returns the file and line of the code at an address.
func (u *unit) lineAt(at uint64) (file string, n int) {
	i := sort.Search(len(u.lines), func(i int) bool { return u.lines[i].addr > at }) - 1
	// Code that belongs to no line belongs to that of the code before.
	for ; i >= 0 && u.lines[i].line == 0 && u.lines[i].file >= 0; i-- {
	}
	if i < 0 || u.lines[i].file < 0 {
		return "", 0
	}
	return u.files[u.lines[i].file], int(u.lines[i].line)
}

// fileName is the unit's file of that number.
func (u *unit) fileName(i int64) string {
	if i < 0 || i >= int64(len(u.files)) {
		return ""
	}
	return u.files[i]
}

// lookup returns the functions at an address, the innermost inlined one first.
func (u *unit) lookup(x *debug, at uint64) []Location {
	file, n := u.lineAt(at)
	var all []Location // the outermost first
	const back = 16
	i := sort.Search(len(u.functions), func(i int) bool { return u.functions[i].low > at })
	for k := i - 1; k >= 0 && k >= i-back; k-- {
		if f := u.functions[k]; at < f.high {
			all = u.inlined(x, f.at, at)
			break
		}
	}
	if len(all) == 0 {
		if file == "" {
			return nil
		}
		all = []Location{{}}
	}
	// So far each has the place that it was called from.
	for k := range all[:len(all)-1] {
		all[k].File, all[k].Line = all[k+1].File, all[k+1].Line
	}
	last := &all[len(all)-1]
	last.File, last.Line = file, n
	slices.Reverse(all)
	for k := range all[:len(all)-1] {
		all[k].Inlined = true
	}
	// An inlined function of which neither name nor place is known says nothing.
	return slices.DeleteFunc(all, func(l Location) bool { return l == Location{Inlined: true} })
}

// inlined returns the function whose entry is at a place and those inlined at
// an address in it, the outermost first, each with the place it was called from.
func (u *unit) inlined(x *debug, entry dwarf.Offset, at uint64) []Location {
	r := x.d.Reader()
	r.Seek(entry)
	e, err := r.Next()
	if err != nil || e == nil {
		return nil
	}
	all := []Location{u.name(x, e)}
	if !e.Children {
		return all
	}
	for depth, n := 1, 0; depth > 0 && n < maxEntries && len(all) < maxInlined && !x.clock.late(); n++ {
		e, err := r.Next()
		if err != nil || e == nil {
			break
		}
		switch e.Tag {
		case 0:
			depth--
			continue
		case dwarf.TagInlinedSubroutine:
			if !x.covers(e, at) {
				r.SkipChildren()
				continue
			}
			l := u.name(x, e)
			if n, ok := e.Val(dwarf.AttrCallFile).(int64); ok {
				l.File = u.fileName(n)
			}
			if n, ok := e.Val(dwarf.AttrCallLine).(int64); ok {
				l.Line = lineNumber(n)
			}
			all = append(all, l)
		case dwarf.TagLexDwarfBlock, dwarf.TagTryDwarfBlock, dwarf.TagCatchDwarfBlock:
			if !x.covers(e, at) {
				r.SkipChildren()
				continue
			}
		default:
			r.SkipChildren()
			continue
		}
		if e.Children {
			depth++
		}
	}
	return all
}

func (x *debug) covers(e *dwarf.Entry, at uint64) bool {
	ranges, err := x.d.Ranges(e)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(ranges, func(p [2]uint64) bool { return p[0] <= at && at < p[1] })
}

// name is the name of a function's entry, or of the one that it is an instance of.
func (u *unit) name(x *debug, e *dwarf.Entry) Location {
	plain := ""
	d := x.d
	for range 8 {
		if s := x.linkageName(e); s != "" {
			l := Location{Function: Demangle(s)}
			if l.Function != s {
				l.Linkage = s
			}
			return l
		}
		if s := x.string(e, dwarf.AttrName); s != "" && plain == "" {
			if plain = s; d == x.d {
				plain = u.scopes[e.Offset] + s
			}
		}
		in, origin := x.refer(d, e, dwarf.AttrAbstractOrigin)
		if origin == nil {
			in, origin = x.refer(d, e, dwarf.AttrSpecification)
		}
		if origin == nil {
			break
		}
		d, e = in, origin
	}
	return Location{Function: plain}
}

// attrMIPSLinkageName is DW_AT_MIPS_linkage_name, which compilers wrote before
// DWARF 4 had a name of its own for it.
const attrMIPSLinkageName dwarf.Attr = 0x2007
