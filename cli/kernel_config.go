package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"

	"procdump/kernel/settings"
)

// configVerb is the word after kernel that shows and changes the settings.
const configVerb = "config"

const configWords = kernelVerb + " " + configVerb

const configSynopsis = "procdump kernel config [KEY | KEY=VALUE ...] [-json]"

// configParagraphs explain the verb, in the help and in the manual.
var configParagraphs = []string{
	"procdump kernel config shows the settings of dumps at a crash, in " + settings.File + ": all of them with their meanings, or the " +
		"values of the KEYs given. KEY=VALUE changes a setting, which needs root; procdump kernel arm has it take effect. " +
		"The names and numbers of Windows' CrashControl are understood: CrashDumpEnabled=1 FilterPages=1 is kind=active.",
}

var configExamples = []term{
	{"procdump kernel config", "all settings, and what they mean"},
	{"procdump kernel config kind=active keep=true", "changes two"},
	{"procdump kernel config CrashDumpEnabled=2", "the same names as on Windows: kind=kernel"},
}

// configHelp returns the text of procdump kernel config -?.
func configHelp() string {
	var b strings.Builder
	fmt.Fprintf(&b, "procdump %s - shows and changes the settings of dumps at a crash\n\n", Version)
	b.WriteString("Usage: " + configSynopsis + "\n")
	helpParagraphs(&b, configParagraphs)
	b.WriteString("\nKeys\n")
	for _, k := range settings.Keys() {
		helpLine(&b, k.Name, k.Values)
	}
	b.WriteString("\nSwitches\n")
	switchLines(&b, configSwitches)
	exampleLines(&b, configExamples)
	return b.String()
}

// config adds the settings to the section on dumps of the kernel.
func (m *manPage) config() {
	m.more(configParagraphs)
	for _, k := range settings.Keys() {
		text := k.Meaning + ". Values: " + k.Values + ". Default: " + k.Text(settings.Default()) + "."
		if len(k.Windows) > 0 {
			text += " Windows: " + strings.Join(k.Windows, ", ") + "."
		}
		m.term(k.Name, text)
	}
	m.terms(configExamples)
}

// configOptions is a command line of the verb.
type configOptions struct {
	Help, JSON bool
	Show       []string // keys
	Set        []string // KEY=VALUE
}

var configSwitches = []verbSwitch[configOptions]{
	{name: "json", help: "print JSON events instead of lines", set: func(o *configOptions, _ string) error { o.JSON = true; return nil }},
	verbHelp[configOptions](),
}

// parseConfig reads a command line after the verb. Its error is a *UsageError.
func parseConfig(args []string) (*configOptions, error) {
	o := &configOptions{}
	line, err := parseVerb(configWords, configSwitches, args, o)
	if err != nil {
		return nil, err
	}
	if line.help() {
		return &configOptions{Help: true}, nil
	}
	for _, word := range line.words {
		switch {
		case word == "":
			return nil, usagef("", "write KEY or KEY=VALUE", "a word is empty")
		case strings.Contains(word, "="):
			o.Set = append(o.Set, word)
		default:
			o.Show = append(o.Show, word)
		}
	}
	if len(o.Show) > 0 && len(o.Set) > 0 {
		return nil, usagef("", "change settings first, then look at them", "%s is to be shown, and %s to be changed", o.Show[0], o.Set[0])
	}
	return o, nil
}

// configMain runs procdump kernel config with the arguments after the verb.
func configMain(args []string, out, errOut *os.File) int {
	o, err := parseConfig(args)
	if err != nil {
		return verbUsage(configWords, err, errOut)
	}
	if o.Help {
		return printText(out, configHelp())
	}
	v := verbRun{verb: configWords, args: args, json: o.JSON, out: out, errOut: errOut, exit: configExit}
	return v.run(func(_ context.Context, console *Console) error {
		c := &config{options: o, console: console, file: settings.File, loaded: crashKernelLoaded}
		return c.run()
	})
}

// configExit is the exit code for an error: what is wrong on the command line
// is a matter of usage, what is wrong in the file is not.
func configExit(err error) int {
	var wrong *settings.Error
	if errors.As(err, &wrong) && wrong.File == "" {
		return ExitUsage
	}
	return exitCode(err)
}

// crashKernelLoaded tells whether a crash kernel is loaded.
func crashKernelLoaded() bool {
	b, err := os.ReadFile("/sys/kernel/kexec_crash_loaded")
	return err == nil && strings.TrimSpace(string(b)) == "1"
}

// config is one run of the verb.
type config struct {
	options *configOptions
	console *Console
	file    string
	loaded  func() bool
}

