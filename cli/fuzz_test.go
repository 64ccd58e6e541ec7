package cli

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
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
	add(true, "-n", fmt.Sprint(o.Count), "-s", seconds(o.Interval))
	if o.Launch != nil {
		return slices.Concat(args, []string{"-x", o.Path}, o.Launch)
	}
	add(true, "--", o.Target)
	add(o.Path != "", o.Path)
	return args
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
		if o.Action == ActionDump && (len(o.Kinds) == 0 || !slices.IsSorted(o.Kinds) || o.Count < 1 || (o.Target == "") == (o.Launch == nil)) {
			t.Fatalf("incomplete options %+v", o)
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
