// Handler is a crash handler for tests: procdump's, with its settings in another
// folder. A file in that folder says what else to do: "tee" keeps the kernel's
// core, "stream" too and lets the process go before it is handled, "crash" lists
// the crashed programs in the file "runs" and crashes.
package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"

	"procdump/corepattern"
)

// state is the folder; the linker sets it.
var state string

func main() {
	args, stdin := os.Args[2:], os.Stdin
	marked := func(name string) bool {
		_, err := os.Stat(filepath.Join(state, name))
		return err == nil
	}
	if marked("crash") {
		crash(args[len(args)-1])
	}
	if marked("tee") || marked("stream") {
		stdin = tee(filepath.Join(state, "kernel."+args[0]+".core"))
	}
	if marked("stream") {
		os.Stdin.Close()
	}
	os.Exit(corepattern.System{State: state, Tool: "handler test"}.Handle(context.Background(), args, stdin))
}

// crash ends this process by a signal that makes the kernel dump a core.
func crash(name string) {
	if f, err := os.OpenFile(filepath.Join(state, "runs"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600); err == nil {
		f.WriteString(name + "\n")
		f.Close()
	}
	debug.SetTraceback("crash")
	panic("a crash of the handler")
}

// tee copies the kernel's core to a file and returns that.
func tee(path string) *os.File {
	f, err := os.Create(path)
	if err == nil {
		_, err = io.Copy(f, os.Stdin)
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		os.Exit(1)
	}
	return f
}
