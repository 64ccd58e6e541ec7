package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"procdump/internal/sys/kexec"
	"procdump/kernel/arm"
	"procdump/kernel/settings"
	"procdump/kernel/space"
)

const (
	armVerb    = "arm"
	disarmVerb = "disarm"
	statusVerb = "status"
)

// armMain runs procdump kernel arm with the arguments after the verb.
func armMain(args []string, out, errOut *os.File) int {
	return armVerbMain(armVerb, armSwitches, args, out, errOut, func(ctx context.Context, o *armOptions, c *Console) error {
		sys, err := arm.New()
		if err != nil {
			return err
		}
		a := &arming{o: o, console: c, system: sys, settingsFile: settings.File, manager: space.New, in: os.Stdin}
		if o.Boot {
			return a.boot(ctx)
		}
		return a.run(ctx)
	})
}

// armVerbMain runs one of the verbs about the crash kernel.
func armVerbMain(verb string, switches []verbSwitch[armOptions], args []string, out, errOut *os.File, run func(context.Context, *armOptions, *Console) error) int {
	words := kernelVerb + " " + verb
	o, err := parseArm(verb, switches, args)
	if err != nil {
		return verbUsage(words, err, errOut)
	}
	if o.Help {
		return printText(out, armHelp())
	}
	v := verbRun{verb: words, args: args, json: o.JSON, out: out, errOut: errOut, exit: armExit}
	return v.run(func(ctx context.Context, c *Console) error { return run(ctx, o, c) })
}

// armExit is the exit code for an error of these verbs.
func armExit(err error) int {
	for _, e := range []error{arm.ErrNotRoot, arm.ErrUntrusted, kexec.ErrRefused, kexec.ErrSignature} {
		if errors.Is(err, e) {
			return ExitPermission
		}
	}
	return configExit(err)
}

// arming is one run of procdump kernel arm.
type arming struct {
	o            *armOptions
	console      *Console
	system       *arm.System
	settingsFile string
	manager      func(settings.Settings) *space.Manager
	in           io.Reader // of the confirmation
}

// boot is what the unit does when the machine starts.
func (a *arming) boot(ctx context.Context) error {
	set, err := settings.Load(a.settingsFile)
	if err != nil {
		return err
	}
	// The last crash is told even where the next cannot be dumped, unless the
	// settings are damaged: they say where its dump is.
	report, err := a.manager(set).AfterBoot()
	if err != nil {
		a.console.Warning(err.Error())
	} else {
		for _, w := range report.Warnings {
			a.console.Warning(w)
		}
		if report.Outcome != nil {
			a.console.Note("%s", report.Outcome.Event())
		}
	}
	if set.Kind == settings.None {
		a.console.Note("kind is none: a crash is not dumped.")
		// This gives back what was set aside for another kind.
		r, err := a.manager(set).Reserve(ctx)
		if err != nil {
			return err
		}
		for _, w := range r.Warnings {
			a.console.Warning(w)
		}
		return nil
	}
	return a.load(ctx, set, nil)
}

// run is what a person asks for.
func (a *arming) run(ctx context.Context) error {
	set, err := settings.Load(a.settingsFile)
	if err != nil {
		return err
	}
	changed, err := a.o.apply(&set)
	if err != nil {
		return err
	}
	if set.Kind == settings.None {
		return usagef("-type", "procdump kernel arm -type automatic", "kind is none: nothing would be dumped at a crash")
	}
	err = a.load(ctx, set, func(j *arm.Job) error {
		if a.o.Test {
			if err := a.confirm(ctx, j); err != nil {
				return err
			}
		}
		if changed {
			return set.Save(a.settingsFile)
		}
		return nil
	})
	if err != nil || !a.o.Test {
		return err
	}
	a.console.Note("The kernel crashes now.")
	a.console.Flush()
	return a.system.Crash()
}

