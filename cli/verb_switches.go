package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"procdump/internal/sys/fsys"
)

// verbSwitch is a switch of a verb whose options are an O.
type verbSwitch[O any] struct {
	name, also string
	value      string // what follows it; "" if nothing does
	help       string // one line, no full stop; "" is not shown
	set        func(o *O, value string) error
}

// helpSwitch is the name of the switch that prints the help.
const helpSwitch = "?"

// verbHelp is that switch. It ends the reading of a command line.
func verbHelp[O any]() verbSwitch[O] {
	return verbSwitch[O]{name: helpSwitch, also: "help", help: "print this help", set: func(*O, string) error { return nil }}
}

// verbLine is what parseVerb reads: which switches are given, and the words that
// are none.
type verbLine struct {
	given map[string]bool
	words []string
}

// help tells whether the help is asked for, and nothing else counts.
func (l verbLine) help() bool { return l.given[helpSwitch] }

// parseVerb reads a command line behind a verb into o. Switches are spelled as
// those of process dumps are: with - or /, in any case. Its error is a
// *UsageError.
func parseVerb[O any](verb string, switches []verbSwitch[O], args []string, o *O) (verbLine, error) {
	l := verbLine{given: map[string]bool{}}
	for only := false; len(args) > 0; {
		arg := args[0]
		args = args[1:]
		if arg == "--" && !only {
			only = true
			continue
		}
		s, isSwitch := findSwitch(switches, arg)
		if only || !isSwitch {
			l.words = append(l.words, arg)
			continue
		}
		if s == nil {
			return l, usagef(arg, "procdump "+verb+" -? lists the switches", "unknown switch")
		}
		name, value := "-"+s.name, ""
		if s.value != "" {
			if l.given[s.name] {
				return l, usagef(name, "give it once", "given twice")
			}
			if len(args) == 0 {
				return l, usagef(name, "type "+name+" "+s.value, "missing %s", s.value)
			}
			value, args = args[0], args[1:]
		}
		l.given[s.name] = true
		if err := s.set(o, value); err != nil {
			var usage *UsageError
			if errors.As(err, &usage) {
				return l, usage
			}
			return l, usagef(name, "", "%v", err)
		}
		if l.help() {
			break
		}
	}
	return l, nil
}

// findSwitch tells whether arg has the form of a switch, and which one it is:
// nil if there is none of that name. What begins with / and is none is a path.
func findSwitch[O any](switches []verbSwitch[O], arg string) (s *verbSwitch[O], isSwitch bool) {
	if len(arg) < 2 || arg[0] != '-' && arg[0] != '/' {
		return nil, false
	}
	name := strings.ToLower(arg[1:])
	if strings.HasPrefix(arg, "--") {
		name = strings.ToLower(arg[2:])
	}
	for i := range switches {
		if k := &switches[i]; name == k.name || k.also != "" && name == k.also {
			return k, true
		}
	}
	return nil, arg[0] == '-'
}

// switchLines adds the switches to a help text.
func switchLines[O any](b *strings.Builder, switches []verbSwitch[O]) {
	for _, s := range switches {
		if s.help != "" {
			helpLine(b, strings.TrimSpace("-"+s.name+" "+s.value), s.help)
		}
	}
}

// exampleLines adds examples to a help text.
func exampleLines(b *strings.Builder, examples []term) {
	b.WriteString("\nExamples\n")
	for _, e := range examples {
		fmt.Fprintf(b, "  %s\n      %s\n", e.name, e.meaning)
	}
}

// manSwitches adds the switches of a verb to the manual page.
func manSwitches[O any](m *manPage, verb string, switches []verbSwitch[O]) {
	m.line(".PP")
	m.text("The switches of procdump " + verb + " are these:")
	for _, s := range switches {
		if s.help != "" {
			m.line(".TP")
			m.line("%s", manUsage(&spec{name: s.name, values: strings.Fields(s.value)}))
			m.text(capital(s.help) + ".")
		}
	}
}

// verbUsage prints what is wrong with a command line.
func verbUsage(verb string, err error, errOut *os.File) int {
	fmt.Fprintf(errOut, "procdump: %v\nprocdump %s -? explains all switches.\n", err, verb)
	return ExitUsage
}

// verbRun is a verb at work.
type verbRun struct {
	verb   string // "kernel arm"
	args   []string
	json   bool
	title  string // what it does, for the first line; "" if there is none
	dumps  int    // that are written where all goes well
	out    *os.File
	errOut *os.File
	exit   func(error) int
}

// run performs it and returns procdump's exit code. The end is told where a dump
// is written, and as an event.
func (v *verbRun) run(perform func(context.Context, *Console) error) int {
	ctx, stop := untilSignal()
	defer stop()
	console := NewConsole(ConsoleConfig{Out: v.out, Err: v.errOut, JSON: v.json, Width: func() int { return fsys.TerminalWidth(v.errOut) }})
	defer console.Close()
	if v.json {
		console.Start(append(append([]string{"procdump"}, strings.Fields(v.verb)...), v.args...))
	} else if v.title != "" {
		console.print(v.out, "procdump "+Version+" - "+v.title+"\n\n")
	}
	code, dumps := ExitOK, v.dumps
	if err := perform(ctx, console); err != nil {
		code, dumps = v.exit(err), 0
		if !errors.Is(err, errReported) {
			console.Error(err)
		}
	}
	if v.json || v.dumps > 0 {
		console.End(code == ExitOK, dumps, code)
	}
	return code
}
