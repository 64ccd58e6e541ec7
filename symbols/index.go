package symbols

import (
	"cmp"
	"debug/elf"
	"slices"
	"sort"
	"strings"

	"procdump/image"
)

// symbol is a function in a symbol table.
type symbol struct {
	value, size uint64
	name        uint32
	table       uint8 // index of index.tables
	rank        uint8 // the lower, the better a name
}

// index finds the function at an address of a file.
type index struct {
	symbols []symbol // ascending; of one address the best first
	tables  []image.Names
	most    int // symbols
}

// maxSymbols bounds the functions of all images.
const maxSymbols = 4 << 20

// newIndex reads the symbol tables of an image: the whole one, of its file or
// its debug information, else the two that make it up. It keeps at most that
// many functions.
func newIndex(im *image.Image, most int) *index {
	x := &index{most: most}
	for _, f := range []*image.File{im.File(), im.Debug()} {
		if f != nil && x.add(f, elf.SHT_SYMTAB) {
			break
		}
	}
	if len(x.symbols) == 0 {
		if f := im.Mini(); f != nil {
			x.add(f, elf.SHT_SYMTAB)
		}
		if f := im.File(); f != nil {
			x.add(f, elf.SHT_DYNSYM)
		}
	}
	slices.SortFunc(x.symbols, func(a, b symbol) int {
		if a.value != b.value { // as a rule: there may be a million
			return cmp.Compare(a.value, b.value)
		}
		return cmp.Compare(a.rank, b.rank)
	})
	x.symbols = slices.Clip(x.symbols)
	return x
}

// add adds the functions of a symbol table and tells whether there are any.
func (x *index) add(f *image.File, typ elf.SectionType) bool {
	before, table := len(x.symbols), uint8(len(x.tables))
	names, ok := f.Symbols(typ, func(y image.Symbol) {
		if r, ok := rank(f, y); ok && len(x.symbols) < x.most {
			x.symbols = append(x.symbols, symbol{y.Value, y.Size, y.Name, table, r})
		}
	})
	if !ok {
		return false
	}
	x.tables = append(x.tables, names)
	return len(x.symbols) > before
}

// rank tells whether a symbol names code, and how good a name it is: one with a
// size, of a function, and global.
func rank(f *image.File, y image.Symbol) (r uint8, ok bool) {
	switch elf.ST_TYPE(y.Info) {
	case elf.STT_FUNC, elf.STT_GNU_IFUNC:
	case elf.STT_NOTYPE: // of assembly
		r += 4
	default:
		return 0, false
	}
	if y.Section == elf.SHN_UNDEF || y.Name == 0 || y.Section < elf.SHN_LORESERVE && !f.Code(y.Section) {
		return 0, false
	}
	if y.Size == 0 {
		r += 8
	}
	switch elf.ST_BIND(y.Info) {
	case elf.STB_GLOBAL:
	case elf.STB_WEAK:
		r++
	default:
		r += 2
	}
	return r, true
}

// find returns the function that holds an address.
func (x *index) find(at uint64) (name string, start uint64, ok bool) {
	const back = 64 // symbols that are looked at for one that reaches so far
	end := sort.Search(len(x.symbols), func(i int) bool { return x.symbols[i].value > at })
	for i := end - 1; i >= 0 && i >= end-back; i-- {
		y := x.symbols[i]
		// One without a size reaches to the next.
		if at-y.value >= y.size && (y.size != 0 || y.value != x.symbols[end-1].value) {
			continue
		}
		if name := x.best(y.value, at); name != "" {
			return name, y.value, true
		}
	}
	return "", 0, false
}

// best is the best name of a function that begins at value and holds at: of
// several as good, the one with the fewest underscores in front, then the
// shortest, then the first of the alphabet.
func (x *index) best(value, at uint64) string {
	const most = 64 // names of one function
	i := sort.Search(len(x.symbols), func(i int) bool { return x.symbols[i].value >= value })
	best, rank := "", uint8(0)
	for n := 0; i < len(x.symbols) && x.symbols[i].value == value && n < most; i, n = i+1, n+1 {
		y := x.symbols[i]
		if y.size != 0 && at-value >= y.size || best != "" && y.rank&^3 > rank&^3 {
			continue
		}
		name := x.tables[y.table].At(y.name)
		if name == "" || strings.HasPrefix(name, ".L") || strings.HasPrefix(name, "$") {
			continue
		}
		if best == "" || better(name, y.rank, best, rank) {
			best, rank = name, y.rank
		}
	}
	return best
}

func better(a string, rankA uint8, b string, rankB uint8) bool {
	underscores := func(s string) int { return len(s) - len(strings.TrimLeft(s, "_")) }
	return cmp.Or(cmp.Compare(underscores(a), underscores(b)), cmp.Compare(rankA, rankB),
		cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) < 0
}
