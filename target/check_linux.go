package target

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"syscall"

	"procdump/internal/printable"
	"procdump/internal/sys/fsys"
)

// Check tells, before anything is done to p, whether it can be dumped at all.
// It reads p anew. Errors match ErrNotFound, ErrSelf, ErrZombie,
// ErrKernelThread or ErrTraced.
func Check(p Process) error { return Proc.Check(p) }

// Check checks a process of fs.
func (fs FS) Check(p Process) error {
	now, err := fs.Get(p.PID)
	if err != nil {
		// A PID that was there a moment ago needs no look into containers.
		if p.ticks != 0 && errors.Is(err, ErrNotFound) {
			return &Error{Kind: ErrNotFound, PID: p.PID, Cause: p.String() + " has ended"}
		}
		return err
	}
	switch {
	case p.ticks != 0 && p.ticks != now.ticks:
		return &Error{Kind: ErrNotFound, PID: p.PID, Cause: fmt.Sprintf("%s has ended; PID %d is %s now", p.String(), p.PID, printable.Text(now.Name))}
	case now.PID == fs.self():
		return &Error{Kind: ErrSelf, PID: now.PID, Cause: fmt.Sprintf("PID %d is this procdump", now.PID), Remedy: "a second procdump can dump it"}
	case now.Kernel:
		return &Error{Kind: ErrKernelThread, PID: now.PID, Cause: now.String() + " is a kernel thread: it has no user memory to dump",
			Remedy: fmt.Sprintf("its kernel stack is in /proc/%d/stack", now.PID)}
	case now.Zombie:
		return fs.zombie(&now)
	}
	return fs.checkTraced(&now)
}

// zombie tells what is left of a process: how it ended, and who has not yet
// collected that.
func (fs FS) zombie(p *Process) error {
	e := &Error{Kind: ErrZombie, PID: p.PID, Cause: p.String() + " is a zombie: it has ended and its memory is gone"}
	// The kernel shows 0 to who may not trace it: then 0 says nothing.
	self, ok := fs.status(fs.self())
	if p.exit != 0 || ok && (self.uid[1] == 0 || self.uid[1] == p.UID) {
		e.Cause += " (" + endText(syscall.WaitStatus(p.exit)) + ")"
	}
	r := newReader(fs)
	if parent, ok := r.base(p.PPID); ok {
		e.Cause += fmt.Sprintf("; its parent %s has not waited for it", parent.String())
		e.Remedy = fmt.Sprintf("to see why, dump the parent: procdump %d", parent.PID)
	}
	return e
}

// endText describes how a process ended.
func endText(s syscall.WaitStatus) string {
	switch {
	case s.Signaled() && s.CoreDump():
		return fmt.Sprintf("killed by signal %d, %s, core dumped", int(s.Signal()), s.Signal())
	case s.Signaled():
		return fmt.Sprintf("killed by signal %d, %s", int(s.Signal()), s.Signal())
	default:
		return fmt.Sprintf("exit status %d", s.ExitStatus())
	}
}

// checkTraced looks at every thread: a debugger may have attached to one only,
// and the first thread's status tells nothing of that. A tracer in another PID
// namespace reads 0 and is not seen.
func (fs FS) checkTraced(p *Process) error {
	tids, err := numbers(fs.of(p.PID, "task"))
	if err != nil {
		tids = []int{p.PID}
	}
	slices.Sort(tids)
	for _, tid := range tids {
		b, err := readFile(fs.of(p.PID, "task", strconv.Itoa(tid), "status"))
		if fsys.IsExhausted(err) {
			return fmt.Errorf("look who traces %s: %w", p.String(), err)
		}
		if err != nil {
			continue
		}
		if tracer := parseStatus(b).tracer; tracer != 0 && tracer != fs.self() {
			return fs.traced(p, tid, tracer)
		}
	}
	return nil
}

func (fs FS) traced(p *Process, tid, tracer int) error {
	// TracerPid is the tracing thread's; the process is what the user knows.
	if s, ok := fs.status(tracer); ok && s.tgid != 0 {
		tracer = s.tgid
	}
	name, command := "", ""
	if t, ok := newReader(fs).base(tracer); ok {
		name, command = printable.Text(t.Name), ": "+cut(printable.Text(t.CommandLine()), 200)
	}
	what := p.String()
	if tid != p.PID {
		what = fmt.Sprintf("thread %d of %s", tid, p.String())
	}
	return &Error{Kind: ErrTraced, PID: p.PID, Cause: fmt.Sprintf("%s is already traced by %s (PID %d%s)", what, name, tracer, command),
		Remedy: "a process has one tracer only: detach it first (gdb: detach) or end it"}
}
