package cli

import "procdump/dumpkind"

// section groups the switches in the help and the manual.
type section uint8

const (
	secHidden section = iota // in neither
	secKind
	secTarget
	secWhen
	secFile
	secOther
)

var sectionTitles = [...]string{
	secKind:   "What the dump holds",
	secTarget: "Which process",
	secWhen:   "When",
	secFile:   "The file",
	secOther:  "Other",
}

// spec is a switch: its grammar, its meaning and its line of help.
type spec struct {
	name string // lower case, without the dash
	also string // another spelling, "" if none

	// values are the names of the values that must follow. optional, if there,
	// is a one-digit number that may follow (see parser.takeOptional).
	values   []string
	optional string
	launch   bool // PROGRAM and all that follows it are values too
	repeat   bool // a switch with values may be given more than once

	section section
	help    string // one line, no full stop
	more    string // what only the manual says, in whole sentences

	// later marks a switch that is not available yet: it is parsed, so that
	// what follows it is understood, and then refused, with more as remedy.
	later bool
	set   func(o *Options, values []string) *UsageError
}

// switches are all switches, in the order of the help.
var switches = []spec{
	{name: "mm", section: secKind, set: kind(dumpkind.Mini),
		help: "mini (default): stacks, what they point at, the list of images",
		more: "Enough for a debugger to print the backtrace of every thread."},
	{name: "mt", section: secKind, set: kind(dumpkind.Triage),
		help: "triage: stacks only, overwritten but for addresses",
		more: "No environment, no arguments, no user names in paths. " +
			"For sending to somebody who must not see the data of the process."},
	{name: "mp", section: secKind, set: kind(dumpkind.MiniPlus),
		help: "miniplus: all memory that no file on disk can give back",
		more: "With the program and its libraries at hand a debugger sees in it what it sees in a full dump."},
	{name: "mpx", section: secKind, set: miniPlusX,
		help: "miniplus without the largest private area if over 512 MB",
		more: "Stacks, the heap and chunks of that area that a stack points at stay in. " +
			"The dump says what was left out."},
	{name: "ma", section: secKind, set: kind(dumpkind.Full),
		help: "full: all readable memory"},
	{name: "mc", values: []string{"MASK"}, section: secKind, set: setMask,
		help: "custom: what the hexadecimal MASK says (" + maskMeaning + ")",
		more: maskMore},
	{name: "mk", section: secKind, set: func(o *Options, _ []string) *UsageError { o.KernelStacks = true; return nil },
		help: "in addition: the threads' kernel stacks, in a file beside"},
	{name: "dontdump", section: secKind, set: func(o *Options, _ []string) *UsageError { o.DontDump = true; return nil },
		help: "take memory that the process marked MADV_DONTDUMP, too",
		more: "Such memory often holds keys. Without this switch no kind of dump has it."},
	{name: "64", section: secKind, set: func(o *Options, _ []string) *UsageError { o.View64 = true; return nil },
		help: "dump a 32-bit process as a 64-bit one",
		more: "Without it a 32-bit process gets a 32-bit dump. An ELF core only."},

	{name: "all", section: secTarget, set: func(o *Options, _ []string) *UsageError { o.All = true; return nil },
		help: "every process that matches TARGET, one file each"},
	{name: "x", values: []string{"FOLDER", "PROGRAM"}, launch: true, section: secTarget, set: setLaunch,
		help: "launch PROGRAM and dump it into FOLDER",
		more: "All that follows PROGRAM is the program's own, so -x and what belongs to it come last."},

	{name: "n", values: []string{"N"}, section: secWhen, set: setCount,
		help: "write N dumps: the first at once, the next ones -s apart"},
	{name: "s", values: []string{"SEC"}, section: secWhen, set: setInterval,
		help: "seconds from the end of a dump to the next one (default 10)"},
	{name: "at", values: []string{"SEC"}, section: secWhen, set: setTimeLimit,
		help: "give a dump up that takes longer than SEC seconds",
		more: "No file is left and the process runs on."},

	{name: "o", section: secFile, set: func(o *Options, _ []string) *UsageError { o.Overwrite = true; return nil },
		help: "overwrite an existing file; without it -1 (-2, ...) is added"},
	{name: "format", values: []string{"FORMAT"}, section: secFile, set: setFormat,
		help: "the format: elf (a core, .core) or minidump (.dmp)",
		more: "Without it a FILE that ends in .dmp is a minidump and any other is a core; on Windows all are minidumps."},
	{name: "z", section: secFile, set: func(o *Options, _ []string) *UsageError { o.Compress = true; return nil },
		help: "compress with zstd (.zst is added)",
		more: "A FILE that ends in .zst does the same."},
	{name: "dc", values: []string{"TEXT"}, section: secFile, set: func(o *Options, v []string) *UsageError { o.Comment = v[0]; return nil },
		help: "put a comment into the dump"},

	{name: "cancel", values: []string{"PID"}, section: secOther, set: setCancel,
		help: "end every procdump that watches the process PID",
		more: "It ends as by Ctrl-C: the process goes on and no part of a file is left. Stands alone."},
	{name: "json", section: secOther, set: func(o *Options, _ []string) *UsageError { o.JSON = true; return nil },
		help: "print one JSON object per event instead of lines"},
	{name: "version", section: secOther, set: action(ActionVersion), help: "print the version (also --version)"},
	{name: "?", also: "help", section: secOther, set: action(ActionHelp), help: "print this help (also --help)"},
	{name: "man", section: secHidden, set: action(ActionMan)},
	{name: "accepteula", section: secHidden, set: func(*Options, []string) *UsageError { return nil }},

	// Not available yet. The names and values are ProcDump's, those of
	// ProcDump for Linux where ProcDump has none, and our own.
	{name: "a", later: true},
	{name: "b", later: true},
	{name: "c", values: []string{"CPU"}, later: true},
	{name: "cl", values: []string{"CPU"}, later: true},
	{name: "cooldown", values: []string{"SEC"}, later: true},
	{name: "counters", later: true},
	{name: "ct", later: true},
	{name: "e", optional: "1", later: true},
	{name: "et", later: true},
	{name: "f", values: []string{"FILTER"}, repeat: true, later: true},
	{name: "fc", values: []string{"N"}, later: true},
	{name: "fx", values: []string{"FILTER"}, repeat: true, later: true},
	{name: "g", later: true},
	{name: "gcgen", values: []string{"GENERATION"}, later: true},
	{name: "gcm", values: []string{"MB"}, later: true},
	{name: "h", later: true, more: "for help type -?"},
	{name: "hp", values: []string{"URL"}, repeat: true, later: true},
	{name: "i", later: true},
	{name: "inspect", later: true},
	{name: "k", later: true},
	{name: "l", later: true},
	{name: "ld", later: true},
	{name: "live", later: true},
	{name: "log", values: []string{"syslog|stdout"}, later: true},
	{name: "m", values: []string{"MB"}, later: true},
	{name: "md", values: []string{"DLL"}, later: true},
	{name: "ml", values: []string{"MB"}, later: true},
	{name: "ntotal", values: []string{"N"}, later: true},
	{name: "p", values: []string{"COUNTER", "THRESHOLD"}, repeat: true, later: true},
	{name: "pc", values: []string{"COUNTER", "THRESHOLD"}, repeat: true, later: true},
	{name: "pcl", values: []string{"COUNTER", "THRESHOLD"}, repeat: true, later: true},
	{name: "pf", values: []string{"MS"}, later: true},
	{name: "pgid", values: []string{"PID"}, later: true},
	{name: "pl", values: []string{"COUNTER", "THRESHOLD"}, repeat: true, later: true},
	{name: "pt", later: true},
	{name: "r", optional: "1..5", later: true},
	{name: "restrack", later: true},
	{name: "sig", values: []string{"SIGNAL"}, later: true},
	{name: "sr", values: []string{"N"}, later: true},
	{name: "t", later: true},
	{name: "tc", values: []string{"N"}, later: true},
	{name: "throttle", values: []string{"MB/S"}, later: true},
	{name: "u", later: true},
	{name: "ud", later: true},
	{name: "usegcore", later: true, more: "procdump writes its dumps itself"},
	{name: "w", later: true},
	{name: "wer", later: true},
}

// lookup finds a switch by either of its names in lower case; nil: there is none.
func lookup(name string) *spec {
	for i := range switches {
		if s := &switches[i]; s.name == name || s.also != "" && s.also == name {
			return s
		}
	}
	return nil
}

// typed returns the switch as the help spells it.
func (s *spec) typed() string { return "-" + s.name }

// usage returns the switch with its values: "-x FOLDER PROGRAM [ARG...]".
func (s *spec) usage() string {
	u := s.typed()
	for _, v := range s.values {
		u += " " + v
	}
	if s.optional != "" {
		u += " [" + s.optional + "]"
	}
	if s.launch {
		u += " [ARG...]"
	}
	return u
}
