package cli

import (
	"fmt"
	"strings"
)

// manDate is the date of the manual page; it is a fact of the text, not of the build.
const manDate = "2026-11-22"

// manWidth is the longest line of source that mandoc -Tlint has nothing to say about.
const manWidth = 80

// Man returns the manual page as roff source for man(7), as docs/procdump.1 has it.
func Man() string {
	m := new(manPage)
	m.line(`.\" Made by "procdump --man"; do not edit.`)
	m.line(`.TH PROCDUMP 1 %s "procdump %s" "User Commands"`, manDate, Version)
	m.section("NAME", `procdump \- write dumps of running processes`)
	m.line(".SH SYNOPSIS")
	for i, s := range synopses {
		if i > 0 {
			m.line(".br")
		}
		m.text(s)
	}
	m.paragraphs("DESCRIPTION", []string{
		"procdump writes the memory and the state of every thread of a running process into a file that debuggers open, " +
			"and lets the process go on. Its command line is that of ProcDump of the Sysinternals tools.",
	})
	m.more(grammarParagraphs)
	m.line(".SH TARGET")
	m.terms(selectors)
	m.line(".PP")
	m.text(selectorRule)
	m.line(".PP")
	m.text("Where several processes match, procdump lists them and ends with exit code 3, unless -all is given.")
	m.options()
	m.paragraphs("FILE NAMES", fileParagraphs[:2])
	m.terms(nameWords)
	m.line(".PP")
	m.text(defaultNameRule)
	m.more(fileParagraphs[2:])
	m.kernel()
	m.inspect()
	m.diff()
	m.convert()
	m.paragraphs("PERMISSIONS", permissionParagraphs)
	m.line(".SH EXIT STATUS")
	for _, e := range exitCodes {
		m.term(fmt.Sprint(e.code), e.meaning+".")
	}
	m.line(".SH EXAMPLES")
	for _, e := range examples {
		m.term(e.name, e.meaning+".")
	}
	m.section("SEE ALSO", `.BR gdb (1),`, `.BR lldb (1),`, `.BR zstd (1),`, `.BR crash (8),`, `.BR ptrace (2),`, `.BR core (5)`)
	return m.b.String()
}

// manPage collects roff source.
type manPage struct{ b strings.Builder }

// line adds a line of roff.
func (m *manPage) line(format string, args ...any) {
	fmt.Fprintf(&m.b, format+"\n", args...)
}

// text adds plain text: a line for each sentence, as roff wants it, and more
// where a sentence is longer than manWidth.
func (m *manPage) text(s string) {
	for sentence := range strings.SplitAfterSeq(s, ". ") {
		line := ""
		for word := range strings.FieldsSeq(roff(sentence)) {
			if line != "" && len(line)+1+len(word) > manWidth {
				m.textLine(line)
				line = ""
			}
			line = strings.TrimPrefix(line+" "+word, " ")
		}
		m.textLine(line)
	}
}

// textLine adds a line of escaped text that roff must not take for a request.
func (m *manPage) textLine(line string) {
	if strings.HasPrefix(line, ".") {
		line = `\&` + line
	}
	m.line("%s", line)
}

func (m *manPage) section(title string, lines ...string) {
	m.line(".SH %s", title)
	for _, l := range lines {
		m.line("%s", l)
	}
}

func (m *manPage) paragraphs(title string, paragraphs []string) {
	m.line(".SH %s", title)
	m.text(paragraphs[0])
	m.more(paragraphs[1:])
}

func (m *manPage) more(paragraphs []string) {
	for _, p := range paragraphs {
		m.line(".PP")
		m.text(p)
	}
}

func (m *manPage) term(name, meaning string) {
	m.line(".TP")
	m.line(`\fB%s\fR`, roff(name))
	m.text(capital(meaning))
}

func (m *manPage) terms(terms []term) {
	for _, t := range terms {
		m.term(t.name, t.meaning+".")
	}
}

func (m *manPage) options() {
	m.line(".SH OPTIONS")
	for sec := secKind; sec <= secOther; sec++ {
		m.line(".SS %s", roff(sectionTitles[sec]))
		for i := range switches {
			s := &switches[i]
			if s.section != sec || s.later {
				continue
			}
			m.line(".TP")
			m.line("%s", manUsage(s))
			m.text(capital(s.help) + ".")
			if s.more != "" {
				m.text(s.more)
			}
		}
	}
	m.line(".SS Not available yet")
	m.text(strings.Join(laterNames(), " "))
}

// manUsage is a switch with its values, the switch bold and the values italic.
func manUsage(s *spec) string {
	u := `\fB` + roff(s.typed()) + `\fR`
	for _, v := range strings.Fields(strings.TrimPrefix(s.usage(), s.typed())) {
		u += ` \fI` + roff(v) + `\fR`
	}
	return u
}

var roffEscapes = strings.NewReplacer(`\`, `\e`, `-`, `\-`, `'`, `\(aq`, `^`, `\(ha`, `~`, `\(ti`, "`", `\(ga`)

// roff escapes plain text. At the start of a line textLine has to do more.
func roff(s string) string { return roffEscapes.Replace(s) }

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
