package cli

import (
	"path/filepath"

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

// armJSON is a switch of all of them.
var armJSON = verbSwitch[armOptions]{name: "json", help: "print JSON events instead of lines",
	set: func(o *armOptions, _ string) error { o.JSON = true; return nil }}

// armSwitches are those of procdump kernel arm.
var armSwitches = []verbSwitch[armOptions]{
	{name: "type", value: "KIND", help: "what a dump at a crash holds; it is saved as a setting",
		set: func(o *armOptions, v string) error { o.Kind = v; return nil }},
	{name: "to", value: "PLACE", help: "the folder or block device that it goes to; saved, too", set: setTo},
	{name: "o", help: "replace another program's crash kernel, and what a device holds",
		set: func(o *armOptions, _ string) error { o.Replace = true; return nil }},
	{name: "test", help: "crash the machine, after a confirmation",
		set: func(o *armOptions, _ string) error { o.Test = true; return nil }},
	// For the unit: at boot, the last crash is dealt with first.
	{name: "boot", set: func(o *armOptions, _ string) error { o.Boot = true; return nil }},
	armJSON, verbHelp[armOptions](),
}

var disarmSwitches = []verbSwitch[armOptions]{
	{name: "o", help: "unload the crash kernel, even if it is another program's",
		set: func(o *armOptions, _ string) error { o.Replace = true; return nil }},
	armJSON, verbHelp[armOptions](),
}

var statusSwitches = []verbSwitch[armOptions]{armJSON, verbHelp[armOptions]()}

func setTo(o *armOptions, v string) error {
	if v == "" {
		return usagef("-to", "give a folder or a block device", "it is empty")
	}
	to, err := filepath.Abs(v)
	o.To = to
	return err
}

// parseArm reads a command line after the verb, arm or another. Its error is a
// *UsageError.
func parseArm(verb string, switches []verbSwitch[armOptions], args []string) (*armOptions, error) {
	o := &armOptions{}
	verb = kernelVerb + " " + verb
	line, err := parseVerb(verb, switches, args, o)
	if err != nil {
		return nil, err
	}
	if line.help() {
		return &armOptions{Help: true}, nil
	}
	if len(line.words) > 0 {
		return nil, usagef("", "leave it out", "%q is no switch, and procdump %s takes nothing else", line.words[0], verb)
	}
	if o.Boot && (o.Test || o.Kind != "" || o.To != "") {
		return nil, usagef("-boot", "leave it out", "it is for the start of the machine, and goes by the settings alone")
	}
	return o, nil
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
