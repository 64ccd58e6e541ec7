package layout

import (
	"cmp"
	"strings"
	"time"
)

// Messages that tell why a kernel crashed: of panic() (kernel/panic.c), of oopses
// (arch/x86/mm/fault.c, arch/x86/kernel/traps.c, arch/arm64/kernel/traps.c), and
// of others that a panic may follow.
const panicText = "Kernel panic - not syncing: "

// endOfOops begins the line that an oops ends with, if it is not the kernel's
// end (kernel/panic.c: print_oops_end_marker).
const endOfOops = "---[ end trace "

var (
	oopses = []string{"BUG: ", "Oops: ", "general protection fault", "kernel BUG at ", "Internal error: ",
		"Unable to handle kernel ", "divide error: ", "invalid opcode: "}
	lockups = []string{"watchdog: BUG: ", "NMI watchdog: BUG: ", "BUG: soft lockup", "BUG: workqueue lockup"}
	sysrqs  = []string{"sysrq: Trigger a crash", "sysrq: SysRq : Trigger a crash"}
	others  = []string{"Out of memory and no killable processes"}
)

// consequences are the panics that only end what another message has begun, by
// what their text has.
var consequences = []struct {
	text   string
	causes []string
	within time.Duration // of the panic; 0 is any time
}{
	{"Fatal exception", oopses, 0},
	{"Aiee, killing interrupt handler", oopses, 0},
	{"Attempted to kill the idle task", oopses, 0},
	// Init may also have ended by itself, long after an oops.
	{"Attempted to kill init", oopses, sameIncident},
	{"softlockup: hung tasks", lockups, 0},
	{"sysrq triggered crash", sysrqs, 0},
}

// maxCPUs is NR_CPUS of the largest kernels.
const maxCPUs = 1 << 13

// PanicCPU is the number of the processor that panicked, -1 if none did. The way
// to a crash kernel keeps it in crashing_cpu (x86), panic() in panic_cpu, which
// is static in kernel/panic.c; both are -1 before. It fails if neither can be
// read.
func (k *Kernel) PanicCPU() (int, error) {
	var failed error
	read := false
	for _, name := range []string{"crashing_cpu", "panic_cpu"} {
		a, err := k.Symbol(name)
		if err != nil {
			failed = cmp.Or(failed, err)
			continue
		}
		n, err := k.Space.Uint32(a)
		switch {
		case err != nil:
			failed = cmp.Or(failed, err)
		case n < maxCPUs:
			return int(n), nil
		default:
			read = true
		}
	}
	if read {
		failed = nil
	}
	return -1, failed
}

// sameIncident is the time between two messages of one incident at most: to
// print a stack to a slow console takes seconds.
const sameIncident = 10 * time.Second

// PanicMessage returns the reason of a panic as the log tells it, or "". That is
// the message of the last panic or, if it only ends an incident such as an oops,
// the first message of that. A crash kernel may be started by an oops itself:
// then there is no panic.
func PanicMessage(log []LogRecord) string {
	p := lastOf(log, func(s string) bool { return strings.HasPrefix(s, panicText) })
	if p < 0 {
		return unfinished(log)
	}
	for _, c := range consequences {
		if !strings.Contains(log[p].Text, c.text) {
			continue
		}
		i := lastOf(log[:p], isReport(c.causes))
		if i < 0 || c.within > 0 && log[p].Time-log[i].Time > c.within {
			break
		}
		return log[firstOf(log, i, c.causes)].Text
	}
	return log[p].Text
}

// unfinished returns the first message of an incident that the kernel has not
// survived: nothing says that it has ended.
func unfinished(log []LogRecord) string {
	log = log[lastOf(log, func(s string) bool { return strings.HasPrefix(s, endOfOops) })+1:]
	i := lastOf(log, func(s string) bool { return kindOf(s) != nil })
	if i < 0 {
		return ""
	}
	return log[firstOf(log, i, kindOf(log[i].Text))].Text
}

// lastOf is the index of the last message that fits, or -1.
func lastOf(log []LogRecord, fits func(text string) bool) int {
	for i := len(log) - 1; i >= 0; i-- {
		if fits(log[i].Text) {
			return i
		}
	}
	return -1
}

// firstOf is the index of the first message of the incident that message i
// belongs to.
func firstOf(log []LogRecord, i int, kind []string) int {
	first := i
	for i--; i >= 0 && !strings.HasPrefix(log[i].Text, endOfOops) && log[first].Time-log[i].Time <= sameIncident; i-- {
		if isReport(kind)(log[i].Text) {
			first = i
		}
	}
	return first
}

// kindOf is the kind of messages that a message is of, or nil.
func kindOf(text string) []string {
	for _, kind := range [][]string{sysrqs, lockups, oopses, others} {
		if isReport(kind)(text) {
			return kind
		}
	}
	return nil
}

// isReport tells whether a message is of a kind. A lockup is no oops, although
// it may begin like one.
func isReport(kind []string) func(text string) bool {
	oops := &kind[0] == &oopses[0]
	return func(text string) bool {
		return hasAnyPrefix(text, kind) && !(oops && hasAnyPrefix(text, lockups))
	}
}

func hasAnyPrefix(s string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}