func (c *config) run() error {
	if runtime.GOOS != "linux" {
		return fmt.Errorf("settings of dumps at a crash: %w here: on Windows they are in \"Startup and Recovery\"", errors.ErrUnsupported)
	}
	old, err := settings.Load(c.file)
	if err != nil {
		return err
	}
	if len(c.options.Set) == 0 {
		return c.show(old)
	}
	set := old
	if err := set.SetAll(c.options.Set); err != nil {
		return err
	}
	if err := set.Save(c.file); err != nil {
		if errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("%w; run procdump as root", err)
		}
		return err
	}
	return c.changed(old, set)
}

// kernelSettingsEvent tells the settings.
type kernelSettingsEvent struct {
	eventHead
	File     string         `json:"file"`
	Saved    bool           `json:"saved"`
	Settings []settingValue `json:"settings"`
}

// settingValue is a setting for programs.
type settingValue struct {
	Name    string   `json:"name"`
	Value   any      `json:"value"`
	Default any      `json:"default"`
	Values  string   `json:"values"`
	Meaning string   `json:"meaning"`
	Windows []string `json:"windows"`
}

func (c *config) event(s settings.Settings, saved bool, only func(settings.Key) bool) {
	e := &kernelSettingsEvent{c.console.head("kernelSettings"), c.file, saved, []settingValue{}}
	for _, k := range settings.Keys() {
		if only(k) {
			e.Settings = append(e.Settings, settingValue{k.Name, k.Value(s), k.Value(settings.Default()), k.Values, k.Meaning, nonNil(k.Windows)})
		}
	}
	c.console.event(e)
}

// show prints settings: all of them, or the values of some. One that is asked
// for by Windows' name is told as Windows has it.
func (c *config) show(s settings.Settings) error {
	o := c.options
	if len(o.Show) == 0 {
		if o.JSON {
			c.event(s, false, func(settings.Key) bool { return true })
			return nil
		}
		c.console.print(c.console.config.Out, configText(s, c.file))
		return nil
	}
	names, lines := map[string]bool{}, ""
	for _, name := range o.Show {
		keys, err := settings.KeysOf(name)
		if err != nil {
			return err
		}
		value, err := s.Get(name)
		if err != nil {
			return err
		}
		for _, k := range keys {
			names[k] = true
		}
		if len(o.Show) > 1 {
			value = name + " = " + value
		}
		lines += oneLine(value) + "\n"
	}
	if o.JSON {
		c.event(s, false, func(k settings.Key) bool { return names[k.Name] })
		return nil
	}
	c.console.print(c.console.config.Out, lines)
	return nil
}

// configText lists all settings.
func configText(s settings.Settings, file string) string {
	var b strings.Builder
	where := file
	if _, err := os.Lstat(file); errors.Is(err, fs.ErrNotExist) {
		where += ", which is not there: all have their defaults"
	}
	b.WriteString(wrap("Settings of dumps at a crash, in "+oneLine(where)+".", 0))
	for _, k := range settings.Keys() {
		fmt.Fprintf(&b, "\n%s = %s\n", k.Name, oneLine(k.Text(s)))
		text := k.Meaning + ". Values: " + k.Values + ". Default: " + k.Text(settings.Default()) + "."
		if len(k.Windows) > 0 {
			text += " Windows: " + strings.Join(k.Windows, ", ") + "."
		}
		const indent = 4
		b.WriteString(wrap(strings.Repeat(" ", indent)+text, indent))
	}
	return b.String()
}

// changed tells what has been changed, and what has to be done about it.
func (c *config) changed(old, s settings.Settings) error {
	differs := func(k settings.Key) bool { return k.Text(s) != k.Text(old) }
	if c.options.JSON {
		c.event(s, true, differs)
	} else {
		text := ""
		for _, k := range settings.Keys() {
			if differs(k) {
				text += fmt.Sprintf("%s = %s, was %s\n", k.Name, oneLine(k.Text(s)), oneLine(k.Text(old)))
			}
		}
		if text == "" {
			text = "nothing has changed: the settings are so already\n"
		}
		c.console.print(c.console.config.Out, text)
	}
	if s == old || !c.loaded() {
		return nil
	}
	verb := armVerb
	if s.Kind == settings.None {
		verb = disarmVerb
	}
	text := "The crash kernel that is loaded goes by the old settings until procdump kernel " + verb + " is run."
	if c.options.JSON {
		c.console.Note("%s", text)
	} else {
		c.console.print(c.console.config.Out, text+"\n")
	}
	return nil
}
