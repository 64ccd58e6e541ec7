package prom

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// ErrFormat means that the page is not in a text format of Prometheus.
var ErrFormat = errors.New("prom: not a page of metrics")

// maxLine bounds one line, in bytes. A label may hold a whole SQL statement.
const maxLine = 1 << 20

// Label is a name and a value, unescaped.
type Label struct{ Name, Value string }

// Sample is one series with its present value.
type Sample struct {
	Name   string
	Labels []Label // in the page's order
	Value  float64
}

// Label returns the value of a label, "" for one that the series lacks:
// Prometheus makes no difference. The name itself is the label __name__.
func (s *Sample) Label(name string) string {
	if name == "__name__" {
		return s.Name
	}
	for i := range s.Labels {
		if s.Labels[i].Name == name {
			return s.Labels[i].Value
		}
	}
	return ""
}

// String is the series as a selector finds it again.
func (s *Sample) String() string {
	var b strings.Builder
	open := '{'
	if isName(s.Name, true) {
		b.WriteString(s.Name)
	} else {
		fmt.Fprintf(&b, "{%q", s.Name)
		open = ','
	}
	for _, l := range s.Labels {
		b.WriteRune(open)
		open = ','
		if isName(l.Name, false) {
			b.WriteString(l.Name)
		} else {
			b.WriteString(strconv.Quote(l.Name))
		}
		b.WriteByte('=')
		b.WriteString(strconv.Quote(l.Value))
	}
	if open == ',' {
		b.WriteByte('}')
	}
	return b.String()
}

// Scanner reads the samples of a page, one at a time.
type Scanner struct {
	lines  *bufio.Scanner
	line   int
	eof    bool // "# EOF" was there
	sample Sample
	err    error
}

// NewScanner makes a scanner of a page.
func NewScanner(r io.Reader) *Scanner {
	s := &Scanner{lines: bufio.NewScanner(r)}
	s.lines.Buffer(make([]byte, 0, 4096), maxLine)
	return s
}

// Scan goes to the next sample. It returns false at the end of the page and
// after an error.
func (s *Scanner) Scan() bool {
	if s.err != nil {
		return false
	}
	for !s.eof && s.lines.Scan() {
		s.line++
		line := bytes.Trim(s.lines.Bytes(), " \t\r")
		if len(line) == 0 {
			continue
		}
		if line[0] == '#' {
			s.eof = string(line) == "# EOF"
			continue
		}
		p := parser{text: string(line)}
		s.sample = Sample{Labels: s.sample.Labels[:0]}
		if !p.sample(&s.sample) {
			s.err = fmt.Errorf("%w: line %d: %s", ErrFormat, s.line, p.problem)
			return false
		}
		return true
	}
	if err := s.lines.Err(); err != nil {
		s.err = err
		if errors.Is(err, bufio.ErrTooLong) {
			s.err = fmt.Errorf("%w: line %d is longer than 1 MiB", ErrFormat, s.line+1)
		}
	}
	return false
}

// Sample returns the sample that Scan went to. It is good until the next Scan.
func (s *Scanner) Sample() *Sample { return &s.sample }

// Err returns what ended the page early.
func (s *Scanner) Err() error { return s.err }

// SawEOF tells whether the page ended with OpenMetrics' "# EOF".
func (s *Scanner) SawEOF() bool { return s.eof }

// parser reads one line, or a selector, from left to right.
type parser struct {
	text    string
	pos     int
	problem string
}

func (p *parser) fail(format string, args ...any) bool {
	p.problem = fmt.Sprintf(format, args...)
	return false
}

func (p *parser) blanks() {
	for p.pos < len(p.text) && (p.text[p.pos] == ' ' || p.text[p.pos] == '\t') {
		p.pos++
	}
}

// rest is what has not been read, cut to a length fit for a message.
func (p *parser) rest() string {
	r := p.text[p.pos:]
	if len(r) > 40 {
		return r[:40] + "…"
	}
	return r
}

// take reads c, with blanks before it, if it is next.
func (p *parser) take(c byte) bool {
	p.blanks()
	if p.pos < len(p.text) && p.text[p.pos] == c {
		p.pos++
		return true
	}
	return false
}

func nameByte(c byte, first, metric bool) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || !first && c >= '0' && c <= '9' || metric && c == ':'
}

func isName(s string, metric bool) bool {
	for i := range len(s) {
		if !nameByte(s[i], i == 0, metric) {
			return false
		}
	}
	return s != ""
}

