package cli

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"procdump/inspect/diff"
	"procdump/render"
)

// diffVerb says what changed between two looks at a process.
const diffVerb = "diff"

// diffOptions is a command line of the verb diff.
type diffOptions struct {
	inspectOptions        // In is the first look
	Second         string // the other one
}

var diffSynopsis = "procdump diff [SWITCHES] A B [OUT]"

var diffSwitches = []verbSwitch[diffOptions]{
	ofInspect("json"), ofInspect("o"), ofInspect("sysroot"), ofInspect("sympath"), verbHelp[diffOptions](),
}

// ofInspect makes a switch of the verb inspect one of diff.
func ofInspect(name string) verbSwitch[diffOptions] {
	s := inspectSwitches[slices.IndexFunc(inspectSwitches, func(s verbSwitch[inspectOptions]) bool { return s.name == name })]
	return verbSwitch[diffOptions]{name: s.name, value: s.value, help: s.help,
		set: func(o *diffOptions, v string) error { return s.set(&o.inspectOptions, v) }}
}

var diffParagraphs = []string{
	"procdump diff says what grew between two looks at a process: memory by kind and by name, threads that were born and ended, stacks " +
		"that more threads stand in, open files. A and B are dumps as for procdump inspect, or PIDs; A is the earlier one. OUT is a file; " +
		"without it the report goes to standard output.",
	"Memory is compared by how much of it is in RAM and in swap, which dumps of procdump say, and else by the size of mappings. Stacks are compared by the names of their " +
		"functions: those of two runs of a program can be compared, too.",
}

var diffExamples = []term{
	{"procdump diff monday.core friday.core", "what a leak is made of"},
	{"procdump diff -json before.core 1234", "what grew since a dump"},
}

// diffHelp returns the text of procdump diff -?.
func diffHelp() string {
	var b strings.Builder
	fmt.Fprintf(&b, "procdump %s - says what grew between two dumps of a process\n\nUsage: %s\n\nSwitches\n", Version, diffSynopsis)
	switchLines(&b, diffSwitches)
	helpParagraphs(&b, diffParagraphs)
	exampleLines(&b, diffExamples)
	return b.String()
}

// diff adds the section on comparing dumps.
func (m *manPage) diff() {
	m.paragraphs("COMPARING DUMPS", diffParagraphs)
	manSwitches(m, diffVerb, diffSwitches)
	m.terms(diffExamples)
}

// parseDiff reads a command line without the program's name and the verb. Its
// error is a *UsageError.
func parseDiff(args []string) (*diffOptions, error) {
	o := &diffOptions{}
	line, err := parseVerb(diffVerb, diffSwitches, args, o)
	if err != nil {
		return nil, err
	}
	if line.help() {
		o.Help = true
		return o, nil
	}
	const form = "type procdump diff A B"
	words := line.words
	switch {
	case len(words) < 2:
		return nil, usagef("", form, "give two dumps, or PIDs, of a process")
	case len(words) > 3:
		return nil, usagef("", form+" and, perhaps, a file for the report", "%q is one word too many", words[3])
	case slices.Contains(words, ""):
		return nil, usagef("", form, "a path is empty")
	case len(words) == 3 && isHTML(words[2]):
		return nil, usagef("", "name a file that does not end in .html", "what grew is told as text or JSON")
	case slices.Contains(words[:2], "-"):
		return nil, usagef("", "put it into a file first", "a dump cannot be read from standard input: its parts are needed in no order")
	}
	o.In, o.Second = words[0], words[1]
	if len(words) == 3 {
		o.Out = words[2]
	}
	return o, nil
}

// diffMain runs procdump diff with the arguments after the verb.
func diffMain(args []string, out, errOut *os.File) int {
	o, err := parseDiff(args)
	if err != nil {
		return verbUsage(diffVerb, err, errOut)
	}
	if o.Help {
		return printText(out, diffHelp())
	}
	if err := diffFiles(o, out); err != nil {
		fmt.Fprintf(errOut, "procdump: %v\n", err)
		return exitCode(err)
	}
	return ExitOK
}

func diffFiles(o *diffOptions, stdout *os.File) error {
	var both [2]*diff.Subject
	for i, in := range []string{o.In, o.Second} {
		s, err := inspectAny(&o.inspectOptions, in)
		if s == nil && err == nil {
			// Whoever opens it says why it cannot be read.
			var f *os.File
			if f, err = openSeekable(in); err == nil {
				f.Close()
				err = fmt.Errorf("it is not the dump of a process: name %s, or the PID of one that runs", processFormats)
			}
		}
		if err != nil {
			return fmt.Errorf("compare %s: %w", in, err)
		}
		both[i] = s
	}
	r := diff.Compare(both[0], both[1])
	write := render.DiffText
	if o.JSON {
		write = render.DiffJSON
	}
	if o.Out != "" && o.Out != "-" {
		// What is written replaces neither; putReport looks at one of them.
		if err := replaceable(o.Second, o.Out); err != nil {
			return err
		}
	}
	return putReport(&o.inspectOptions, stdout, func(w io.Writer) error { return write(w, r) })
}