// load arms the machine. Ready is called before anything is changed, unless it
// is nil; then the machine is starting.
func (a *arming) load(ctx context.Context, set settings.Settings, ready func(*arm.Job) error) error {
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find procdump: %w", err)
	}
	j, err := a.system.Prepare(arm.Request{Settings: set, Replace: a.o.Replace, Version: Version})
	if err != nil {
		return err
	}
	if ready != nil {
		if err := a.system.CheckProgram(exe); err != nil {
			return err
		}
		if err := ready(j); err != nil {
			return err
		}
	}
	warnings := j.Warnings
	r, err := a.manager(set).Reserve(ctx)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		warnings = append(warnings, fmt.Sprintf("%v; no space is set aside for the dump", err))
		r = &space.Reservation{}
	default:
		warnings = append(warnings, r.Warnings...)
		j.SetReserved(r.File, r.Bytes)
	}
	l, err := j.Load()
	if err != nil {
		// Nothing is loaded any more that could use the space.
		return errors.Join(err, a.manager(set).Release())
	}
	installed := true
	if ready != nil {
		if installed, err = a.install(exe, j); err != nil {
			return err
		}
	}
	a.armed(j, l, r, installed)
	for _, w := range warnings {
		a.console.Warning(w)
	}
	return nil
}

// install has the machine armed at each boot.
func (a *arming) install(exe string, j *arm.Job) (bool, error) {
	installed, err := a.system.InstallUnit(exe, a.o.Replace, j.Folders())
	if err != nil {
		return false, fmt.Errorf("the crash kernel is loaded, but not at the next boot: %w", err)
	}
	if installed {
		a.reloadSystemd()
	}
	return installed, nil
}

// reloadSystemd has systemd read its units.
func (a *arming) reloadSystemd() {
	if b, err := exec.Command("systemctl", "daemon-reload").CombinedOutput(); err != nil {
		a.console.Warning(fmt.Sprintf("systemctl daemon-reload: %v %s", err, strings.TrimSpace(string(b))))
	}
}

// armedEvent says that the machine is armed.
type armedEvent struct {
	eventHead
	Kind          string   `json:"kind"`
	Folder        string   `json:"folder"` // or device
	SmallFolder   string   `json:"smallFolder"`
	Device        string   `json:"device"`
	FSType        string   `json:"fsType"`
	SetAsideBytes int64    `json:"setAsideBytes"`
	Image         string   `json:"image"`
	ImageBytes    int64    `json:"imageBytes"`
	InitrdBytes   int64    `json:"initrdBytes"`
	UnpackedBytes int64    `json:"unpackedBytes"`
	Modules       []string `json:"modules"`
	CommandLine   string   `json:"commandLine"`
	Replaced      string   `json:"replaced"`
	Unit          string   `json:"unit"` // "" if there is none
}

func moduleNames(l *arm.Loaded) []string {
	var names []string
	for _, m := range l.Plan.Modules {
		name, _, _ := strings.Cut(m.File, ".ko")
		names = append(names, name)
	}
	return names
}

// armed tells what has been done.
func (a *arming) armed(j *arm.Job, l *arm.Loaded, r *space.Reservation, installed bool) {
	c, set := a.console, &l.Plan.Settings
	unit := ""
	if installed {
		unit = arm.UnitName
	}
	if c.config.JSON {
		c.event(&armedEvent{c.head("kernelArmed"), string(set.Kind), set.Folder, set.SmallFolder, l.Plan.Target.Device, l.Plan.Target.FSType, r.Bytes,
			l.Image, l.ImageBytes, l.InitrdBytes, l.UnpackedBytes, nonNil(moduleNames(l)), l.CommandLine, j.Replaces, unit})
		return
	}
	c.Note("A crash of this machine is dumped to %s.", j.Place())
	row := func(name, format string, args ...any) { c.Note("  %-10s"+format, append([]any{name}, args...)...) }
	row("kind", "%s", set.Kind)
	row("device", "%s", l.Plan.Target.Device)
	if r.Bytes > 0 {
		row("set aside", "%s for the dump", sizeText(r.Bytes))
	}
	row("loaded", "%s with %s, and an initrd of %s", l.Image, sizeText(l.ImageBytes), sizeText(l.InitrdBytes))
	if names := moduleNames(l); len(names) > 0 {
		row("modules", "%s", strings.Join(names, " "))
	}
	if j.Replaces != "" && j.Replaces != "procdump" {
		row("replaced", "the crash kernel of %s", j.Replaces)
	}
	if installed {
		row("at boot", "%s does this again", unit)
	} else {
		row("at boot", "nothing does this again, as systemd does not run here: have procdump kernel arm -boot run when file systems are mounted")
	}
	if set.Reboot {
		row("then", "the machine starts again")
	} else {
		row("then", "the machine is switched off")
	}
}

