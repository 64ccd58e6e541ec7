package cli

import (
	"fmt"
	"strings"
	"time"

	"procdump/capture"
	"procdump/dumpkind"
)

// Action is what a command line asks for.
type Action uint8

// The actions.
const (
	ActionDump    Action = iota // write dumps of Target or of what Launch starts
	ActionHelp                  // print the help
	ActionVersion               // print the version
	ActionMan                   // print the manual page
	ActionCancel                // end every procdump that watches CancelPID
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
	DontDump     bool            // take MADV_DONTDUMP memory too
	View64       bool            // -64: a 32-bit process as the 64-bit kernel sees it

	Count     int           // dumps to write, at least 1
	Interval  time.Duration // from a dump's end to the next one
	TimeLimit time.Duration // for one dump; 0: none

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
