package breakpad

import (
	"bytes"
	"strings"
)

// Rule says how a register of the caller is found: an expression in postfix
// notation, of numbers, registers, .cfa, and the operators + - * / % @ and ^,
// which reads a word of memory.
type Rule struct {
	Register   string // ".cfa" for the canonical frame address, ".ra" for the return address
	Expression []string
}

const maxRules = 64 // of one address

// Rules returns the STACK CFI rules of an address, nil if there are none.
func (f *File) Rules(addr uint64) []Rule {
	rec := find(f.frames, addr)
	if rec == nil {
		return nil
	}
	var rules []Rule
	part := f.record(rec.at)
	part.size = min(maxBody, f.size-rec.at)
	err := f.each(part, func(at int64, line []byte) bool {
		rest, ok := bytes.CutPrefix(line, []byte("STACK CFI "))
		if !ok || f.shared.Exhausted() {
			return false
		}
		if at == rec.at { // INIT address size rules
			_, rest = cut(rest)
			_, rest = cut(rest)
			_, rest = cut(rest)
		} else {
			word, more := cut(rest)
			from, ok := number(word)
			if !ok || from > addr { // the next one's INIT is no number
				return false
			}
			rest = more
		}
		words := strings.Fields(string(rest))
		f.shared.work -= int64(len(words) * len(rules)) // all are compared with all
		rules = change(rules, words)
		return true
	})
	if err != nil || f.shared.Exhausted() {
		return nil // rules that are not the last ones lead astray
	}
	return rules
}

// change replaces the rules that words state: a register with a colon behind it,
// and its expression.
func change(rules []Rule, words []string) []Rule {
	for i := 0; i < len(words); {
		register, ok := strings.CutSuffix(words[i], ":")
		if i++; !ok {
			continue
		}
		r := Rule{Register: register}
		for i < len(words) && !strings.HasSuffix(words[i], ":") {
			r.Expression = append(r.Expression, words[i])
			i++
		}
		known := false
		for k := range rules {
			if rules[k].Register == register {
				rules[k], known = r, true
			}
		}
		if !known && len(rules) < maxRules {
			rules = append(rules, r)
		}
	}
	return rules
}
