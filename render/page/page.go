// Package page lays out a report as text of lines that are no wider than a
// terminal. What it prints is plain: characters that would move a terminal's
// cursor or change its colours become question marks.
package page

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"procdump/internal/printable"
)

// Width is the length of a line in characters.
const Width = 100

// Page collects lines.
type Page struct{ b strings.Builder }

// String returns the lines.
func (p *Page) String() string { return p.b.String() }

// Line writes one line, cut off at Width.
func (p *Page) Line(format string, args ...any) {
	s := strings.TrimRight(plain(fmt.Sprintf(format, args...)), " ")
	if utf8.RuneCountInString(s) > Width {
		s = string([]rune(s)[:Width-1]) + "…"
	}
	p.b.WriteString(s + "\n")
}

// Section begins a part of the page.
func (p *Page) Section(format string, args ...any) {
	p.b.WriteString("\n")
	p.Line(format, args...)
}

// Text writes words in lines that begin with indent; the first begins with
// first, which is as long. A word that is longer than a line is cut into several.
func (p *Page) Text(first, indent, words string) {
	line, room, empty := []rune(first), Width, true
	flush := func() {
		p.b.WriteString(strings.TrimRight(string(line), " ") + "\n")
		line, empty = []rune(indent), true
	}
	for _, word := range strings.Fields(words) {
		w := []rune(plain(word))
		if !empty && len(line)+1+len(w) > room {
			flush()
		}
		if !empty {
			line = append(line, ' ')
		}
		for len(line)+len(w) > room {
			n := max(room-len(line), 1)
			line, w = append(line, w[:n]...), w[n:]
			flush()
		}
		line, empty = append(line, w...), false
	}
	if !empty {
		flush()
	}
}

// column is where the values of a list of facts begin.
const column = 12

// Fact writes a name and a value, if there is one.
func (p *Page) Fact(name, value string) {
	if value != "" {
		p.Text(fmt.Sprintf("%-*s", column, name), strings.Repeat(" ", column), value)
	}
}

// plain is text that is fit for a line: names and messages come from the dump.
func plain(s string) string { return printable.Text(strings.ReplaceAll(s, "\t", " ")) }

// List joins items with commas, as many as the limit allows.
func List(items []string, limit int) string {
	if len(items) <= limit {
		return strings.Join(items, ", ")
	}
	return fmt.Sprintf("%s, … and %d more", strings.Join(items[:limit], ", "), len(items)-limit)
}

// Join joins the parts that are not empty.
func Join(sep string, parts ...string) string {
	var all []string
	for _, s := range parts {
		if s != "" {
			all = append(all, s)
		}
	}
	return strings.Join(all, sep)
}

// Plural is a number of things.
func Plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

// Size is a number of bytes with a unit.
func Size(n uint64) string {
	const units = "KMGTPE"
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	f, u := float64(n)/1024, 0
	for f >= 1024 && u < len(units)-1 {
		f, u = f/1024, u+1
	}
	if f >= 100 || f == float64(int(f)) {
		return fmt.Sprintf("%.0f %ciB", f, units[u])
	}
	return fmt.Sprintf("%.1f %ciB", f, units[u])
}
