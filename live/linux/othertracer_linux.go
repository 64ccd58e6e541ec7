package linux

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strconv"
	"time"
)

// How long one waits for another procdump that dumps the same process.
const (
	otherLimit = 10 * time.Second
	// otherRest is how long a process may run while it is traced until it is
	// clear that the tracer stays: one that dumps stops it at once, and is gone
	// when it goes on.
	otherRest = 300 * time.Millisecond
	otherNap  = 2 * time.Millisecond
	// otherTries is how often one tries again to attach where no tracer is to be
	// seen: it may have just gone, or be letting go of one thread after the other,
	// as this procdump's own of the try before.
	otherTries = 50
)

// otherTracer waits for another procdump to let a process go.
type otherTracer struct {
	pid   int
	end   time.Time
	stood time.Time // when the process was last seen standing
	tries int
}

// wait returns true when it is worth trying again to stop the process, after
// err; false when err is final.
func (o *otherTracer) wait(ctx context.Context, err error) bool {
	if !errors.Is(err, fs.ErrPermission) && !errors.Is(err, ErrTraced) {
		return false
	}
	now := time.Now()
	if o.end.IsZero() {
		o.end = now.Add(otherLimit)
	}
	// It has perhaps run on since the last call, and stood, too.
	o.stood = now
	for ; now.Before(o.end); now = time.Now() {
		tracer, state := tracedBy(o.pid)
		procdump := tracer != 0 && isProcdump(tracer)
		switch {
		case !procdump && hasEnded(tracer):
			if o.tries++; o.tries > otherTries {
				return false
			}
			return nap(ctx)
		case !procdump:
			return false
		case state == 't', state == 'D': // it stands, or will when the kernel has done with it
			o.stood = now
		case now.Sub(o.stood) > otherRest:
			return false
		}
		o.tries = 0
		if !nap(ctx) {
			return false
		}
	}
	return false
}

// nap waits for otherNap; false: ctx ended meanwhile.
func nap(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(otherNap):
		return true
	}
}

// tracedBy gives the thread that traces a process, or one of its threads, and
// the state of that, which is t where it stands still for the tracer; 0: none.
func tracedBy(pid int) (tracer int, state byte) {
	ids, err := tids(pid)
	if err != nil {
		return 0, 0
	}
	for _, tid := range ids {
		if tracer = tracerOf(tid); tracer == 0 {
			continue
		}
		st, err := readStat(procPath(pid, "task", strconv.Itoa(tid), "stat"))
		if err != nil {
			return tracer, 0
		}
		return tracer, st.state
	}
	return 0, 0
}

// isProcdump tells whether a thread is one of another procdump.
func isProcdump(tid int) bool {
	if b, err := os.ReadFile(procPath(tid, "status")); err == nil && statusField(b, "Name") == "procdump" {
		return true
	}
	other, err := os.Stat(procPath(tid, "exe"))
	if err != nil {
		return false
	}
	own, err := os.Stat("/proc/self/exe")
	return err == nil && os.SameFile(own, other)
}

// hasEnded tells whether a tracer is not there any more; 0: none was. Of one that
// ends, nothing can be found out about who it was.
func hasEnded(tracer int) bool {
	if tracer == 0 {
		return true
	}
	_, err := os.Stat(procPath(tracer))
	return errors.Is(err, fs.ErrNotExist)
}

// DumpedByOther tells of a process that was found traced whether another procdump
// traces it for a dump, for whose end Stop waits, or nobody does any more.
func DumpedByOther(pid int) bool {
	tracer, state := tracedBy(pid)
	if tracer != 0 && isProcdump(tracer) {
		return state == 't'
	}
	return hasEnded(tracer)
}
