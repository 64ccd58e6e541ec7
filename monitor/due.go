package monitor

import (
	"context"
	"time"

	"procdump/capture"
	"procdump/snapshot"
	"procdump/target"
)

// Due is a dump that is to be taken.
type Due struct {
	Process target.Process
	Number  int    // of this process's dumps, from 1
	Reason  string // a whole line, for the console and the dump's note
	// Code stands for EXCEPTIONCODE in the dump's name; "" if nothing triggered.
	Code    string
	Shown   bool // the observer has been told the reason
	Time    time.Time
	Samples []snapshot.Samples // what was watched, up to now
	// Held tells that the process stands already, at what triggered the dump.
	Held bool

	last  func() // the process is not needed any more for its last dump; nil: it is
	stop  stopper
	gauge *gauge // whose threshold was crossed; nil: none
}

// Prepare is told what is known of a process before it is stopped, where it runs
// on until then. noClone says what stands against cloning it, as far as is known
// by now; "": nothing. If it fails so does the stop. What it returns asks for a
// copy that is made before the stop; nil: none is wanted.
type Prepare func(p *snapshot.Process, noClone string) (*capture.PreCopy, error)

// stopper makes a process stand still.
type stopper func(ctx context.Context, prepare Prepare) (capture.Source, error)

// Stop makes the process stand still until the Source is resumed. prepare is
// called once with what is known of it, before the stop where that is possible;
// its error ends Stop.
func (d *Due) Stop(ctx context.Context, prepare Prepare) (capture.Source, error) {
	return d.stop(ctx, prepare)
}

// Cloned tells that the dump is written from a clone that does not need the
// process any more: it is killed now if it is to be after its last dump.
func (d *Due) Cloned() {
	if d.last != nil {
		d.last()
	}
}

// Dumper writes dumps. It reports its errors itself; the one that it returns
// says whether the dump was written, and how procdump is to end.
type Dumper interface {
	Dump(ctx context.Context, d *Due) error
}

// Observer is told what happens. Its methods are called from several
// goroutines and must not wait for anybody.
type Observer interface {
	// Watching tells that a process is watched from now on.
	Watching(p target.Process)
	// Event is something that a user wants to see, whether or not a dump follows.
	Event(p target.Process, text string)
	// Exited tells that a process is gone; status is "" if unknown.
	Exited(p target.Process, status string)
	// Note and Warning are about no process, or about one.
	Note(text string)
	Warning(p *target.Process, text string)
	// Failed tells that a process cannot be watched.
	Failed(p *target.Process, err error)
}