// name reads a metric's or a label's name; "" if none is next.
func (p *parser) name(metric bool) string {
	p.blanks()
	from := p.pos
	for p.pos < len(p.text) && nameByte(p.text[p.pos], p.pos == from, metric) {
		p.pos++
	}
	return p.text[from:p.pos]
}

// sample reads NAME{LABELS} VALUE [TIMESTAMP] [# {LABELS} VALUE [TIMESTAMP]].
func (p *parser) sample(s *Sample) bool {
	s.Name = p.name(true)
	if p.take('{') && !p.labels(s) {
		return false
	}
	if s.Name == "" {
		return p.fail("no metric name at %q", p.rest())
	}
	var ok bool
	if s.Value, ok = p.number(); !ok {
		return p.fail("no value at %q", p.rest())
	}
	if !p.timestamp() {
		return false
	}
	if p.take('#') {
		var exemplar Sample
		if !p.take('{') || !p.labels(&exemplar) {
			return p.fail("bad exemplar: %s", p.problem)
		}
		if _, ok := p.number(); !ok {
			return p.fail("no value of the exemplar at %q", p.rest())
		}
		if !p.timestamp() {
			return false
		}
	}
	if p.pos < len(p.text) {
		return p.fail("unexpected %q", p.rest())
	}
	return true
}

// labels reads what follows "{", to the "}". A text without "=" is the metric's
// name: names with other characters than letters are written {"my.name",a="b"}.
func (p *parser) labels(s *Sample) bool {
	for !p.take('}') {
		name, quoted, ok := p.name(false), false, true
		if name == "" {
			if name, ok = p.quoted("\""); !ok {
				return p.fail("no label name at %q", p.rest())
			}
			quoted = true
		}
		if quoted && s.Name == "" && !p.next('=') {
			s.Name = name
		} else {
			if !p.take('=') {
				return p.fail("no = after label %q", name)
			}
			value, ok := p.quoted("\"")
			if !ok {
				return p.fail("no quoted value of label %q", name)
			}
			s.Labels = append(s.Labels, Label{name, value})
		}
		if !p.take(',') && !p.next('}') {
			return p.fail("no , or } at %q", p.rest())
		}
	}
	return true
}

// next tells whether c is next, with blanks before it.
func (p *parser) next(c byte) bool {
	p.blanks()
	return p.pos < len(p.text) && p.text[p.pos] == c
}

// quoted reads a text between quotes of one of the kinds, with the escapes \\,
// \" and \n. Other escapes stay as they are, as in Prometheus' own reader.
func (p *parser) quoted(kinds string) (string, bool) {
	p.blanks()
	if p.pos >= len(p.text) || !strings.ContainsRune(kinds, rune(p.text[p.pos])) {
		return "", false
	}
	quote := p.text[p.pos]
	from := p.pos + 1
	var b []byte // once there was an escape
	for i := from; i < len(p.text); i++ {
		c := p.text[i]
		switch {
		case c == quote:
			p.pos = i + 1
			s := p.text[from:i]
			if b != nil {
				s = string(append(b, s...))
			}
			return s, utf8.ValidString(s)
		case c == '\\' && i+1 < len(p.text):
			e := p.text[i+1]
			b = append(b, p.text[from:i]...)
			switch e {
			case 'n':
				b = append(b, '\n')
			case '\\', quote:
				b = append(b, e)
			default:
				b = append(b, '\\', e)
			}
			i++
			from = i + 1
		}
	}
	return "", false
}

// word reads to the next blank.
func (p *parser) word() string {
	p.blanks()
	from := p.pos
	for p.pos < len(p.text) && p.text[p.pos] != ' ' && p.text[p.pos] != '\t' {
		p.pos++
	}
	return p.text[from:p.pos]
}

// number reads a value. Go's hexadecimal form and underscores are no part of
// the format.
func (p *parser) number() (float64, bool) {
	at := p.pos
	w := p.word()
	v, err := strconv.ParseFloat(w, 64)
	if err != nil || strings.ContainsAny(w, "pPxX_") {
		p.pos = at
		return 0, false
	}
	return v, true
}

// timestamp reads one, if there is one: integer milliseconds in the text
// format, seconds with a fraction in OpenMetrics.
func (p *parser) timestamp() bool {
	p.blanks()
	if p.pos == len(p.text) || p.text[p.pos] == '#' {
		return true
	}
	if _, ok := p.number(); !ok {
		return p.fail("bad timestamp at %q", p.rest())
	}
	p.blanks()
	return true
}
