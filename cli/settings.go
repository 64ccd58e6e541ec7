package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"procdump/capture"
	"procdump/internal/signals"
	"procdump/monitor"
)

// settings is the block that says what is watched, in ProcDump's order and
// words; what ProcDump does not have follows its likes. A switch that was not
// given has no line, but for the few that say how far procdump goes.
func (r *run) settings(scope monitor.Scope) []Setting {
	o, rules := r.o, &r.o.Rules
	var out []Setting
	add := func(name, value string) {
		if value != "" {
			out = append(out, Setting{name, value})
		}
	}
	switch {
	case scope.Child != nil:
		add("Process", o.Launch[0]+" (launched)")
	case len(scope.Processes) == 1 && !scope.Follow:
		p := scope.Processes[0]
		add("Process", consoleProcess(p).String())
		add("Process image", p.Exe)
	case scope.Follow:
		add("Process", fmt.Sprintf("every %s, %d now and those to come", o.Target, len(scope.Processes)))
	case scope.Wait:
		add("Process", "the next "+o.Target)
	default:
		add("Process", fmt.Sprintf("%d processes that match %s", len(scope.Processes), o.Target))
	}
	if scope.Tree {
		add("Process tree", "Descendants too")
	}
	of := "% of what it may use"
	if rules.OneCore {
		of = "% of one core"
	}
	add("CPU threshold", bounds(rules.CPU, of))
	var commit []string
	for _, c := range rules.Commit {
		commit = append(commit, sign(c.Below)+" "+c.WrittenAs)
	}
	add("Commit threshold", strings.Join(commit, ", "))
	add("Thread threshold", bounds(rules.Threads, ""))
	add("File threshold", bounds(rules.Files, ""))
	for _, c := range rules.Counters {
		add("Performance counter", c.Name+" "+sign(c.Below)+" "+strconv.FormatFloat(c.Value, 'f', -1, 64))
	}
	if len(rules.CPU)+len(rules.Commit)+len(rules.Threads)+len(rules.Files)+len(rules.Counters) > 0 {
		add("Threshold seconds", strconv.FormatFloat(rules.Hold.Seconds(), 'f', -1, 64))
	}
	if rules.Window {
		add("Hung window check", "Enabled (threads too)")
	}
	add("Hung server check", strings.Join(rules.Endpoints, ", "))
	if rules.Output {
		add("Log output", "Enabled")
	}
	add("Exception monitor", exceptions(rules))
	var names []string
	for _, s := range rules.Signals {
		names = append(names, signals.Name(s))
	}
	add("Signal monitor", strings.Join(names, ", "))
	if len(o.include)+len(o.exclude) > 0 {
		add("Filter", filterText(o))
	}
	if rules.Terminate {
		add("Terminate monitor", "Enabled")
	}
	add("Number of dumps", strconv.Itoa(o.Limits.PerProcess))
	if o.Limits.Total > 0 {
		add("Number in all", strconv.Itoa(o.Limits.Total))
	}
	if o.Limits.Cooldown > 0 {
		add("Cooldown", o.Limits.Cooldown.Round(time.Second).String())
	}
	add("Dump folder", r.mask.Folder())
	if o.Kill {
		add("Kill after dump", "Enabled")
	}
	if o.Clone == CloneAlways {
		text := fmt.Sprintf("Enabled (at most %d)", o.Clones)
		if o.Avoid {
			text += ", or no dump"
		}
		if o.PreCopy {
			add("Pre-copy", "Enabled")
		}
		add("Clone", text)
	}
	if o.Throttle > 0 {
		add("Copy at most", fmt.Sprintf("%s/s", capture.Bytes(o.Throttle)))
	}
	return out
}

func sign(below bool) string {
	if below {
		return "<"
	}
	return ">="
}

func bounds(list []monitor.Bound, unit string) string {
	var out []string
	for _, b := range list {
		out = append(out, sign(b.Below)+" "+strconv.FormatFloat(b.Value, 'f', -1, 64)+unit)
	}
	return strings.Join(out, ", ")
}

func exceptions(r *monitor.Rules) string {
	var out []string
	switch {
	case r.FirstChance:
		out = append(out, "First Chance+Unhandled")
	case r.Unhandled:
		out = append(out, "Unhandled")
	}
	for _, x := range []struct {
		on   bool
		name string
	}{{r.Breakpoints, "breakpoints"}, {r.ThreadStart, "threads created"}, {r.ThreadExit, "threads exited"},
		{r.Mapped, "images mapped"}, {r.Unmapped, "images unmapped"}} {
		if x.on {
			out = append(out, x.name)
		}
	}
	return strings.Join(out, ", ")
}

func filterText(o *Options) string {
	if o.Rules.Filter.ShowOnly() {
		return "Display only"
	}
	var out []string
	if len(o.include) > 0 {
		out = append(out, "include "+strings.Join(o.include, ","))
	}
	if len(o.exclude) > 0 {
		out = append(out, "exclude "+strings.Join(o.exclude, ","))
	}
	return strings.Join(out, "; ")
}
