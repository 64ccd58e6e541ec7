package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"procdump/capture"
	"procdump/corepattern"
	"procdump/monitor"
	"procdump/target"
)

// run is one invocation.
type run struct {
	o        *Options
	args     []string // as typed
	console  *Console
	mask     capture.Mask
	launched atomic.Bool    // -x has been told
	reports  *reports       // of -inspect; nil without it
	kernel   *kernelSide    // of -mk; nil if the kernel's memory cannot be had
	pacer    *capture.Pacer // of all dumps together
	several  bool           // there may be more than one process: lines name theirs
}

// run does what the options ask for and returns the exit code.
func (r *run) run(ctx context.Context) int {
	switch r.o.Action {
	case ActionCancel:
		return r.ended(r.cancel(), 0, false)
	case ActionInstall:
		set, err := handlerSettings(r.o)
		if err != nil {
			r.console.Error(err)
			return r.ended(exitCode(err), 0, false)
		}
		return r.ended(install(r.console, corepattern.System{}, set, r.o.Overwrite), 0, false)
	case ActionUninstall:
		return r.ended(uninstall(r.console, corepattern.System{}, r.o.Overwrite), 0, false)
	case ActionCounters:
		return r.ended(r.counters(ctx), 0, false)
	}
	scope, code := r.scope(ctx)
	if code != ExitOK {
		return r.ended(code, 0, false)
	}
	dumps, code := r.monitor(ctx, scope)
	return r.ended(code, dumps, true)
}

// ended prints the end where there was something to watch.
func (r *run) ended(code, dumps int, watched bool) int {
	if watched || r.o.JSON {
		r.console.End(code == ExitOK, dumps, code)
	}
	return code
}

func (r *run) cancel() int {
	n, err := target.Cancel(r.o.CancelPID)
	if err != nil {
		r.console.Error(err)
	}
	if n > 0 {
		r.console.Note("Cancelled %d procdump watching PID %d.", n, r.o.CancelPID)
	}
	return exitCode(err)
}

// scope finds or launches what to watch. If it does not succeed the code says
// why, and the error has been printed.
func (r *run) scope(ctx context.Context) (monitor.Scope, int) {
	failed := func(err error) (monitor.Scope, int) {
		r.console.Error(remedied(err))
		return monitor.Scope{}, exitCode(err)
	}
	o := r.o
	// Where dumps go is checked first: a mistyped folder is found out before
	// anything is launched.
	if err := r.parseMask(o.All || o.Tree); err != nil {
		r.console.Error(err)
		return monitor.Scope{}, ExitUsage
	}
	if o.Launch != nil {
		scope, err := r.launch(ctx)
		if err != nil {
			return failed(err)
		}
		return scope, ExitOK
	}
	sel, err := target.ParseSelector(o.Target)
	if err != nil {
		return failed(err)
	}
	s := monitor.Scope{Selector: sel, Wait: o.Wait, Follow: o.Wait && o.All || o.Group, UntilEmpty: o.Group, Tree: o.Tree}
	s.Processes, err = target.Find(sel)
	switch {
	case err == nil:
	case o.Wait && errors.Is(err, target.ErrNotFound):
		// The monitor says that it waits, once it does.
	default:
		return failed(err)
	}
	if len(s.Processes) > 1 && !o.All {
		r.ambiguous(s.Processes)
		return s, ExitNoTarget
	}
	return s, ExitOK
}

func (r *run) parseMask(several bool) error {
	m, err := capture.ParseMask(r.o.Path, capture.MaskOptions{Format: r.o.Format, Compress: r.o.Compress,
		Folder: r.o.Launch != nil, Kinds: len(r.o.Kinds), Processes: several})
	r.mask = m
	return err
}

func (r *run) ambiguous(found []target.Process) {
	var table strings.Builder
	fmt.Fprintf(&table, "procdump: %d processes match %s; say which:\n\n", len(found), r.o.Target)
	if err := target.WriteTable(&table, found, r.o.Target); err != nil {
		r.console.Error(err)
	}
	list := make([]Candidate, len(found))
	for i := range found {
		p := &found[i]
		list[i] = Candidate{PID: p.PID, Process: p.Name, Started: p.Start, CPUMicros: p.CPU.Microseconds(),
			MemoryBytes: p.RSS, User: p.User, Arguments: p.Args}
	}
	r.console.Candidates(r.o.Target, list, table.String())
}

// launch starts the program of -x. Where a trigger has to see its first
// instruction it is held before that.
func (r *run) launch(ctx context.Context) (monitor.Scope, error) {
	s := monitor.Scope{Tree: r.o.Tree}
	program, args := r.o.Launch[0], r.o.Launch[1:]
	if r.o.Rules.Begins() {
		held, err := target.LaunchHeld(program, args)
		if err != nil {
			return s, err
		}
		s.Child, s.Held = held.Child, held
		return s, nil
	}
	child, err := target.Launch(program, args)
	if err != nil {
		return s, err
	}
	s.Child = child
	if !r.o.Rules.Any() {
		if err := child.Ready(ctx); err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return s, fmt.Errorf("%w; no dump was written", err)
		}
	}
	return s, nil
}

func consoleProcess(p target.Process) Process {
	exe := p.Exe
	if p.ExeDeleted {
		exe = ""
	}
	return Process{PID: p.PID, Name: p.Name, Exe: exe}
}

// monitor watches what is in scope and returns how many dumps were written and
// the exit code.
func (r *run) monitor(ctx context.Context, scope monitor.Scope) (dumps, code int) {
	r.several = len(scope.Processes) > 1 || scope.Follow || scope.Tree
	if r.o.Rules.Any() {
		r.console.Settings(r.settings(scope))
	}
	var view func([]monitor.Row)
	if r.o.Live {
		view = r.console.Live
	}
	r.openKernel()
	defer r.closeKernel()
	if r.o.Inspect {
		r.reports = newReports(ctx)
		defer r.reports.wait()
	}
	out := monitor.Run(ctx, monitor.Config{View: view, Rules: r.o.Rules, Limits: r.o.Limits, Scope: scope, Kill: r.o.Kill, TimeLimit: r.o.TimeLimit,
		Live:     monitor.LiveOptions{KernelStacks: r.o.KernelStacks, View64: r.o.View64, Clone: r.mayClone()},
		Parallel: r.o.Clones, Avoid: r.o.Avoid,
		Observer: observer{r}, Dumper: dumper{r}})
	for _, err := range out.Errors {
		code = worse(code, exitCode(err))
	}
	if scope.UntilEmpty && code == ExitOK && out.Dumps == 0 {
		code = ExitNotReached
	}
	return out.Dumps, code
}

// worse returns the code that says more: cancelling stands above all, then
// what failed, then what was not allowed.
func worse(a, b int) int {
	rank := []int{ExitOK, ExitNotReached, ExitNoTarget, ExitPermission, ExitUsage, ExitFailed, ExitCancelled}
	at := func(c int) int {
		for i, v := range rank {
			if v == c {
				return i
			}
		}
		return 0
	}
	if at(b) > at(a) {
		return b
	}
	return a
}
