// Package kernel renders the report on a kernel dump: text for a person who has
// to know at three in the morning what happened, and JSON for programs.
//
// The text begins with the conclusion; the evidence follows, the most telling
// first. Its length is bounded: of what there is much of, such as tasks, it
// shows the first and says how many more there are. JSON has all of them.
package kernel

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"procdump/inspect/kernel"
)

// JSON writes the report as one indented JSON object.
func JSON(w io.Writer, r *kernel.Report) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// width is the length of a line in characters.
const width = 100

// Text writes the report for a person.
func Text(w io.Writer, r *kernel.Report) error {
	p := &page{}
	p.head(r)
	if r.System == "Windows" {
		p.windows(r)
	}
	p.processors(r)
	p.tasks(r.Tasks)
	p.modules(r)
	p.memory(r)
	p.log(r.Log)
	p.warnings(r.Warnings)
	_, err := io.WriteString(w, strings.Map(printable, p.b.String()))
	return err
}

// printable is a character of the text, or a question mark in place of one that
// a terminal may take for a command: names and messages come from the dump.
func printable(c rune) rune {
	switch {
	case c == '\t':
		return ' '
	case c != '\n' && unicode.IsControl(c), c == utf8.RuneError:
		return '?'
	}
	return c
}

// page collects lines.
type page struct{ b strings.Builder }

func (p *page) line(format string, args ...any) {
	fmt.Fprintf(&p.b, strings.TrimRight(format, " ")+"\n", args...)
}

// section begins a part of the page.
func (p *page) section(format string, args ...any) { p.line("\n"+format, args...) }

// text writes words in lines that begin with indent; the first begins with
// first, which is as long.
func (p *page) text(first, indent, words string) {
	line, empty := first, true
	for _, w := range strings.Fields(words) {
		if !empty && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(w) > width {
			p.b.WriteString(strings.TrimRight(line, " ") + "\n")
			line, empty = indent, true
		}
		if !empty {
			line += " "
		}
		line, empty = line+w, false
	}
	if !empty {
		p.b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
}

// column is where the values of a list of facts begin.
const column = 12

// fact writes a name and a value, if there is one.
func (p *page) fact(name, value string) {
	if value != "" {
		p.text(fmt.Sprintf("%-*s", column, name), strings.Repeat(" ", column), value)
	}
}

// list joins items with commas, as many as the limit allows.
func list(items []string, limit int) string {
	if len(items) <= limit {
		return strings.Join(items, ", ")
	}
	return fmt.Sprintf("%s, … and %d more", strings.Join(items[:limit], ", "), len(items)-limit)
}

// size is a number of bytes with a unit.
func size(n uint64) string {
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

// uptime is a number of seconds in words.
func uptime(s int64) string {
	d, h, m := s/86400, s/3600%24, s/60%60
	switch {
	case d > 0:
		return fmt.Sprintf("%d d %d h %d min", d, h, m)
	case h > 0:
		return fmt.Sprintf("%d h %d min", h, m)
	case m > 0:
		return fmt.Sprintf("%d min %d s", m, s%60)
	}
	return fmt.Sprintf("%d s", s)
}
