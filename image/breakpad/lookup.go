package breakpad

import (
	"bytes"
	"cmp"
	"slices"
	"sort"
	"strconv"
)

// Call is a function at a place of its source.
type Call struct {
	Name string // as dump_syms wrote it: of C++ and Rust with parameters
	// Entry is where the function begins; of one that was inlined it is that of
	// the function it was put into.
	Entry uint64
	File  string // "" if it is not known
	Line  int    // 0 if it is not known
	// Inlined tells that the compiler has put the function's code into that of
	// the Call that follows.
	Inlined bool
}

// function is what follows a FUNC record.
type function struct {
	name   string
	lines  []line   // by address
	inline []inline // as they come
}

type line struct {
	addr, size uint64
	file       uint64
	line       int
}

// inline is a range of a function that another was put into.
type inline struct {
	addr, size uint64
	depth      int
	origin     uint64
	file       uint64 // of the call
	noFile     bool   // it is not stated: that of the line
	line       int
}

const (
	maxLines = 1 << 18 // of a function, and ranges of inlined ones
	maxDepth = 64      // of inlined functions; deeper ones are left out
)

// Lookup returns the functions at an address, the innermost inlined one first;
// nil if nothing is known.
func (f *File) Lookup(addr uint64) []Call {
	all := f.lookup(addr)
	if f.shared.Exhausted() {
		return nil // half of it may not have been read
	}
	return all
}

func (f *File) lookup(addr uint64) []Call {
	rec := find(f.functions, addr)
	if rec == nil {
		return f.public(addr)
	}
	fn := f.function(rec)
	if fn == nil {
		return nil
	}
	here := Call{Entry: rec.addr}
	i := sort.Search(len(fn.lines), func(i int) bool { return fn.lines[i].addr > addr }) - 1
	if i >= 0 && addr-fn.lines[i].addr < fn.lines[i].size {
		here.File, here.Line = f.named(f.files, fn.lines[i].file), fn.lines[i].line
	}
	// From the innermost outwards: each function stands where the one in it was
	// called.
	at := fn.at(addr)
	f.shared.work -= int64(len(fn.inline) / 4) // they take a fraction of a byte's time
	var all []Call
	for k := len(at) - 1; k >= 0; k-- {
		c := here
		c.Name, c.Inlined = f.named(f.origins, at[k].origin), true
		all = append(all, c)
		if here.Line = at[k].line; !at[k].noFile {
			here.File = f.named(f.files, at[k].file)
		}
	}
	here.Name = fn.name
	return append(all, here)
}

// at lists what is inlined at an address, the outermost first, one of each depth.
func (fn *function) at(addr uint64) []inline {
	var all []inline
	var seen [maxDepth]bool
	for i := range fn.inline {
		if n := &fn.inline[i]; addr >= n.addr && addr-n.addr < n.size && !seen[n.depth] {
			seen[n.depth] = true
			all = append(all, *n)
		}
	}
	slices.SortFunc(all, func(a, b inline) int { return cmp.Compare(a.depth, b.depth) })
	return all
}

// public returns the public symbol before an address, if no function lies between:
// it would be another's code.
func (f *File) public(addr uint64) []Call {
	i := sort.Search(len(f.publics), func(i int) bool { return f.publics[i].addr > addr }) - 1
	if i < 0 {
		return nil
	}
	k := sort.Search(len(f.functions), func(k int) bool { return f.functions[k].addr > addr }) - 1
	if k >= 0 && f.functions[k].addr >= f.publics[i].addr {
		return nil
	}
	c := Call{Entry: f.publics[i].addr}
	// Of several at one address, the first counts.
	i = sort.Search(i, func(k int) bool { return f.publics[k].addr >= c.Entry })
	f.each(f.record(f.publics[i].at), func(_ int64, line []byte) bool {
		c.Name = nameOf(line, 2)
		return false
	})
	if c.Name == "" {
		return nil
	}
	return []Call{c}
}

// nameOf is what follows the word of a FUNC or PUBLIC record, its m and as many
// numbers.
func nameOf(line []byte, numbers int) string {
	_, rest := cut(line)
	rest = multiple(rest)
	for range numbers {
		_, rest = cut(rest)
	}
	return string(bytes.TrimSpace(rest))
}

// function reads what follows a FUNC record; nil: it cannot be read.
func (f *File) function(rec *record) *function {
	here := place{f, rec.at}
	if fn, ok := f.shared.bodies[here]; ok {
		return fn
	}
	const step = 4 << 10
	fn := &function{}
	err := f.each(reading{rec.at, min(maxBody, f.size-rec.at), step, &f.shared.work}, func(at int64, text []byte) bool {
		switch word, rest := cut(text); {
		case at == rec.at:
			fn.name = nameOf(text, 3)
		case string(word) == "INLINE":
			fn.addInline(rest)
		case len(word) > 0 && word[0] >= 'G' && word[0] <= 'Z' || string(word) == "FUNC" || string(word) == "FILE":
			return false
		default:
			fn.addLine(word, rest)
		}
		return len(fn.lines) < maxLines && len(fn.inline) < maxLines
	})
	if err != nil || fn.name == "" {
		fn = nil
	} else {
		slices.SortStableFunc(fn.lines, func(a, b line) int { return cmp.Compare(a.addr, b.addr) })
	}
	f.shared.keep(here, fn)
	return fn
}

// addLine reads a line's record: address size line file.
func (fn *function) addLine(address, rest []byte) {
	size, rest := cut(rest)
	n, rest := cut(rest)
	file, _ := cut(rest)
	l := line{line: decimal(n)}
	var ok [2]bool
	l.addr, ok[0] = number(address)
	l.size, ok[1] = number(size)
	l.file = uint64(decimal(file))
	if ok[0] && ok[1] {
		fn.lines = append(fn.lines, l)
	}
}

// decimal is a number of a line or a file, 0 for what is none.
func decimal(word []byte) int {
	n, err := strconv.ParseInt(string(word), 10, 32)
	if err != nil || n < 0 {
		return 0
	}
	return int(n)
}

// addInline reads the rest of an INLINE record: depth, line and file of the call,
// origin, and address and size of each range. Old ones do not state the file.
func (fn *function) addInline(rest []byte) {
	w := bytes.Fields(rest)
	n := inline{noFile: len(w)%2 == 1}
	if len(w) < 5 {
		return
	}
	if n.depth, n.line = decimal(w[0]), decimal(w[1]); n.depth >= maxDepth {
		return
	}
	w = w[2:]
	if !n.noFile {
		n.file, w = uint64(decimal(w[0])), w[1:]
	}
	n.origin = uint64(decimal(w[0]))
	for w = w[1:]; len(w) >= 2 && len(fn.inline) < maxLines; w = w[2:] {
		var ok [2]bool
		n.addr, ok[0] = number(w[0])
		n.size, ok[1] = number(w[1])
		if ok[0] && ok[1] {
			fn.inline = append(fn.inline, n)
		}
	}
}
