package kernel

import (
	"regexp"
	"strconv"
	"strings"

	"procdump/internal/printable"
)

// cause is a message of the kernel that says why it crashed.
type cause struct {
	kind   string
	prefix string
}

// causes are the messages that begin an incident (arch/x86/mm/fault.c,
// arch/x86/kernel/traps.c, arch/arm64/mm/fault.c, kernel/watchdog.c,
// kernel/hung_task.c, lib/bug.c, drivers/tty/sysrq.c, …).
var causes = []cause{
	{"nullDereference", "BUG: kernel NULL pointer dereference"},
	{"nullDereference", "Unable to handle kernel NULL pointer dereference"},
	{"pageFault", "BUG: unable to handle page fault"},
	{"pageFault", "BUG: unable to handle kernel"},
	{"pageFault", "Unable to handle kernel"},
	{"pageFault", "kernel tried to execute NX-protected page"},
	{"protectionFault", "general protection fault"},
	{"bug", "kernel BUG at"},
	{"invalidOpcode", "invalid opcode:"},
	{"divideError", "divide error:"},
	{"stackOverflow", "BUG: TASK stack guard page was hit"},
	{"stackOverflow", "kernel stack overflow"},
	{"hardLockup", "Watchdog detected hard LOCKUP"},
	{"hardLockup", "NMI watchdog: Watchdog detected hard LOCKUP"},
	{"hardLockup", "watchdog: Watchdog detected hard LOCKUP"},
	{"softLockup", "watchdog: BUG: soft lockup"},
	{"softLockup", "BUG: soft lockup"},
	{"stall", "rcu: INFO: rcu_"},
	{"hungTask", "INFO: task "},
	{"sysrq", "sysrq: Trigger a crash"},
	{"sysrq", "sysrq: SysRq : Trigger a crash"},
	{"oops", "Internal error: "},
	{"oops", "Oops: "},
	{"bug", "BUG: "},
}

// panics tell by the message of panic() what an incident was.
var panics = []cause{
	{"sysrq", "sysrq triggered crash"},
	{"hungTask", "hung_task: blocked tasks"},
	{"outOfMemory", "Out of memory"},
	{"outOfMemory", "System is deadlocked on memory"},
	{"outOfMemory", "out of memory"},
	{"softLockup", "softlockup: hung tasks"},
	{"hardLockup", "Hard LOCKUP"},
	{"hardLockup", "Watchdog detected hard LOCKUP"},
	{"stall", "RCU Stall"},
	{"machineCheck", "Fatal machine check"},
	{"machineCheck", "Machine check"},
	{"machineCheck", "Fatal local machine check"},
	{"nmi", "NMI:"},
	{"nmi", "nmi_panic"},
	{"noInit", "No working init found"},
	{"noInit", "Attempted to kill init"},
	{"rootFS", "VFS: Unable to mount root fs"},
	{"warning", "panic_on_warn set"},
	{"bug", "stack-protector:"},
}

const panicPrefix = "Kernel panic - not syncing: "

var (
	// fatalText are the messages of panic() at the end of an oops.
	fatalText = regexp.MustCompile(`Fatal exception|Oops|Aiee, killing interrupt handler|kill the idle task`)
	// Of "address: 0000000000000000", "at virtual address 0000000000000010",
	// "for address: ffff…", "for non-canonical address 0x…".
	addressText = regexp.MustCompile(`address:? (?:0x)?([0-9a-f]{4,16})\b`)
	// "RIP: 0010:msr_read+0x2/0xf0 [msr]"; arm64: "pc : msr_read+0x2/0xf0 [msr]"
	placeText = regexp.MustCompile(`^(?:RIP: 0010:|pc : )([A-Za-z_][\w.]*)\+0x([0-9a-f]+)/0x[0-9a-f]+(?: \[(\w+)[^\]]*\])?`)
	taskText  = regexp.MustCompile(`\bCPU: (\d+) (?:UID: \d+ )?PID: (\d+) Comm: (.{1,15}?) (?:Not tainted|Tainted:|Kdump:)`)
	hungText  = regexp.MustCompile(`^INFO: task (.+):(\d+)(?: <[^>]*>)? blocked .*for more than (\d+) seconds`)
)

// logged is what the log tells of the crash.
type logged struct {
	kind    string
	message string // of the oops, or what came before the panic
	panic   string // of panic()
	address *Hex
	place   *Frame
	cpu     int // -1: not told
	pid     int
	comm    string
	hung    *TaskRef
	seconds string
	begin   int // number of the message that it begins with
}

// maxIncident is how many messages before the panic are looked at.
const maxIncident = 600

