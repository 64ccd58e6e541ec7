package trigger

import (
	"strings"
	"unicode"
)

// Filter decides by a text (an exception, a line of output, a file name)
// whether something is a trigger. The zero Filter lets everything through.
type Filter struct {
	Include  []Pattern // at least one must match, if there are any
	Exclude  []Pattern // none may match
	showOnly bool
}

// ParseFilter reads the values of all -f and -fx switches. Each is a comma
// list; blanks around its items are dropped, and so are empty items. If -f was
// given and no item is left, as in -f "", nothing passes: texts are for show.
func ParseFilter(include, exclude []string) Filter {
	f := Filter{Include: patterns(include), Exclude: patterns(exclude)}
	f.showOnly = len(include) > 0 && len(f.Include) == 0
	return f
}

func patterns(lists []string) (ps []Pattern) {
	for _, list := range lists {
		for item := range strings.SplitSeq(list, ",") {
			if item = strings.TrimSpace(item); item != "" {
				ps = append(ps, ParsePattern(item))
			}
		}
	}
	return ps
}

// Match tells whether a text is a trigger.
func (f Filter) Match(text string) bool {
	if f.showOnly {
		return false
	}
	if len(f.Include) == 0 && len(f.Exclude) == 0 {
		return true
	}
	text = fold(text)
	return (len(f.Include) == 0 || anyMatches(f.Include, text)) && !anyMatches(f.Exclude, text)
}

// ShowOnly tells that texts are to be shown and none is a trigger (-f "").
func (f Filter) ShowOnly() bool { return f.showOnly }

func anyMatches(ps []Pattern, folded string) bool {
	for _, p := range ps {
		if p.match(folded) {
			return true
		}
	}
	return false
}

// Pattern is a text with wildcards: "*" stands for any characters, none
// included. Upper and lower case are the same. With a wildcard it must match
// from beginning to end; without, it matches every text that contains it.
type Pattern struct {
	text  string
	parts []string // the folded texts between the wildcards; one if there are none
}

// ParsePattern makes a pattern. Every text is one.
func ParsePattern(text string) Pattern {
	return Pattern{text: text, parts: strings.Split(fold(text), "*")}
}

// String returns the pattern as it was given.
func (p Pattern) String() string { return p.text }

// Match tells whether the pattern matches a text.
func (p Pattern) Match(text string) bool { return p.match(fold(text)) }

func (p Pattern) match(folded string) bool {
	if len(p.parts) == 0 {
		return folded == "" // the zero Pattern
	}
	if len(p.parts) == 1 {
		return strings.Contains(folded, p.parts[0])
	}
	rest, ok := strings.CutPrefix(folded, p.parts[0])
	if !ok {
		return false
	}
	// The first place where a part fits is the best: it leaves most for the
	// parts that follow.
	last := len(p.parts) - 1
	for _, part := range p.parts[1:last] {
		i := strings.Index(rest, part)
		if i < 0 {
			return false
		}
		rest = rest[i+len(part):]
	}
	return strings.HasSuffix(rest, p.parts[last])
}

// fold makes texts that differ in case only the same.
func fold(text string) string {
	return strings.Map(func(r rune) rune {
		if r < unicode.MaxASCII {
			if 'a' <= r && r <= 'z' {
				r -= 'a' - 'A'
			}
			return r
		}
		// SimpleFold goes round the runes that are one letter; the smallest
		// stands for them.
		least := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
		return least
	}, text)
}
