package trigger

import "time"

// Limiter bounds how many dumps are made and how soon after each other. K
// identifies a process; a PID alone will not do, since it may be used again.
// The limits must not be changed after the first use; 0 is no limit.
type Limiter[K comparable] struct {
	PerProcess int           // dumps of one process (-n)
	Total      int           // dumps of all processes together (-ntotal)
	Cooldown   time.Duration // from the end of a process's dump to its next

	written   int
	running   int
	processes map[K]*count
}

// count is what a Limiter knows of one process.
type count struct {
	written, running int
	ended            time.Time // its last dump; zero: none
}

// Verdict is a Limiter's answer.
type Verdict int

const (
	Allowed     Verdict = iota
	CoolingDown         // the last dump of the process was too short a time ago
	ProcessDone         // the process has all its dumps, or they are being written
	AllDone             // all dumps are there, or are being written
)

// String says why a dump is allowed or not.
func (v Verdict) String() string {
	switch v {
	case Allowed:
		return "allowed"
	case CoolingDown:
		return "cooling down"
	case ProcessDone:
		return "dump count of the process reached"
	case AllDone:
		return "total dump count reached"
	}
	return "unknown"
}

// Take asks for a dump of the process at the time now. If it is Allowed, it
// counts from here on, and End must be called when the dump has ended.
func (l *Limiter[K]) Take(now time.Time, process K) Verdict {
	c := l.processes[process]
	switch {
	case l.Total > 0 && l.written+l.running >= l.Total:
		return AllDone
	case c == nil:
		c = &count{}
	case l.PerProcess > 0 && c.written+c.running >= l.PerProcess:
		return ProcessDone
	case l.Cooldown > 0 && c.running > 0:
		return CoolingDown
	case l.Cooldown > 0 && !c.ended.IsZero() && now.Sub(c.ended) < l.Cooldown:
		return CoolingDown
	}
	if l.processes == nil {
		l.processes = map[K]*count{}
	}
	l.processes[process] = c
	c.running++
	l.running++
	return Allowed
}

// End tells that a dump that was allowed ended at the time now. One that was
// not written does not count, but the cooldown follows it as well.
func (l *Limiter[K]) End(now time.Time, process K, written bool) {
	l.running--
	if written {
		l.written++
	}
	c := l.processes[process]
	if c == nil {
		return // forgotten while it was being dumped
	}
	c.running--
	c.ended = now
	if written {
		c.written++
	}
}

// Written returns the number of dumps of the process that were written.
func (l *Limiter[K]) Written(process K) int {
	if c := l.processes[process]; c != nil {
		return c.written
	}
	return 0
}

// WrittenTotal returns the number of dumps of all processes that were written.
func (l *Limiter[K]) WrittenTotal() int { return l.written }

// ProcessDone tells whether all dumps of the process are written.
func (l *Limiter[K]) ProcessDone(process K) bool {
	return l.Done() || l.PerProcess > 0 && l.Written(process) >= l.PerProcess
}

// Done tells whether all dumps are written.
func (l *Limiter[K]) Done() bool { return l.Total > 0 && l.written >= l.Total }

// Forget drops what is known of a process that has ended. Its dumps still count
// in the total.
func (l *Limiter[K]) Forget(process K) { delete(l.processes, process) }
