package prom

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strings"
)

// ErrNoSeries means that the page has no series that the selector names.
var ErrNoSeries = errors.New("no series matches")

// ErrSeveral means that the selector names more than one series.
var ErrSeveral = errors.New("several series match")

// mostListed bounds the series that an error lists.
const mostListed = 10

// operation is how the values of several series become one.
type operation string

const (
	one   operation = ""
	sum   operation = "sum"
	lest  operation = "min"
	most  operation = "max"
	avg   operation = "avg"
	count operation = "count"
)

// matcher is a condition on one label.
type matcher struct {
	label  string
	equal  bool // = and =~
	value  string
	regexp *regexp.Regexp // of =~ and !~; nil otherwise
}

func (m *matcher) match(s *Sample) bool {
	v := s.Label(m.label)
	if m.regexp != nil {
		return m.regexp.MatchString(v) == m.equal
	}
	return (v == m.value) == m.equal
}

// Selector names a number of a page, in a small part of Prometheus' query
// language:
//
//	METRIC   METRIC{a="x",b!="y",c=~"re",d!~"re"}   {"odd.name",a="x"}
//	sum(SELECTOR)   min(…)  max(…)  avg(…)  count(…)
//
// Regular expressions are of Go's kind and have to match the whole value.
// Values are quoted with ", ' or `, the last without escapes.
type Selector struct {
	text     string
	op       operation
	name     string
	matchers []matcher
}

// ParseSelector reads a selector.
func ParseSelector(text string) (Selector, error) {
	s := Selector{text: strings.TrimSpace(text)}
	p := parser{text: s.text}
	if !p.selector(&s) {
		return Selector{}, fmt.Errorf("prom: selector %q: %s; want METRIC{label=\"value\"} or sum(METRIC{…})", text, p.problem)
	}
	return s, nil
}

// String returns the selector as it was written.
func (s Selector) String() string { return s.text }

func (p *parser) selector(s *Selector) bool {
	s.name = p.name(true)
	if p.take('(') {
		s.op = operation(strings.ToLower(s.name))
		switch s.op {
		case sum, lest, most, avg, count:
		default:
			return p.fail("unknown function %s: there are sum, min, max, avg and count", s.name)
		}
		s.name = p.name(true)
		if !p.series(s) {
			return false
		}
		if !p.take(')') {
			return p.fail("no ) at %q", p.rest())
		}
	} else if !p.series(s) {
		return false
	}
	if p.blanks(); p.pos < len(p.text) {
		return p.fail("unexpected %q", p.rest())
	}
	return true
}

// series reads the conditions after a metric's name.
func (p *parser) series(s *Selector) bool {
	if p.take('{') {
		for !p.take('}') {
			if !p.matcher(s) {
				return false
			}
			if !p.take(',') && !p.next('}') {
				return p.fail("no , or } at %q", p.rest())
			}
		}
	}
	if s.name == "" && len(s.matchers) == 0 {
		return p.fail("no metric name at %q", p.rest())
	}
	return true
}

func (p *parser) matcher(s *Selector) bool {
	name := p.name(false)
	if name == "" {
		var ok bool
		if name, ok = p.literal(); !ok {
			return p.fail("no label name at %q", p.rest())
		}
		if s.name == "" && (p.next(',') || p.next('}')) {
			s.name = name
			return true
		}
	}
	m := matcher{label: name}
	pattern := false
	switch {
	case p.take('='):
		m.equal = true
		pattern = p.pos < len(p.text) && p.text[p.pos] == '~'
	case p.take('!') && p.pos < len(p.text) && (p.text[p.pos] == '=' || p.text[p.pos] == '~'):
		pattern = p.text[p.pos] == '~'
		if !pattern {
			p.pos++
		}
	default:
		return p.fail("no =, !=, =~ or !~ after label %s", name)
	}
	if pattern {
		p.pos++
	}
	var ok bool
	if m.value, ok = p.literal(); !ok {
		return p.fail("no quoted value of label %s", name)
	}
	if pattern {
		re, err := regexp.Compile("^(?s:" + m.value + ")$")
		if err != nil {
			return p.fail("label %s: %v", name, err)
		}
		m.regexp = re
	}
	s.matchers = append(s.matchers, m)
	return true
}

// literal reads a quoted text of a selector.
func (p *parser) literal() (string, bool) {
	if !p.next('`') {
		return p.quoted("\"'")
	}
	text, _, ok := strings.Cut(p.text[p.pos+1:], "`")
	if ok {
		p.pos += len(text) + 2
	}
	return text, ok
}

// Match tells whether the series is one of those named.
func (s Selector) Match(sample *Sample) bool {
	if s.name != "" && s.name != sample.Name {
		return false
	}
	for i := range s.matchers {
		if !s.matchers[i].match(sample) {
			return false
		}
	}
	return true
}

// Eval reads a page to its end and returns the number that the selector names.
// Without a function exactly one series has to match (ErrNoSeries, ErrSeveral).
// sum and count of no series are 0, unlike in Prometheus: a series that comes
// into being with its first event then has a value before. min and max pass
// over values that are not a number.
func (s Selector) Eval(sc *Scanner) (float64, error) {
	e := newEvaluation(s)
	for sc.Scan() {
		e.add(sc.Sample())
	}
	if err := sc.Err(); err != nil {
		return 0, err
	}
	return e.result()
}

// evaluation is a selector on its way through a page.
type evaluation struct {
	Selector
	n, numbers    int
	total         float64
	low, high     float64
	match, others []string // for messages
}

func newEvaluation(s Selector) *evaluation {
	return &evaluation{Selector: s, low: math.NaN(), high: math.NaN()}
}

func (e *evaluation) add(sample *Sample) {
	if !e.Match(sample) {
		if e.n == 0 && e.name != "" && sample.Name == e.name && len(e.others) < mostListed {
			e.others = append(e.others, sample.String())
		}
		return
	}
	e.n++
	if e.op == one && len(e.match) < mostListed {
		e.match = append(e.match, sample.String())
	}
	v := sample.Value
	e.total += v
	if !math.IsNaN(v) {
		if e.numbers++; e.numbers == 1 {
			e.low, e.high = v, v
		}
		e.low, e.high = min(e.low, v), max(e.high, v)
	}
}

func (e *evaluation) result() (float64, error) {
	switch {
	case e.op == count:
		return float64(e.n), nil
	case e.op == sum:
		return e.total, nil
	case e.n == 0:
		return 0, e.noSeries(e.others)
	case e.op == lest:
		return e.low, nil
	case e.op == most:
		return e.high, nil
	case e.op == avg:
		return e.total / float64(e.n), nil
	case e.n > 1:
		return 0, e.several(e.n, e.match)
	}
	return e.total, nil
}

func (s Selector) noSeries(others []string) error {
	hint := fmt.Sprintf("; if it comes later, write sum(%s), which is 0 until then", s.text)
	if s.op != one {
		hint = ""
	}
	if len(others) > 0 {
		return fmt.Errorf("%w %s; there is %s%s", ErrNoSeries, s, strings.Join(others, ", "), hint)
	}
	return fmt.Errorf("%w %s%s", ErrNoSeries, s, hint)
}

func (s Selector) several(n int, match []string) error {
	list := strings.Join(match, ", ")
	if n > len(match) {
		list += fmt.Sprintf(" and %d more", n-len(match))
	}
	return fmt.Errorf("%w %s: %s; name its labels, or write sum(%s), max(…), min(…), avg(…) or count(…)", ErrSeveral, s, list, s)
}
