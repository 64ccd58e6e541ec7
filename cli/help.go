package cli

import (
	"fmt"
	"strings"
)

const (
	helpWidth  = 80
	helpColumn = 18 // where the meanings begin
)

// Help returns the text of -?.
func Help() string {
	var b strings.Builder
	fmt.Fprintf(&b, "procdump %s - writes dumps of running processes for gdb, lldb and others\n\n", Version)
	for i, s := range synopses {
		b.WriteString([]string{"Usage: ", "       "}[min(i, 1)] + s + "\n")
	}
	b.WriteString("\nA switch begins with - or / and is of any case; the order of the words is free.\n")
	b.WriteString("\nTARGET\n")
	helpTerms(&b, selectors)
	b.WriteString(wrap("  "+selectorRule, 2))

	for sec := secKind; sec <= secOther; sec++ {
		b.WriteString("\n" + sectionTitles[sec] + "\n")
		for i := range switches {
			if s := &switches[i]; s.section == sec && !s.later {
				helpLine(&b, s.label(), s.help)
			}
		}
	}
	b.WriteString("\nWords in the name of FILE stand for facts of the dump\n")
	helpTerms(&b, nameWords)
	b.WriteString(wrap("  "+defaultNameRule, 2))

	b.WriteString("\nExit codes\n")
	for _, e := range exitCodes {
		helpLine(&b, fmt.Sprint(e.code), e.meaning)
	}
	b.WriteString("\n" + wrap("Not available yet: "+strings.Join(laterNames(), " "), 2))
	b.WriteString("\nExamples\n")
	for _, e := range examples {
		fmt.Fprintf(&b, "  %-36s %s\n", e.name, e.meaning)
	}
	return b.String()
}

func helpTerms(b *strings.Builder, terms []term) {
	for _, t := range terms {
		helpLine(b, t.name, t.meaning)
	}
}

// helpParagraphs adds paragraphs with an empty line before each.
func helpParagraphs(b *strings.Builder, paragraphs []string) {
	for _, p := range paragraphs {
		b.WriteString("\n" + wrap(p, 0))
	}
}

func helpLine(b *strings.Builder, label, meaning string) {
	fmt.Fprintf(b, "  %-*s%s\n", helpColumn-2, label, meaning)
}

// label is the switch with its values as the help's left column has room for it.
func (s *spec) label() string {
	if u := s.usage(); len(u) <= helpColumn-4 {
		return u
	}
	return s.typed() + " " + s.values[0] + " ..."
}

// laterNames are the switches that are not available yet.
func laterNames() []string {
	var names []string
	for i := range switches {
		if switches[i].later {
			names = append(names, switches[i].typed())
		}
	}
	return names
}

// wrap breaks text at spaces into lines of helpWidth, those after the first
// one indented.
func wrap(text string, indent int) string {
	var b strings.Builder
	lead := len(text) - len(strings.TrimLeft(text, " "))
	line := strings.Repeat(" ", lead)
	empty := true
	for word := range strings.FieldsSeq(text) {
		if !empty && len(line)+1+len(word) > helpWidth {
			b.WriteString(line + "\n")
			line, empty = strings.Repeat(" ", indent), true
		}
		if !empty {
			line += " "
		}
		line += word
		empty = false
	}
	return b.String() + line + "\n"
}
