package monitor

import (
	"slices"
	"time"

	"procdump/trigger"
)

// Rules say when a process is to be dumped. The zero Rules have no trigger:
// then the first dump is due at once and each next one Interval after the end
// of the one before.
type Rules struct {
	CPU    []Bound // percent of what the process may use; of one core if OneCore
	Commit []Commit
	// OneCore measures CPU in percent of one core, so that a process on two
	// cores may reach 200.
	OneCore  bool
	Threads  []Bound
	Files    []Bound
	Counters []Counter

	Window    bool     // -h: a window or a thread that hangs
	Endpoints []string // -hp: addresses that must answer

	Unhandled   bool  // a signal is about to kill the process
	FirstChance bool  // every error signal, handled or not
	Breakpoints bool  // SIGTRAP, handled or not
	Signals     []int // these, handled or not
	ThreadStart bool
	ThreadExit  bool
	Mapped      bool // an image is mapped
	Unmapped    bool
	Terminate   bool // the process ends, however
	Output      bool // show what it writes; a filter makes that a trigger

	// Filter is applied to the text of exceptions, output and image paths.
	Filter trigger.Filter

	// Hold is how long thresholds must be crossed, without a break.
	Hold time.Duration
	// Interval is the time between dumps where there is no trigger.
	Interval time.Duration
	// Period is how often the process is looked at; 0: as its number allows.
	Period time.Duration
}

// Bound is a threshold: at or above Value, or below it.
type Bound struct {
	Value float64
	Below bool
}

// Commit is a threshold of committed memory.
type Commit struct {
	Bound          // Value in bytes, or in percent
	Percent   bool // of the memory limit of the process's cgroup, or of the machine's RAM
	Listed    bool // one of several: it fires once
	WrittenAs string
}

// Counter is a threshold of a performance counter.
type Counter struct {
	Name string
	Bound
}

// Sampled tells whether a rule needs the process to be looked at regularly.
func (r *Rules) Sampled() bool {
	return len(r.CPU)+len(r.Commit)+len(r.Threads)+len(r.Files)+len(r.Counters)+len(r.Endpoints) > 0 || r.Window
}

// Traced tells whether a rule needs the process to be traced (ptrace(2)).
func (r *Rules) Traced() bool {
	return r.Unhandled || r.FirstChance || r.Breakpoints || r.Terminate || r.ThreadStart || r.ThreadExit || len(r.Signals) > 0
}

// Any tells whether there is a trigger at all.
func (r *Rules) Any() bool {
	return r.Sampled() || r.Traced() || r.Mapped || r.Unmapped || r.Output
}

// errorSignals are those that FirstChance means: errors of the program, not
// requests of others. Their numbers are the same on amd64, i386 and arm64.
var errorSignals = []int{4, 5, 6, 7, 8, 11, 31} // ILL TRAP ABRT BUS FPE SEGV SYS

const sigtrap = 5

// errorSignal tells whether FirstChance means a signal.
func (r *Rules) errorSignal(sig int) bool { return slices.Contains(errorSignals, sig) }

// wants tells whether a signal is a trigger even if the process handles it.
func (r *Rules) wants(sig int) bool {
	return r.FirstChance && r.errorSignal(sig) || r.Breakpoints && sig == sigtrap || slices.Contains(r.Signals, sig)
}

// Begins tells whether a rule has to see a new program from its beginning.
func (r *Rules) Begins() bool { return r.Traced() || r.Output || r.Mapped || r.Unmapped }

// Limits bound the dumps.
type Limits struct {
	PerProcess int           // dumps of one process; then it is not watched any more
	Total      int           // dumps of all processes; 0: no bound
	Cooldown   time.Duration // after a dump of a process, before its next trigger counts
}

// filtered tells whether a filter makes output a trigger.
func (r *Rules) filtered() bool { return len(r.Filter.Include)+len(r.Filter.Exclude) > 0 }
