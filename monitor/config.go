package monitor

import (
	"errors"
	"time"

	"procdump/target"
)

// Config is what Run is to do.
type Config struct {
	Rules  Rules
	Limits Limits
	Scope  Scope
	Live   LiveOptions
	Kill   bool // the process is killed after its last dump
	// TimeLimit is how long a process may stand still for its dump, which the
	// Dumper sees to; 0: no limit.
	TimeLimit time.Duration

	// Parallel is how many dumps are taken at a time; 0: as many as is good.
	Parallel int
	// Avoid skips what triggers a dump if the process would have to stand until
	// another dump is done.
	Avoid bool

	Observer Observer
	Dumper   Dumper
	// View, if not nil, is told once a second how all processes are. It must
	// not wait for anybody.
	View func([]Row)
}

// LiveOptions say how a process is read (see live/linux.Options).
type LiveOptions struct {
	KernelStacks bool
	View64       bool
	Clone        bool // a dump may be written from a clone
}

// Scope says which processes are watched.
type Scope struct {
	Selector  target.Selector
	Processes []target.Process // that match it now
	// Wait watches the next process that matches if there is none now, and ends
	// with it.
	Wait bool
	// Follow watches every process that will match, until Run is cancelled.
	Follow bool
	// UntilEmpty ends a Follow when no process is left.
	UntilEmpty bool
	Tree       bool // descendants too

	// Child is a program that is being launched, instead of all that. Where a
	// rule needs it traced it is Held until then.
	Child *target.Child
	Held  *target.Held
}

// newcomers tells whether processes may have to be watched that do not exist yet.
func (s *Scope) newcomers() bool {
	return s.Follow || s.Tree || s.Wait && len(s.Processes) == 0
}

// Outcome is how a Run ended.
type Outcome struct {
	Dumps int
	// Errors are those of dumps and processes, at most maxErrors; ErrEnded for
	// each process that ended before it had all its dumps. None: all that was
	// asked for is done.
	Errors []error
}

const maxErrors = 100

// ErrCancelled means that somebody asked for the end (procdump -cancel).
var ErrCancelled = errors.New("cancelled")

// ErrEnded means that a process ended before all its dumps were written.
var ErrEnded = errors.New("the process ended before all dumps were written")
