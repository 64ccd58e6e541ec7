package cli

import (
	"procdump/corepattern"
	"procdump/dumpkind"
	"procdump/monitor"
)

// section groups the switches in the help and the manual.
type section uint8

const (
	secHidden section = iota // in neither
	secKind
	secTarget
	secWhen
	secTrigger
	secEvent
	secFile
	secHandler
	secOther
)

var sectionTitles = [...]string{
	secKind:    "What the dump holds",
	secTarget:  "Which process",
	secWhen:    "When",
	secTrigger: "Triggers: a value passes a limit for -s seconds",
	secEvent:   "Triggers: something happens",
	secFile:    "The file",
	secHandler: "The machine's crash handler (-u alone takes it out)",
	secOther:   "Other",
}

// spec is a switch: its grammar, its meaning and its line of help.
type spec struct {
	name string // lower case, without the dash
	also string // another spelling, "" if none

	// values are the names of the values that must follow. optional, if there,
	// is a one-digit number that may follow, or the word instead of it (see
	// parser.takesOptional).
	values   []string
	optional string
	word     string
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
		help: "in addition: the threads' kernel stacks, in files beside"},
	{name: "dontdump", section: secKind, set: func(o *Options, _ []string) *UsageError { o.DontDump = true; return nil },
		help: "take memory that the process marked MADV_DONTDUMP, too",
		more: "Such memory often holds keys. Without this switch no kind of dump has it."},
	{name: "64", section: secKind, set: func(o *Options, _ []string) *UsageError { o.View64 = true; return nil },
		help: "dump a 32-bit process as a 64-bit one",
		more: "Without it a 32-bit process gets a 32-bit dump. An ELF core only."},

	{name: "all", section: secTarget, set: func(o *Options, _ []string) *UsageError { o.All = true; return nil },
		help: "every process that matches TARGET, one file each"},
	{name: "w", section: secTarget, set: on(func(o *Options) { o.Wait = true }),
		help: "wait until the process named TARGET is there",
		more: "Where a trigger needs that it is held before its first instruction until it is watched (as root). With -all every process of that name " +
			"is watched, those that are there and all that will be, until Ctrl-C."},
	{name: "pt", section: secTarget, set: on(func(o *Options) { o.Tree = true }),
		help: "all descendants too, present and future"},
	{name: "pgid", values: []string{"PGID"}, section: secTarget, set: setGroup,
		help: "every process of a process group, until it is empty",
		more: "In place of TARGET. The same as -all pgid:PGID, with processes that join later."},
	{name: "x", values: []string{"FOLDER", "PROGRAM"}, launch: true, section: secTarget, set: setLaunch,
		help: "launch PROGRAM and dump it into FOLDER",
		more: "All that follows PROGRAM is the program's own, so -x and what belongs to it come last."},

	{name: "n", values: []string{"N"}, section: secWhen, set: setCount,
		help: "write N dumps of each process (default 1)",
		more: "Without a trigger the first one is written at once and the next ones -s seconds apart."},
	{name: "ntotal", values: []string{"N"}, section: secWhen, set: setTotal,
		help: "end after N dumps of all processes"},
	{name: "s", values: []string{"SEC"}, section: secWhen, set: setInterval,
		help: "how long a limit must be passed, without a break (default 10)",
		more: "Without a trigger: the seconds from the end of a dump to the next one. One look that finds the value on the " +
			"other side begins the time anew."},
	{name: "pf", values: []string{"MS"}, section: secWhen, set: setPeriod,
		help: "look every MS milliseconds (250; 1000 from 100 processes on)"},
	{name: "cooldown", values: []string{"SEC"}, section: secWhen, set: setCooldown,
		help: "no trigger of a process counts for SEC seconds after its dump"},
	{name: "r", optional: "0..5", word: liveWord, section: secWhen, set: setClones,
		help: "let the process run on: dump from a clone of it (at most 1..5)",
		more: "The process stands only until the kernel has made a copy-on-write clone, some 30 ms for a GiB of 4-KiB pages. Without " +
			"-r a clone is made where a dump of more than 256 MB is to be taken (-ma, -mp, -mc) and it is safe; 0 forbids it. The " +
			"number is how many clones there are at a time. Where a clone is not safe (a seccomp filter, a userfaultfd, memory or " +
			"a limit of processes that would not do, a vfork under way) the process stands while it is copied, and the dump says " +
			"why. Small dumps (-mm, -mt) are in memory sooner than a clone would be made, and do without. With live the memory " +
			"is copied while the process runs, and what it writes to meanwhile again, until little is left: only that is copied " +
			"while it stands (Linux 6.7). Its pause depends on how fast it writes, not on its size, and no memory is needed, but " +
			"as much disk again as the dump takes. Where that cannot be, the dump says why, and is taken from a clone."},
	{name: "a", section: secWhen, set: on(func(o *Options) { o.Avoid = true }),
		help: "with -r: rather no dump than one for which the process stands",
		more: "A trigger is skipped, with its reason, if there can be no clone or the clones of -r are all in use."},
	{name: "throttle", values: []string{"MB/S"}, section: secWhen, set: setThrottle,
		help: "copy at most MB/S megabytes a second; dumps from a clone",
		more: "For a machine that has other things to do: of all dumps together no more is read and written. The clone is there for " +
			"longer, and what the process writes meanwhile takes memory. While a process stands nothing is paced, so this switch implies -r 1 " +
			"where -r is not given, and a process that cannot be cloned is copied at full speed."},
	{name: "k", section: secWhen, set: on(func(o *Options) { o.Kill = true }),
		help: "kill the process after its last dump (SIGKILL)",
		more: "With -n 3 that is the third one. A process of which a dump is still to come, or failed, lives on. Where the dump is " +
			"taken from a clone (-r) it is killed as soon as there is one, but in a container or a service, with which the clone could end, when the dump is written."},
	{name: "at", values: []string{"SEC"}, section: secWhen, set: setTimeLimit,
		help: "give a dump up that takes longer than SEC seconds",
		more: "What is read before the stop does not count; what is copied from a clone does. No file is left and the process runs on; " +
			"a trigger that can come again counts again 10 seconds later."},

	{name: "c", values: []string{"CPU"}, section: secTrigger, set: setCPU(false),
		help: "CPU percent of all cores it may use, at or above",
		more: "Measured over the last second. Affinity and the quota of the cgroup count: 90 in a container of half a core is " +
			"45 % of a core."},
	{name: "cl", values: []string{"CPU"}, section: secTrigger, set: setCPU(true), help: "the same, below"},
	{name: "u", section: secTrigger, set: on(func(o *Options) { o.Rules.OneCore = true }),
		help: "with -c, -cl: percent of one core"},
	{name: "m", values: []string{"MB"}, section: secTrigger, set: setCommit(false),
		help: "commit (anonymous memory and swap) in MB, at or above",
		more: "MB,MB,... writes one dump for each. 90% means the memory limit of the process's cgroup, or RAM."},
	{name: "ml", values: []string{"MB"}, section: secTrigger, set: setCommit(true), help: "the same, below"},
	{name: "tc", values: []string{"N"}, section: secTrigger, set: setBound("-tc", "number of threads", func(r *monitor.Rules) *[]monitor.Bound { return &r.Threads }),
		help: "number of threads, at or above"},
	{name: "fc", values: []string{"N"}, section: secTrigger, set: setBound("-fc", "number of files", func(r *monitor.Rules) *[]monitor.Bound { return &r.Files }),
		help: "number of open files, at or above"},
	{name: "p", values: []string{"COUNTER", "LIMIT"}, repeat: true, section: secTrigger, set: setCounter("-p", false),
		help: "a performance counter, at or above (-counters lists them)",
		more: "A name of Windows where Linux has the thing, such as \\Process(nginx)\\Thread Count, or psi:memory.some.avg10, " +
			"cgroup:memory.current, prom:URL#metric{label=\"x\"}."},
	{name: "pl", values: []string{"COUNTER", "LIMIT"}, repeat: true, section: secTrigger, set: setCounter("-pl", true), help: "the same, below"},

	{name: "e", optional: "1", section: secEvent, set: setException,
		help: "a signal is about to kill it (-e 1: or an error signal comes)",
		more: "The dump is written before it dies, and it dies as it would have. With 1 every SIGSEGV, SIGBUS, SIGILL, SIGFPE, " +
			"SIGABRT, SIGSYS and SIGTRAP counts, also one that the process handles."},
	{name: "b", section: secEvent, set: on(func(o *Options) { o.Rules.Breakpoints = true }),
		help: "with -e: breakpoints (SIGTRAP) too"},
	{name: "ct", section: secEvent, set: on(func(o *Options) { o.Rules.ThreadStart = true }), help: "with -e: a thread begins"},
	{name: "et", section: secEvent, set: on(func(o *Options) { o.Rules.ThreadExit = true }), help: "with -e: a thread ends"},
	{name: "ld", section: secEvent, set: on(func(o *Options) { o.Rules.Mapped = true }), help: "with -e: an image is mapped"},
	{name: "ud", section: secEvent, set: on(func(o *Options) { o.Rules.Unmapped = true }), help: "with -e: an image is unmapped"},
	{name: "sig", values: []string{"SIGNAL"}, section: secEvent, set: setSignals,
		help: "a signal is about to be delivered: 11, SEGV, SIGUSR1,...",
		more: "Several with commas. It counts whether the process handles it or not."},
	{name: "t", section: secEvent, set: on(func(o *Options) { o.Rules.Terminate = true }),
		help: "it ends, however: exit or any signal",
		more: "Its memory is still whole then; the dump says the exit code."},
	{name: "h", section: secEvent, set: on(func(o *Options) { o.Rules.Window = true }),
		help: "it hangs: an X11 window does not answer, a thread stays in D",
		more: "Both for 5 seconds. The reason says which."},
	{name: "hp", values: []string{"URL"}, repeat: true, section: secEvent, set: setEndpoint,
		help: "its server hangs: http, https or tcp://HOST:PORT, for 5 s"},
	{name: "l", section: secEvent, set: on(func(o *Options) { o.Rules.Output = true }),
		help: "show what it writes to stdout, stderr, syslog (-f: a trigger)"},
	{name: "f", values: []string{"FILTER"}, repeat: true, section: secEvent, set: addFilter(false),
		help: "only what contains FILTER (-e, -l, -ld, -ud); * is anything",
		more: "Several with commas; of any case. With an empty one everything is shown and nothing dumped."},
	{name: "fx", values: []string{"FILTER"}, repeat: true, section: secEvent, set: addFilter(true), help: "and not what contains FILTER"},

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
	{name: "inspect", section: secFile, set: on(func(o *Options) { o.Inspect = true }),
		help: "explain each dump in a report beside it, .txt and .html",
		more: "What procdump inspect says of it, in NAME.report.txt and, for a browser, in NAME.report.html. A process of its own writes them " +
			"when the dump is finished and its process goes on. A report that fails is a warning."},

	{name: "i", section: secHandler, set: action(ActionInstall),
		help: "dump every process that crashes, from now on (as root)",
		more: "Makes procdump the machine's core_pattern (core(5)), also after the next start. No procdump has to run. " +
			"Kinds, -format, -z, -at and -dc say what the dumps are. FOLDER must be root's; without it it is " +
			corepattern.DefaultFolder + ". The last part of a path that has one of the words below is the dumps' name: " +
			"/var/dumps/CONTAINERID_PROCESSNAME_PID; else that is " + corepattern.DefaultName + ". Another program's handler is replaced with -o only."},
	{name: "keep", values: []string{"LIMIT"}, section: secHandler, set: setKeep,
		help: "with -i: keep 100,10GB,30d (number, size, age); the oldest go",
		more: "Any of the three, with commas. Without it 1000 dumps are kept, and 1 GB of the disk is left free."},
	{name: "rate", values: []string{"N"}, section: secHandler, set: setRate,
		help: "with -i: at most N dumps of one program a minute"},

	{name: "cancel", values: []string{"PID"}, section: secOther, set: setCancel,
		help: "end every procdump that watches the process PID",
		more: "It ends as by Ctrl-C: the process goes on and no part of a file is left. Stands alone."},
	{name: "counters", section: secOther, set: action(ActionCounters),
		help: "list the counters of -p and their values (of TARGET, too)"},
	{name: "live", section: secOther, set: on(func(o *Options) { o.Live = true }),
		help: "show the watched values all the time (on a terminal)"},
	{name: "json", section: secOther, set: func(o *Options, _ []string) *UsageError { o.JSON = true; return nil },
		help: "print one JSON object per event instead of lines"},
	{name: "version", section: secOther, set: action(ActionVersion), help: "print the version (also --version)"},
	{name: "?", also: "help", section: secOther, set: action(ActionHelp), help: "print this help (also --help)"},
	{name: "man", section: secHidden, set: action(ActionMan)},
	{name: "accepteula", section: secHidden, set: func(*Options, []string) *UsageError { return nil }},

	// Not available yet. The names and values are ProcDump's, those of
	// ProcDump for Linux where ProcDump has none, and our own.
	{name: "g", later: true},
	{name: "gcgen", values: []string{"GENERATION"}, later: true},
	{name: "gcm", values: []string{"MB"}, later: true},
	{name: "log", values: []string{"syslog|stdout"}, later: true},
	{name: "md", values: []string{"DLL"}, later: true},
	{name: "pc", values: []string{"COUNTER", "THRESHOLD"}, repeat: true, later: true},
	{name: "pcl", values: []string{"COUNTER", "THRESHOLD"}, repeat: true, later: true},
	{name: "restrack", later: true},
	{name: "sr", values: []string{"N"}, later: true},
	{name: "usegcore", later: true, more: "procdump writes its dumps itself"},
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
		u += " [" + s.optional
		if s.word != "" {
			u += "|" + s.word
		}
		u += "]"
	}
	if s.launch {
		u += " [ARG...]"
	}
	return u
}
