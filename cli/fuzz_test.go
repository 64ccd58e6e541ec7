package cli

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"procdump/capture"
	"procdump/dumpkind"
)

// canonical returns a command line that means o.
func canonical(o *Options) []string {
	var args []string
	add := func(given bool, words ...string) {
		if given {
			args = append(args, words...)
		}
	}
	seconds := func(d time.Duration) string { return fmt.Sprint(int64(d / time.Second)) }
	switch o.Action {
	case ActionHelp:
		return []string{"-?"}
	case ActionVersion:
		return []string{"-version"}
	case ActionMan:
		return []string{"-man"}
	case ActionCancel:
		add(o.JSON, "-json")
		return append(args, "-cancel", fmt.Sprint(o.CancelPID))
	case ActionUninstall:
		add(o.JSON, "-json")
		add(o.Overwrite, "-o")
		return append(args, "-u")
	case ActionCounters:
		add(o.JSON, "-json")
		args = append(args, "-counters")
		add(o.Target != "", "--", o.Target)
		return args
	}
	for _, k := range o.Kinds {
		switch k {
		case dumpkind.Triage:
			add(true, "-mt")
		case dumpkind.Mini:
			add(true, "-mm")
		case dumpkind.Custom:
			add(true, "-mc", fmt.Sprintf("%x", o.Mask))
		case dumpkind.MiniPlus:
			add(!o.DropLargest, "-mp")
			add(o.DropLargest, "-mpx")
		case dumpkind.Full:
			add(true, "-ma")
		}
	}
	add(o.JSON, "-json")
	add(o.All, "-all")
	add(o.KernelStacks, "-mk")
	add(o.DontDump, "-dontdump")
	add(o.View64, "-64")
	add(o.Overwrite, "-o")
	add(o.Compress, "-z")
	add(o.Format != capture.FormatAuto, "-format", o.Format.String())
	add(o.Comment != "", "-dc", o.Comment)
	add(o.TimeLimit != 0, "-at", seconds(o.TimeLimit))
	add(true, "-n", fmt.Sprint(o.Limits.PerProcess), "-s", seconds(o.Rules.Hold))
	add(o.Limits.Total > 0, "-ntotal", fmt.Sprint(o.Limits.Total))
	add(o.Limits.Cooldown > 0, "-cooldown", seconds(o.Limits.Cooldown))
	r := &o.Rules
	add(r.Period > 0, "-pf", fmt.Sprint(r.Period.Milliseconds()))
	add(o.Wait, "-w")
	add(o.Tree, "-pt")
	add(o.Kill, "-k")
	add(o.Clone != CloneGently && !o.PreCopy, "-r", fmt.Sprint(o.Clones))
	add(o.PreCopy, "-r", liveWord)
	add(o.Avoid, "-a")
	add(o.Throttle > 0, "-throttle", fmt.Sprint(o.Throttle>>20))
	add(o.Live, "-live")
	addTriggers(add, o)
	if o.Group {
		args = append(args, "-pgid", strings.TrimPrefix(o.Target, "pgid:"), "--")
		if o.Path != "" {
			args = append(args, o.Path)
		}
		return args
	}
	if o.Launch != nil {
		return slices.Concat(args, []string{"-x", o.Path}, o.Launch)
	}
	add(true, "--", o.Target)
	add(o.Path != "", o.Path)
	return args
}

// addTriggers adds the switches of the rules.
func addTriggers(add func(bool, ...string), o *Options) {
	r := &o.Rules
	number := func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
	whole := func(v float64) string { return strconv.FormatFloat(v, 'f', 0, 64) }
	side := func(name string, below bool) string {
		if below {
			return name + "l"
		}
		return name
	}
	for _, b := range r.CPU {
		add(true, side("-c", b.Below), number(b.Value))
	}
	add(r.OneCore, "-u")
	lists := map[bool][]string{}
	for _, c := range r.Commit {
		lists[c.Below] = append(lists[c.Below], strings.TrimSuffix(c.WrittenAs, " MB"))
	}
	first := len(r.Commit) > 0 && r.Commit[0].Below
	for _, below := range []bool{first, !first} {
		add(len(lists[below]) > 0, side("-m", below), strings.Join(lists[below], ","))
	}
	for _, b := range r.Threads {
		add(true, "-tc", whole(b.Value))
	}
	for _, b := range r.Files {
		add(true, "-fc", whole(b.Value))
	}
	for _, c := range r.Counters {
		add(true, side("-p", c.Below), c.Name, number(c.Value))
	}
	add(r.Window, "-h")
	for _, e := range r.Endpoints {
		add(true, "-hp", e)
	}
	if r.FirstChance {
		add(true, "-e", "1")
	} else {
		add(r.Unhandled, "-e")
	}
	add(r.Breakpoints, "-b")
	add(r.ThreadStart, "-ct")
	add(r.ThreadExit, "-et")
	add(r.Mapped, "-ld")
	add(r.Unmapped, "-ud")
	add(r.Terminate, "-t")
	add(r.Output, "-l")
	var signals []string
	for _, n := range r.Signals {
		signals = append(signals, fmt.Sprint(n))
	}
	add(len(signals) > 0, "-sig", strings.Join(signals, ","))
	for _, f := range o.include {
		add(true, "-f", f)
	}
	for _, f := range o.exclude {
		add(true, "-fx", f)
	}
}

// FuzzParse checks that no command line makes Parse panic, that it returns
// options or a usage error with a text, and that options survive a round trip.
func FuzzParse(f *testing.F) {
	for _, c := range goodCommands {
		f.Add(strings.Join(words(c.args), "\x00"))
	}
	for _, c := range badCommands {
		f.Add(strings.Join(words(c.args), "\x00"))
	}
	f.Fuzz(func(t *testing.T, line string) {
		o, err := Parse(strings.Split(line, "\x00"))
		if err != nil {
			var usage *UsageError
			if o != nil || !errors.As(err, &usage) || usage.Problem == "" {
				t.Fatalf("options %+v, error %#v", o, err)
			}
			return
		}
		if o.Action == ActionDump && (len(o.Kinds) == 0 || !slices.IsSorted(o.Kinds) || o.Limits.PerProcess < 1 || (o.Target == "") == (o.Launch == nil)) {
			t.Fatalf("incomplete options %+v", o)
		}
		if o.Action == ActionInstall {
			return // -keep has no one form
		}
		args := canonical(o)
		again, err := Parse(args)
		if err != nil {
			t.Fatalf("%q, canonical of %q: %v", args, line, err)
		}
		if !reflect.DeepEqual(o, again) {
			t.Fatalf("%q:\n got %+v\nwant %+v", args, again, o)
		}
	})
}
