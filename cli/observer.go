package cli

import (
	"errors"
	"fmt"
	"io/fs"

	"procdump/internal/sys/fsys"
	"procdump/target"
)

// observer shows what the monitor sees.
type observer struct{ run *run }

// process is the console of a process.
func (r *run) process(p target.Process) *ProcessConsole {
	return r.console.Process(consoleProcess(p), r.several)
}

// Watching implements monitor.Observer.
func (o observer) Watching(p target.Process) {
	switch {
	case o.run.o.Launch != nil && o.run.launched.CompareAndSwap(false, true):
		o.run.process(p).Launched(o.run.o.Launch)
		if o.run.o.Rules.Any() {
			o.run.process(p).Watching()
		}
	case o.run.o.Wait || o.run.o.Rules.Any():
		o.run.process(p).Watching()
	}
}

// Event implements monitor.Observer.
func (o observer) Event(p target.Process, text string) { o.run.process(p).Observed(text) }

// Exited implements monitor.Observer.
func (o observer) Exited(p target.Process, status string) { o.run.process(p).Exited(status) }

// Note implements monitor.Observer.
func (o observer) Note(text string) { o.run.console.Note("%s", text) }

// Warning implements monitor.Observer.
func (o observer) Warning(p *target.Process, text string) {
	if p == nil {
		o.run.console.Warning(text)
		return
	}
	o.run.process(*p).Warning(text)
}

// Failed implements monitor.Observer.
func (o observer) Failed(p *target.Process, err error) {
	if p == nil {
		o.run.console.Error(remedied(err))
		return
	}
	o.run.process(*p).Error(explain(err, p.PID))
}

// explain adds to the system's error about a process what is behind it, and
// what to do.
func explain(err error, pid int) error {
	if errors.Is(err, fs.ErrPermission) {
		if why := target.ExplainDenied(pid); why != nil {
			return why
		}
	}
	return remedied(err)
}

// remedied adds what to do where procdump, or the machine, has reached a limit.
func remedied(err error) error {
	if remedy := fsys.Remedy(err); remedy != "" {
		return fmt.Errorf("%w; %s", err, remedy)
	}
	return err
}
