package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"procdump/capture"
	"procdump/target"
)

// maxParallel bounds how many processes are dumped at a time: each is stopped
// only while it is written, and they share one disk.
const maxParallel = 4

// run is one invocation.
type run struct {
	o       *Options
	args    []string // as typed
	console *Console
	mask    capture.Mask
	child   *target.Child // of -x
}

// run does what the options ask for and returns the exit code.
func (r *run) run(ctx context.Context) int {
	var targets []target.Process
	var dumps, code int
	if r.o.Action == ActionCancel {
		code = r.cancel()
	} else if targets, code = r.targets(ctx); len(targets) > 0 {
		dumps, code = r.all(ctx, targets)
	}
	if len(targets) > 0 || r.o.JSON {
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

// targets finds or launches what to dump. With an empty result the code says
// why.
func (r *run) targets(ctx context.Context) ([]target.Process, int) {
	// Where dumps go is checked first: a mistyped folder is found out before
	// anything is launched.
	if err := r.parseMask(r.o.All); err != nil {
		r.console.Error(err)
		return nil, ExitUsage
	}
	if r.o.Launch != nil {
		p, err := r.launch(ctx)
		if err != nil {
			r.console.Error(err)
			return nil, exitCode(err)
		}
		return []target.Process{p}, ExitOK
	}
	sel, err := target.ParseSelector(r.o.Target)
	if err != nil {
		r.console.Error(err)
		return nil, exitCode(err)
	}
	found, err := target.Find(sel)
	if err != nil {
		r.console.Error(err)
		return nil, exitCode(err)
	}
	if len(found) > 1 && !r.o.All {
		r.ambiguous(found)
		return nil, ExitNoTarget
	}
	return found, ExitOK
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

func (r *run) launch(ctx context.Context) (target.Process, error) {
	child, err := target.Launch(r.o.Launch[0], r.o.Launch[1:])
	if err != nil {
		return target.Process{}, err
	}
	r.child = child
	if err := child.Ready(ctx); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return target.Process{}, fmt.Errorf("%w; no dump was written", err)
	}
	p, err := target.Get(child.PID)
	if err != nil {
		return p, err
	}
	r.console.Process(consoleProcess(p), false).Launched(r.o.Launch)
	return p, nil
}

func consoleProcess(p target.Process) Process {
	exe := p.Exe
	if p.ExeDeleted {
		exe = ""
	}
	return Process{PID: p.PID, Name: p.Name, Exe: exe}
}

// all dumps every target, several at a time, and returns how many dumps were
// written and the gravest exit code.
func (r *run) all(ctx context.Context, targets []target.Process) (dumps, code int) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	slots := make(chan struct{}, maxParallel)
	for _, p := range targets {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			mu.Lock()
			code = worse(code, exitCode(context.Cause(ctx)))
			mu.Unlock()
			break
		}
		wg.Go(func() {
			defer func() { <-slots }()
			s := &session{run: r, p: p, console: r.console.Process(consoleProcess(p), len(targets) > 1)}
			err := s.dumpAll(ctx)
			mu.Lock()
			defer mu.Unlock()
			dumps += s.dumps
			code = worse(code, exitCode(err))
		})
	}
	wg.Wait()
	return dumps, code
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

// errEnded means that the target ended before all its dumps were written.
var errEnded = errors.New("the process ended before all dumps were written")
