package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"runtime/debug"

	"procdump/capture"
	"procdump/internal/sys/fsys"
	"procdump/kernel/rescue"
	"procdump/monitor"
	"procdump/target"
)

// errCancelled is the cause of a run that Ctrl-C or SIGTERM ended.
var errCancelled = monitor.ErrCancelled

// heapLimit is the size of the Go heap, in bytes, from which on garbage is
// collected. Below it is not: a collection in the middle of a stop would cost
// the target more than these bytes cost the machine.
const heapLimit = 36 << 20

// Main runs procdump with the arguments after its name and returns its exit
// code.
func Main(args []string, out, errOut *os.File) int {
	if rescue.Active() {
		rescue.Main(Version)
	}
	if isHandler(args) {
		return handle(args, os.Stdin)
	}
	if run := findVerb(verbs(), args); run != nil {
		return run(args[1:], out, errOut)
	}
	o, err := Parse(args)
	if err != nil {
		fmt.Fprintf(errOut, "procdump: %v\nprocdump -? explains all switches.\n", err)
		return ExitUsage
	}
	switch o.Action {
	case ActionHelp:
		return printText(out, Help())
	case ActionVersion:
		return printText(out, "procdump "+Version+"\n")
	case ActionMan:
		return printText(out, Man())
	}
	debug.SetMemoryLimit(heapLimit)
	debug.SetGCPercent(-1)
	ctx, stop := untilSignal()
	defer stop()
	console := NewConsole(ConsoleConfig{Out: out, Err: errOut, JSON: o.JSON, Width: func() int { return fsys.TerminalWidth(errOut) }})
	defer console.Close()
	console.Start(append([]string{"procdump"}, args...))
	r := &run{o: o, args: args, console: console, pacer: o.pacer()}
	return r.run(ctx)
}

func printText(w io.Writer, text string) int {
	if _, err := io.WriteString(w, text); err != nil {
		return ExitFailed
	}
	return ExitOK
}

// untilSignal is done at the first Ctrl-C, SIGTERM or hang-up; a second one
// ends procdump at once. A broken pipe or a file size limit is an error of the
// write that meets it, and Ctrl-Z is not heeded: the target has to be let go in
// order, and must not stand still with procdump. All these are caught, not
// ignored: a program that -x launches would inherit that.
func untilSignal() (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signal.Notify(make(chan os.Signal, 1), heldSignals...)
	c := make(chan os.Signal, 1)
	for _, sig := range endSignals {
		// Where the shell started procdump with one ignored it stays so.
		if !signal.Ignored(sig) {
			signal.Notify(c, sig)
		}
	}
	go func() {
		<-c
		signal.Stop(c)
		cancel(errCancelled)
	}()
	return ctx, func() { signal.Stop(c) }
}

// exitCode is the code for an error that ends a command, or a target's dumps.
func exitCode(err error) int {
	var usage *UsageError
	switch {
	case err == nil:
		return ExitOK
	case errors.Is(err, errCancelled):
		return ExitCancelled
	case errors.As(err, &usage), errors.Is(err, target.ErrSelector):
		return ExitUsage
	case errors.Is(err, target.ErrDenied), errors.Is(err, fs.ErrPermission):
		return ExitPermission
	case errors.Is(err, target.ErrNotFound), errors.Is(err, target.ErrNotWatched), errors.Is(err, errNoProcess):
		return ExitNoTarget
	case errors.Is(err, capture.ErrAvoided), errors.Is(err, monitor.ErrEnded), errors.Is(err, monitor.ErrGone), errors.Is(err, target.ErrEnded):
		return ExitNotReached
	}
	return ExitFailed
}
