package cli

import (
	"path/filepath"
	"strings"

	"procdump/kernel/settings"
)

// armOptions is a command line of procdump kernel arm, disarm or status.
type armOptions struct {
	Help    bool
	JSON    bool
	Kind    string // "" if not given
	To      string // absolute, "" if not given
	Replace bool
	Test    bool
	Boot    bool
}

// armSwitch is a switch of one of these verbs.
type armSwitch struct {
	name, also string
	value      string // what follows it; "" if nothing does
	help       string // one line, no full stop; "" is not shown
	set        func(o *armOptions, value string) error
}

var (
	armJSON = armSwitch{name: "json", help: "print JSON events instead of lines",
		set: func(o *armOptions, _ string) error { o.JSON = true; return nil }}
	armHelpSwitch = armSwitch{name: "?", also: "help", help: "print this help",
		set: func(o *armOptions, _ string) error { o.Help = true; return nil }}
)

// armSwitches are those of procdump kernel arm.
var armSwitches = []armSwitch{
	{name: "type", value: "KIND", help: "what a dump at a crash holds; it is saved as a setting",
		set: func(o *armOptions, v string) error { o.Kind = v; return nil }},
	{name: "to", value: "PLACE", help: "the folder or block device that it goes to; saved, too", set: setTo},
	{name: "o", help: "replace another program's crash kernel, and what a device holds",
		set: func(o *armOptions, _ string) error { o.Replace = true; return nil }},
	{name: "test", help: "crash the machine, after a confirmation",
		set: func(o *armOptions, _ string) error { o.Test = true; return nil }},
	// For the unit: at boot, the last crash is dealt with first.
	{name: "boot", set: func(o *armOptions, _ string) error { o.Boot = true; return nil }},
	armJSON, armHelpSwitch,
}

var disarmSwitches = []armSwitch{
	{name: "o", help: "unload the crash kernel, even if it is another program's",
		set: func(o *armOptions, _ string) error { o.Replace = true; return nil }},
	armJSON, armHelpSwitch,
}

var statusSwitches = []armSwitch{armJSON, armHelpSwitch}

func setTo(o *armOptions, v string) error {
	if v == "" {
		return usagef("-to", "give a folder or a block device", "it is empty")
	}
	to, err := filepath.Abs(v)
	o.To = to
	return err
}

// parseArm reads a command line after the verb. Its error is a *UsageError.
func parseArm(verb string, switches []armSwitch, args []string) (*armOptions, error) {
	o := &armOptions{}
	given := map[string]bool{}
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		s := findArmSwitch(switches, arg)
		if s == nil {
			return nil, usagef(arg, "procdump kernel "+verb+" -? lists them", "not a switch of procdump kernel %s", verb)
		}
		name, value := "-"+s.name, ""
		if s.value != "" {
			if len(args) == 0 {
				return nil, usagef(name, "type "+name+" "+s.value, "missing %s", s.value)
			}
			value, args = args[0], args[1:]
		}
		if given[s.name] && s.value != "" {
			return nil, usagef(name, "give it once", "given twice")
		}
		given[s.name] = true
		if err := s.set(o, value); err != nil {
			if usage, ok := err.(*UsageError); ok {
				return nil, usage
			}
			return nil, usagef(name, "", "%v", err)
		}
		if o.Help {
			return &armOptions{Help: true}, nil
		}
	}
	if o.Boot && (o.Test || o.Kind != "" || o.To != "") {
		return nil, usagef("-boot", "leave it out", "it is for the start of the machine, and goes by the settings alone")
	}
	return o, nil
}

// findArmSwitch returns the switch that is spelled so, or nil.
func findArmSwitch(switches []armSwitch, arg string) *armSwitch {
	if len(arg) < 2 || arg[0] != '-' && arg[0] != '/' {
		return nil
	}
	name := strings.ToLower(strings.TrimPrefix(arg[1:], "-"))
	for i := range switches {
		if s := &switches[i]; name == s.name || s.also != "" && name == s.also {
			return s
		}
	}
	return nil
}

// apply changes the settings as the command line has it, and tells whether it
// does. A folder for small dumps that is in that of the others stays there.
func (o *armOptions) apply(s *settings.Settings) (bool, error) {
	var words []string
	if o.Kind != "" {
		words = append(words, "kind="+o.Kind)
	}
	if o.To != "" {
		words = append(words, "folder="+o.To)
		if in, err := filepath.Rel(s.Folder, s.SmallFolder); err == nil && filepath.IsLocal(in) && !s.Raw() && !(settings.Settings{Folder: o.To}).Raw() {
			words = append(words, "small_folder="+filepath.Join(o.To, in))
		}
	}
	before := *s
	if err := s.SetAll(words); err != nil {
		return false, err
	}
	return *s != before, nil
}