// confirm shows what a test does, and has the host's name typed.
func (a *arming) confirm(ctx context.Context, j *arm.Job) error {
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("find the host's name: %w", err)
	}
	set := &j.Plan.Settings
	a.console.Note("procdump kernel arm -test crashes %s, as a real crash does:", host)
	a.console.Note("  - All programs end at once, what they have not saved is lost, and users are cut off.")
	a.console.Note("  - A crash kernel starts and writes a dump of kind %s to %s.", set.Kind, j.Place())
	if set.Reboot {
		a.console.Note("  - The machine starts again. procdump kernel status says then what became of the dump.")
	} else {
		a.console.Note("  - The machine is switched off.")
	}
	a.console.Note("Type the host's name, %s, to crash it:", host)
	a.console.Flush()
	typed := make(chan string, 1)
	go func() { typed <- readLine(a.in) }()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case line := <-typed:
		if strings.TrimSpace(line) != host {
			return usagef("-test", "type "+host+" when asked, or write it to standard input", "not confirmed: nothing was done")
		}
	}
	return nil
}

// readLine reads no further than the end of a line.
func readLine(r io.Reader) string {
	var line []byte
	for b := make([]byte, 1); len(line) < 1024; {
		n, err := r.Read(b)
		if n == 1 && b[0] == '\n' || err != nil {
			break
		}
		line = append(line, b[:n]...)
	}
	return string(line)
}

// disarmedEvent says what procdump kernel disarm did.
type disarmedEvent struct {
	eventHead
	Unloaded bool   `json:"unloaded"`
	Unit     bool   `json:"unitRemoved"`
	Foreign  string `json:"foreign"`
}

// disarmMain runs procdump kernel disarm with the arguments after the verb.
func disarmMain(args []string, out, errOut *os.File) int {
	return armVerbMain(disarmVerb, disarmSwitches, args, out, errOut, func(_ context.Context, o *armOptions, c *Console) error {
		sys, err := arm.New()
		if err != nil {
			return err
		}
		a := &arming{o: o, console: c, system: sys, settingsFile: settings.File, manager: space.New}
		return a.disarm()
	})
}

func (a *arming) disarm() error {
	d, err := a.system.Disarm(a.o.Replace)
	if err != nil {
		return err
	}
	if d.Unit && a.system.Systemd() {
		a.reloadSystemd()
	}
	// What was set aside is of no use any more, whatever the settings are.
	set, err := settings.Load(a.settingsFile)
	if err != nil {
		a.console.Warning(err.Error())
		set = settings.Default()
	}
	if err := a.manager(set).Release(); err != nil {
		a.console.Warning(err.Error())
	}
	c := a.console
	if c.config.JSON {
		c.event(&disarmedEvent{c.head("kernelDisarmed"), d.Unloaded, d.Unit, d.Foreign})
		return nil
	}
	switch {
	case d.Unloaded:
		c.Note("The crash kernel is unloaded: a crash is not dumped.")
	case d.Foreign == "":
		c.Note("No crash kernel was loaded.")
	}
	if d.Unit {
		c.Note("%s is removed: none is loaded at the next boot.", arm.UnitName)
	}
	if d.Foreign != "" {
		c.Note("The crash kernel of %s is loaded and stays; -o unloads it.", d.Foreign)
	}
	return nil
}
