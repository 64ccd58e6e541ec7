package unwind

import (
	"encoding/binary"
	"slices"
	"strconv"
	"strings"

	"procdump/image"
)

// symbolRow returns what the image's symbol file of Breakpad says of an address,
// or nil. Its rules become those of DWARF.
func (u *Unwinder) symbolRow(im *image.Image, pc uint64) *row {
	f := im.Breakpad()
	if f == nil {
		return nil
	}
	rules := f.Rules(pc - im.Module.Addr)
	if rules == nil {
		return nil
	}
	// A symbol file does not say that a return address of arm64 is signed.
	r := &row{ra: uint64(u.m.ra), symbols: true, signed: u.m.link != 0}
	// dump_syms leaves out that a return address is undefined.
	if calls := f.Lookup(pc - im.Module.Addr); len(calls) > 0 {
		r.last = slices.Contains(outermostFunctions, calls[len(calls)-1].Name)
	}
	for _, x := range rules {
		if x.Register == ".cfa" {
			if r.cfaExpr = u.m.postfix(x.Expression, false); r.cfaExpr == nil {
				return nil
			}
			continue
		}
		n, ok := u.m.column(x.Register)
		if !ok || n >= maxColumns {
			continue // it is of no use to a caller
		}
		if slices.Equal(x.Expression, []string{".undef"}) {
			r.rules[n] = rule{kind: undefined}
			continue
		}
		code := u.m.postfix(x.Expression, true)
		if code == nil {
			if n == u.m.ra {
				return nil
			}
			r.rules[n] = rule{kind: undefined}
			continue
		}
		r.rules[n] = rule{kind: isExpression, expr: code}
	}
	if r.cfaExpr == nil || r.rules[r.ra].kind == unspecified {
		return nil
	}
	return r
}

// stepSymbols finds the caller by a symbol file's row. dump_syms leaves out what
// it has no words for, such as how a function that aligns its stack has saved
// where it was: a rule that needs a register that is lost leads nowhere.
func (u *Unwinder) stepSymbols(cur *walk, r *row) (walk, ending) {
	if !cur.frame.Exact {
		for _, n := range u.m.scratch {
			cur.forget(n)
		}
	}
	next, end, ok := u.apply(cur, r)
	switch {
	case r.last && (!cur.frame.Exact || !ok || !u.code(next.pc-1)):
		return next, outermost
	case !ok:
		return u.guess(cur, noStack)
	case end != goesOn || u.code(next.pc-1):
		return u.check(cur, next, end)
	}
	return u.guess(cur, damaged)
}

// outermostFunctions are those of C libraries where a program and where a thread
// begins: nobody has called who has called something there.
var outermostFunctions = []string{"_start", "clone", "__clone", "clone3", "__clone3", "_dl_start_user"}

// column is the number of a register as symbol files name it: on x86 with $ in
// front.
func (m *machine) column(name string) (int, bool) {
	if name == ".ra" {
		return m.ra, true
	}
	name = strings.TrimPrefix(name, "$")
	if name == m.pcName {
		return m.ra, true
	}
	i := slices.Index(m.names, name)
	return i, i >= 0
}

// Operations of DWARF expressions (DWARF 5, 7.7.1).
const (
	opDeref  = 0x06
	opConst8 = 0x0f // signed
	opPick   = 0x15
	opAnd    = 0x1a
	opDiv    = 0x1b
	opMinus  = 0x1c
	opMod    = 0x1d
	opMul    = 0x1e
	opNot    = 0x20
	opPlus   = 0x22
	opLit1   = 0x31
	opBregx  = 0x92
)

var operators = map[string][]byte{
	"+": {opPlus}, "-": {opMinus}, "*": {opMul}, "/": {opDiv}, "%": {opMod},
	"@": {opLit1, opMinus, opNot, opAnd}, // down to a multiple of a power of 2
}

// postfix turns an expression into one of DWARF; nil: it is none. With cfa, the
// canonical frame address is on the stack at first.
func (m *machine) postfix(words []string, cfa bool) []byte {
	var code []byte
	depth := 0
	if cfa {
		depth = 1
	}
	base := depth
	for _, w := range words {
		if len(code) >= maxSteps {
			return nil
		}
		if op := operators[w]; op != nil {
			if depth < base+2 {
				return nil
			}
			code = append(code, op...)
			depth--
			continue
		}
		if w == "^" {
			if depth < base+1 {
				return nil
			}
			code = append(code, opDeref)
			continue
		}
		if depth >= maxDepth {
			return nil
		}
		if w == ".cfa" && cfa {
			code = append(code, opPick, byte(depth-1))
		} else if n, ok := m.column(w); ok && w != ".cfa" {
			code = append(code, opBregx, byte(n), 0)
		} else if n, err := strconv.ParseInt(w, 10, 64); err == nil {
			code = binary.LittleEndian.AppendUint64(append(code, opConst8), uint64(n))
		} else {
			return nil
		}
		depth++
	}
	if depth != base+1 {
		return nil
	}
	return code
}