// readLog finds the crash in the log: the last panic and the incident that
// led to it; of a kernel that did not panic, nothing.
func (l *linux) readLog() *logged {
	end := -1
	for i := len(l.log) - 1; i >= 0 && end < 0; i-- {
		if strings.HasPrefix(l.log[i].Text, panicPrefix) {
			end = i
		}
	}
	g := &logged{cpu: -1}
	var from int
	switch {
	case end >= 0:
		g.panic = printable.Text(strings.TrimPrefix(firstLine(l.log[end].Text), panicPrefix))
		from = max(0, end-maxIncident)
	case l.r.Crash: // crashed without a message of panic(): kexec at the oops
		end = len(l.log) - 1
		from = max(0, end-maxIncident)
	default:
		return nil
	}
	for _, c := range panics {
		if g.kind == "" && strings.Contains(g.panic, c.prefix) {
			g.kind = c.kind
		}
	}
	if g.kind == "" && g.panic != "" && !fatalText.MatchString(g.panic) {
		g.kind = "panic" // whatever came before did not lead to it
	}
	g.begin = l.begin(g, from, end)
	for i := g.begin; i < len(l.log); i++ {
		g.read(firstLine(l.log[i].Text))
	}
	return g
}

// begin finds the message that the incident begins with: the first of the
// panic's kind, or else the first behind the end of an earlier incident.
func (l *linux) begin(g *logged, from, end int) int {
	begin := max(end, 0)
	for i := end; i >= from; i-- {
		text := firstLine(l.log[i].Text)
		// The end of the trace of the oops that panics comes before the panic;
		// one before the oops is that of another.
		if g.message != "" && strings.HasPrefix(text, "---[ end trace ") {
			break
		}
		c, ok := causeOf(text)
		if ok && (c.kind == g.kind || g.kind == "" && !warnings[c.kind] || precedes(c.kind, g.kind)) {
			begin, g.message, g.kind = i, printable.Text(text), c.kind
		}
	}
	return begin
}

func causeOf(text string) (cause, bool) {
	for _, c := range causes {
		if strings.HasPrefix(text, c.prefix) {
			return c, true
		}
	}
	return cause{}, false
}

// warnings are incidents that crash no machine by themselves.
var warnings = map[string]bool{"hungTask": true, "stall": true}

// precedes tells whether a message of one kind is what led to that of another,
// which comes behind it: "BUG: kernel NULL …" before "Oops: ", "kernel BUG at …"
// before "invalid opcode: ".
func precedes(first, then string) bool {
	switch then {
	case "oops":
		return first != "sysrq" && !warnings[first]
	case "invalidOpcode":
		return first == "bug"
	}
	return false
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// read takes what one line tells, if no line before told it.
func (g *logged) read(line string) {
	if m := addressText.FindStringSubmatch(line); m != nil && g.address == nil && g.place == nil {
		if v, err := strconv.ParseUint(m[1], 16, 64); err == nil {
			h := Hex(v)
			g.address = &h
		}
	}
	if m := placeText.FindStringSubmatch(line); m != nil && g.place == nil {
		off, _ := strconv.ParseUint(m[2], 16, 64)
		g.place = &Frame{Symbol: m[1], Offset: off, Module: m[3], Exact: true}
	}
	if m := taskText.FindStringSubmatch(line); m != nil && g.cpu < 0 {
		g.cpu, _ = strconv.Atoi(m[1])
		g.pid, _ = strconv.Atoi(m[2])
		g.comm = printable.Text(m[3])
	}
	if m := hungText.FindStringSubmatch(line); m != nil && g.hung == nil {
		pid, _ := strconv.Atoi(m[2])
		g.hung, g.seconds = &TaskRef{PID: pid, Comm: printable.Text(m[1]), State: "D", CPU: -1}, m[3]
	}
}

// traceText is a line of a stack in the log: " vfs_read+0xa5/0x310 [module]".
var traceText = regexp.MustCompile(`^ ?(\? )?(?:\[<[0-9a-f]+>\] )?([A-Za-z_][\w.]*)\+0x([0-9a-f]+)/0x[0-9a-f]+(?: \[(\w+)[^\]]*\])?$`)

// loggedStack reads the first stack of the incident from the log, without the
// words that the kernel was not sure of.
func (l *linux) loggedStack(g *logged) []Frame {
	var all []Frame
	inside := false
	for i := g.begin; i < len(l.log); i++ {
		line := strings.TrimRight(firstLine(l.log[i].Text), " ")
		if t := strings.TrimSpace(line); strings.HasPrefix(t, "Call Trace:") || strings.HasPrefix(t, "Call trace:") {
			inside = true
			continue
		} else if strings.HasPrefix(t, "<") { // <TASK>, <IRQ>, </IRQ>, …
			continue
		}
		m := traceText.FindStringSubmatch(line)
		switch {
		case !inside:
		case m == nil && len(all) > 0:
			return all
		case m != nil && m[1] == "":
			off, _ := strconv.ParseUint(m[3], 16, 64)
			all = append(all, Frame{Symbol: m[2], Offset: off, Module: m[4]})
		}
	}
	return all
}
