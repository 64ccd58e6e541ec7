package cli

import (
	"runtime"
	"strings"

	"procdump/capture"
)

// excluding are switches that cannot be given together.
var excluding = []struct {
	name   string
	others []string
	remedy string
}{
	{"mpx", []string{"mp"}, "give one of them: -mpx is -mp without the largest private area"},
	{"mk", []string{"r", "throttle"}, "a clone has no kernel stacks of the threads"},
	{"x", []string{"all", "w", "pgid"}, "-x launches its target itself"},
	{"pgid", []string{"w"}, "-pgid waits for nothing: it watches the group's processes, those that join it too"},
	{"i", []string{"n", "s", "w", "x", "all", "pt", "pgid", "c", "cl", "m", "ml", "p", "pl", "tc", "fc", "h", "hp", "e", "sig", "l", "t",
		"k", "ntotal", "pf", "cooldown", "live", "counters", "mk", "64", "r", "a", "throttle", "inspect"},
		"a crash is the only trigger of what -i installs"},
}

// needing are switches that mean something only beside one of others.
var needing = []struct {
	name   string
	others []string
}{
	{"a", []string{"r"}},
	{"g", []string{"e"}},
	{"b", []string{"e"}},
	{"ld", []string{"e"}},
	{"ud", []string{"e"}},
	{"ct", []string{"e"}},
	{"et", []string{"e"}},
	{"f", []string{"e", "l", "sig"}},
	{"fx", []string{"e", "l", "sig", "restrack"}},
	{"sr", []string{"restrack"}},
	{"keep", []string{"i"}},
	{"rate", []string{"i"}},
}

func checkPairs(p *parser) *UsageError {
	for _, r := range excluding {
		for _, other := range r.others {
			if p.given[r.name] && p.given[other] {
				return usagef("-"+r.name, r.remedy, "cannot be combined with -%s", other)
			}
		}
	}
	for _, r := range needing {
		if p.given[r.name] && !p.anyGiven(r.others) {
			return usagef("-"+r.name, "", "needs -%s", strings.Join(r.others, " or -"))
		}
	}
	for _, name := range []string{"a", "throttle"} {
		if p.given[name] && p.opts.Clone == CloneNever {
			return usagef("-"+name, "give -r 1", "cannot be combined with -r 0")
		}
	}
	return nil
}

// checkThrottle makes -throttle imply -r, and refuses it where it could pace
// nothing.
func checkThrottle(p *parser) *UsageError {
	if !p.given["throttle"] {
		return nil
	}
	if p.opts.PreCopy {
		return usagef("-throttle", "give -r 1", "cannot be combined with -r live: what is copied while the process runs is not paced")
	}
	if !p.opts.large() {
		return usagef("-throttle", "add -ma, -mp or -mc", "paces large dumps: a small one is copied while the process stands")
	}
	if !p.given["r"] {
		p.opts.Clone, p.opts.Clones = CloneAlways, 1
	}
	return nil
}

func (p *parser) anyGiven(names []string) bool {
	for _, name := range names {
		if p.given[name] {
			return true
		}
	}
	return false
}

// checkCancel refuses everything beside -cancel that it would have to ignore.
func checkCancel(p *parser) *UsageError {
	if !p.given["cancel"] {
		return nil
	}
	for _, s := range p.order {
		switch s.name {
		case "cancel", "json", "accepteula":
		default:
			return usagef("-cancel", "give it alone", "cannot be combined with %s", s.typed())
		}
	}
	if p.target != nil {
		return usagef("-cancel", "give it alone, with one PID", "%q is one word too many", *p.target)
	}
	return nil
}

// checkCounters refuses what -counters would have to ignore.
func checkCounters(p *parser) *UsageError {
	if !p.given["counters"] {
		return nil
	}
	for _, s := range p.order {
		switch s.name {
		case "counters", "json", "accepteula":
		default:
			return usagef("-counters", "give it alone or with a target", "cannot be combined with %s", s.typed())
		}
	}
	if p.path != nil {
		return usagef("-counters", "give it alone or with a target", "%q is one word too many", *p.path)
	}
	return nil
}

// checkInstall makes the first word the folder of -i.
func checkInstall(p *parser) *UsageError {
	if !p.given["i"] {
		return nil
	}
	if p.path != nil {
		return usagef("-i", "give one folder", "%q is one word too many", *p.path)
	}
	p.target, p.path = nil, p.target
	return nil
}

// checkUninstall tells the two meanings of -u apart: of one core beside -c,
// uninstall alone.
func checkUninstall(p *parser) *UsageError {
	if !p.given["u"] || p.given["c"] || p.given["cl"] {
		return nil
	}
	n := len(p.order)
	for _, also := range []string{"o", "json", "accepteula"} {
		if p.given[also] {
			n--
		}
	}
	if n > 1 || p.target != nil {
		return usagef("-u", "to uninstall, give it alone", "needs -c or -cl")
	}
	p.opts = Options{Action: ActionUninstall, JSON: p.opts.JSON, Overwrite: p.opts.Overwrite}
	return nil
}

func checkWait(p *parser) *UsageError {
	if p.given["w"] && p.target != nil && strings.Trim(*p.target, "0123456789") == "" {
		return usagef("-w", "give a name", "waits for a process that does not exist yet, and %s is a PID", *p.target)
	}
	return nil
}

// checkLater refuses the switches that are not available yet, all at once.
func checkLater(p *parser) *UsageError {
	var names []string
	remedy := ""
	for _, s := range p.order {
		if s.later {
			names = append(names, s.typed())
			remedy = s.more
		}
	}
	if len(names) == 0 {
		return nil
	}
	if len(names) > 1 || remedy == "" {
		remedy = "procdump -? lists what is"
	}
	return usagef(strings.Join(names, ", "), remedy, "not available yet")
}

// checkTarget checks that there is one target, neither none nor two.
func checkTarget(p *parser) *UsageError {
	if p.opts.Action != ActionDump {
		return nil
	}
	if p.given["pgid"] { // it is the target, and the first word the dump path
		if p.path != nil {
			return usagef("-pgid", "-pgid says the target", "%q is one word too many", *p.path)
		}
		p.target, p.path = &p.opts.Target, p.target
		return nil
	}
	if p.given["x"] {
		if p.target != nil {
			return usagef("-x", "-x FOLDER PROGRAM says both the target and the dump path", "%q is one word too many", *p.target)
		}
		return nil
	}
	if p.target == nil {
		// Scripts that accept the licence in a step of its own.
		if len(p.order) == 1 && p.given["accepteula"] {
			p.opts = Options{Action: ActionHelp}
			return nil
		}
		return usagef("", "give a PID, a name or -x FOLDER PROGRAM; procdump -? is the help", "no target given")
	}
	return nil
}

// checkView64 refuses -64 where the format has no such view. On Windows the
// 64-bit view is a minidump like any other.
func checkView64(p *parser) *UsageError {
	minidump := p.opts.Format == capture.FormatMinidump ||
		p.opts.Format == capture.FormatAuto && p.path != nil && capture.FormatOf(*p.path) == capture.FormatMinidump
	if p.opts.View64 && minidump && runtime.GOOS != "windows" {
		return usagef("-64", "leave -64 out or write a core", "only an ELF core can hold the 64-bit view of a 32-bit process, not a minidump")
	}
	return nil
}

// checkPlatform refuses what this system cannot do.
func checkPlatform(p *parser) *UsageError {
	if runtime.GOOS == "windows" && p.opts.Format == capture.FormatELF {
		return usagef("-format", "leave it out", "on Windows a dump is a minidump")
	}
	return nil
}
