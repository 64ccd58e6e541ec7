package cli

import (
	"context"
	"fmt"
	"os"
	"strings"

	"procdump/kernel/arm"
	"procdump/kernel/settings"
	"procdump/kernel/space"
)

// statusEvent is how things stand with dumps at a crash.
type statusEvent struct {
	eventHead
	*arm.Status
	Settings settings.Settings `json:"settings"`
	Space    *space.Status     `json:"space"`
}

// statusMain runs procdump kernel status with the arguments after the verb.
func statusMain(args []string, out, errOut *os.File) int {
	return armVerbMain(statusVerb, statusSwitches, args, out, errOut, func(_ context.Context, _ *armOptions, c *Console) error {
		sys, err := arm.New()
		if err != nil {
			return err
		}
		return showStatus(c, sys, settings.File, space.New)
	})
}

func showStatus(c *Console, sys *arm.System, file string, manager func(settings.Settings) *space.Manager) error {
	set, err := settings.Load(file)
	if err != nil {
		return err
	}
	st, err := sys.Status()
	if err != nil {
		return err
	}
	sp := manager(set).Status()
	if c.config.JSON {
		c.event(&statusEvent{c.head("kernelStatus"), st, set, sp})
		return nil
	}
	var b strings.Builder
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-18s%s\n", name, oneLine(fmt.Sprintf(format, args...)))
	}
	armed := "no"
	if st.Armed {
		armed = "yes: a crash is dumped"
	}
	row("Armed", "%s", armed)
	if st.Why != "" {
		row("", "%s", st.Why)
	}
	statusRows(row, st, set)
	for _, l := range sp.Lines() {
		row(l.Name, "%s", l.Value)
	}
	for _, w := range sp.Warnings {
		row("Warning", "%s", w)
	}
	c.print(c.config.Out, b.String())
	return nil
}

// statusRows are those about the settings and the crash kernel.
func statusRows(row func(name, format string, args ...any), st *arm.Status, set settings.Settings) {
	row("Kind", "%s", set.Kind)
	row("To", "%s", set.Folder)
	if l := st.Loaded; l != nil {
		if p := l.Plan.Settings; p.Kind != set.Kind || p.Folder != set.Folder {
			row("", "what is loaded goes by older settings: %s, %s; procdump kernel arm loads it anew", p.Kind, p.Folder)
		}
		t := l.Plan.Target
		if t.FSType != "" {
			row("Device", "%s (%s)", t.Device, t.FSType)
		} else {
			row("Device", "%s", t.Device)
		}
		row("Loaded", "%s, at %s: image %s, initrd %s (%s unpacked), %d modules", l.Image, l.Time.Local().Format("2006-01-02 15:04:05"),
			sizeText(l.ImageBytes), sizeText(l.InitrdBytes), sizeText(l.UnpackedBytes), len(l.Plan.Modules))
	}
	reserved := "none"
	if st.ReservedBytes > 0 {
		reserved = sizeText(st.ReservedBytes)
	}
	row("Reserved memory", "%s (crashkernel=%dM is good for this machine)", reserved, st.AdvisedMiB)
	if st.Lockdown != "" {
		row("Lockdown", "%s", st.Lockdown)
	}
	switch {
	case st.Unit:
		row("At boot", "%s", arm.UnitName)
	case st.Systemd:
		row("At boot", "nothing: %s is not installed; procdump kernel arm does it", arm.UnitName)
	default:
		row("At boot", "nothing that procdump knows of: systemd does not run here")
	}
	if len(st.Others) > 0 {
		row("Also enabled", "%s", strings.Join(st.Others, ", "))
	}
}
