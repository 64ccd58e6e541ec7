package cli

import (
	"slices"
	"strings"
	"time"

	"procdump/dumpkind"
	"procdump/trigger"
)

// Parse reads a command line without the program's name. Its error is a
// *UsageError.
//
// The grammar is ProcDump's. A switch begins with - or /, or with --, and is
// of any case; switches and other words may be mixed; the first other word is
// the target, the second the dump path. A word that begins with / is a switch
// only if the rest of it is the name of a switch, and else a target or a path
// (a file called /ma is written /./ma, or put after --). After -- no word is a
// switch. After -x FOLDER PROGRAM every word is the program's own. Help, the
// version and the manual win over all that follows them.
func Parse(args []string) (*Options, error) {
	p := parser{rest: args, given: map[string]bool{}}
	p.opts.Limits.PerProcess = 1
	p.opts.Rules.Hold = defaultSeconds * time.Second
	p.opts.Rules.Interval = defaultSeconds * time.Second
	if err := p.run(); err != nil {
		return nil, err
	}
	return &p.opts, nil
}

// parser is the state of reading a command line.
type parser struct {
	opts  Options
	rest  []string // what is not read yet
	given map[string]bool
	order []*spec // the switches as given, each once

	target, path *string // the words that are no switches
}

func (p *parser) run() error {
	for len(p.rest) > 0 {
		arg := p.rest[0]
		p.rest = p.rest[1:]
		if arg == "--" {
			break
		}
		s, isSwitch := classify(arg)
		var err *UsageError
		switch {
		case !isSwitch:
			err = p.word(arg)
		case s == nil:
			err = unknown(arg)
		default:
			err = p.take(s)
		}
		if err != nil {
			return err
		}
		switch a := p.opts.Action; a {
		case ActionHelp, ActionVersion, ActionMan:
			p.opts = Options{Action: a}
			return nil
		}
	}
	for _, arg := range p.rest {
		if err := p.word(arg); err != nil {
			return err
		}
	}
	if err := p.finish(); err != nil {
		return err
	}
	return nil
}

// classify tells whether arg has the form of a switch, and which one it is:
// nil if there is none of that name.
func classify(arg string) (s *spec, isSwitch bool) {
	if len(arg) < 2 {
		return nil, false
	}
	switch {
	case arg[0] == '/':
		s = lookup(strings.ToLower(arg[1:]))
		return s, s != nil
	case strings.HasPrefix(arg, "--"):
		return lookup(strings.ToLower(arg[2:])), true
	case arg[0] == '-':
		return lookup(strings.ToLower(arg[1:])), true
	}
	return nil, false
}

// word takes a word that is no switch.
func (p *parser) word(arg string) *UsageError {
	switch {
	case p.target == nil:
		if arg == "" {
			return usagef("", "give a PID, a name or a selector", "the target is empty")
		}
		p.target = &arg
	case p.path == nil:
		if arg == "" {
			return usagef("", "give a file, a folder or nothing", "the dump path is empty")
		}
		if arg == "-" {
			return usagef("", "a file of that name is ./-", "a dump cannot be written to standard output")
		}
		p.path = &arg
	default:
		return usagef("", "give one target and at most one file or folder; quote a name that has spaces",
			"%q is one word too many", arg)
	}
	return nil
}

// take reads the values of s, the switch just found, and applies it.
func (p *parser) take(s *spec) *UsageError {
	if p.given[s.name] && len(s.values) > 0 && !s.repeat {
		return usagef(s.typed(), "give it once", "given twice")
	}
	if !p.given[s.name] {
		p.given[s.name] = true
		p.order = append(p.order, s)
	}
	if have := len(p.rest); have < len(s.values) {
		return usagef(s.typed(), "type "+s.usage(), "missing %s", s.values[have])
	}
	n := len(s.values)
	if s.launch {
		if err := checkLaunch(s, p.rest); err != nil {
			return err
		}
		n = len(p.rest)
	} else if s.optional != "" && p.takesOptional(s.word) {
		n = 1
	}
	values := p.rest[:n]
	p.rest = p.rest[n:]
	if s.set == nil {
		return nil
	}
	return s.set(&p.opts, slices.Clone(values))
}

// checkLaunch refuses values of -x that are none, since the program would be
// launched without the switches that its user gave.
func checkLaunch(s *spec, rest []string) *UsageError {
	for i, what := range s.values {
		if rest[i] == "" {
			return usagef(s.typed(), "", "%s is empty", what)
		}
		if other, _ := classify(rest[i]); other != nil && rest[i][0] == '-' {
			return usagef(s.typed(), "put switches before -x; what follows PROGRAM is the program's own",
				"expected %s, found the switch %s", what, rest[i])
		}
	}
	return nil
}

// takesOptional tells whether the next word is the optional value of the
// switch before it. It has to be a digit, or word, and another word has to be there
// that can be the target: on Linux PIDs are as small as such values are, and
// "-e 1" alone means the process 1.
func (p *parser) takesOptional(word string) bool {
	if len(p.rest) == 0 {
		return false
	}
	digit := len(p.rest[0]) == 1 && p.rest[0][0] >= '0' && p.rest[0][0] <= '9'
	if !digit && (word == "" || !strings.EqualFold(p.rest[0], word)) {
		return false
	}
	if p.target != nil || p.given["x"] {
		return true
	}
	rest := p.rest[1:]
	for len(rest) > 0 {
		arg := rest[0]
		rest = rest[1:]
		if arg == "--" {
			return len(rest) > 0
		}
		s, isSwitch := classify(arg)
		if !isSwitch || s != nil && s.launch {
			return true
		}
		if s != nil {
			rest = rest[min(len(s.values), len(rest)):]
		}
	}
	return false
}

// finish checks the whole and fills in what was not given.
func (p *parser) finish() error {
	for _, check := range []func(*parser) *UsageError{
		checkCancel, checkCounters, checkPairs, checkThrottle, checkInstall, checkUninstall, checkWait, checkLater, checkTarget, checkView64, checkPlatform,
	} {
		if err := check(p); err != nil {
			return err
		}
	}
	o := &p.opts
	if p.target != nil {
		o.Target = *p.target
	}
	if o.Action != ActionDump && o.Action != ActionInstall {
		return nil
	}
	o.Rules.Filter = trigger.ParseFilter(o.include, o.exclude)
	if n := len(o.Rules.Commit); n > 1 && !p.given["n"] {
		o.Limits.PerProcess = n // one for each
	}
	if p.path != nil {
		o.Path = *p.path
	}
	if len(o.Kinds) == 0 {
		o.addKind(dumpkind.Mini)
	}
	return nil
}
