package cli

import (
	"fmt"
	"strings"
	"time"

	"procdump/capture"
	"procdump/corepattern"
	"procdump/dumpkind"
	"procdump/monitor"
)

// Action is what a command line asks for.
type Action uint8

// The actions.
const (
	ActionDump      Action = iota // write dumps of Target or of what Launch starts
	ActionHelp                    // print the help
	ActionVersion                 // print the version
	ActionMan                     // print the manual page
	ActionCancel                  // end every procdump that watches CancelPID
	ActionCounters                // list performance counters
	ActionInstall                 // make procdump the machine's crash handler
	ActionUninstall               // take it out again
)

// CloneChoice says whether large dumps are taken from a clone of the process.
type CloneChoice uint8

// The choices.
const (
	CloneGently CloneChoice = iota // where the process would stand long otherwise
	CloneAlways
	CloneNever
)

// Options is a command line, understood and checked. Parse makes it.
type Options struct {
	Action    Action
	CancelPID int  // of ActionCancel
	JSON      bool // events instead of lines

	// Target says which process: a PID, a name or a selector, as given.
	// Package target reads it. It is "" where Launch is set.
	Target string
	All    bool     // every process that matches, not just an only one
	Launch []string // program and arguments of -x

	Kinds        []dumpkind.Kind // smallest first, each once, at least one
	DropLargest  bool            // -mpx: MiniPlus without its largest private area
	Mask         uint32          // of dumpkind.Custom
	KernelStacks bool            // -mk
	Inspect      bool            // -inspect: a report beside each dump
	DontDump     bool            // take MADV_DONTDUMP memory too
	View64       bool            // -64: a 32-bit process as the 64-bit kernel sees it

	Wait  bool // -w: for a process that is not there yet
	Group bool // -pgid: Target is a process group that others may join
	Tree  bool // -pt: descendants too
	Kill  bool // -k: after the dump, or the clone

	Clone  CloneChoice // -r
	Clones int         // of -r: how many at a time
	// PreCopy is -r live: memory is copied while the process runs, if that can be.
	PreCopy  bool
	Avoid    bool   // -a
	Throttle uint64 // -throttle, in bytes a second; 0: none
	Live     bool   // -live: a view of the watched values

	Rules     monitor.Rules  // none of them a trigger: dumps at once
	Limits    monitor.Limits // PerProcess is at least 1
	TimeLimit time.Duration  // that the process may stand still for a trigger's dumps; 0: none

	Keep corepattern.Keep // -keep, of ActionInstall
	Rate int              // -rate: dumps of one program a minute; 0: no bound

	include, exclude []string // of -f and -fx

	Path      string         // file or folder, "" if not given; with Launch a folder
	Format    capture.Format // FormatAuto: as Path's extension says
	Compress  bool
	Overwrite bool
	Comment   string
}

// UsageError is a command line that Parse does not accept.
type UsageError struct {
	Switch  string // as the help spells it, with its dash; "" if it is none's fault
	Problem string // "missing N"
	Remedy  string // what to type instead; "" if the problem says it
}

// Error returns the switch, the problem and the remedy in one line.
func (e *UsageError) Error() string {
	var b strings.Builder
	if e.Switch != "" {
		b.WriteString(e.Switch + ": ")
	}
	b.WriteString(e.Problem)
	if e.Remedy != "" {
		b.WriteString("; " + e.Remedy)
	}
	return b.String()
}

func usagef(name, remedy, problem string, args ...any) *UsageError {
	return &UsageError{Switch: name, Problem: fmt.Sprintf(problem, args...), Remedy: remedy}
}
