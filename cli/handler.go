package cli

import (
	"context"
	"os"
	"runtime/debug"

	"procdump/corepattern"
)

// handlerHeap is the size of the Go heap, in bytes, from which on a crash
// handler collects garbage: fifty may be at work.
const handlerHeap = 64 << 20

// isHandler tells whether the kernel has started this procdump for a crash.
func isHandler(args []string) bool { return len(args) > 0 && args[0] == corepattern.Switch }

// handle dumps the process that has crashed: args are those of the kernel, the
// core is in stdin. It must be called before anything else, for nobody can stop
// it and nobody sees what it prints.
func handle(args []string, stdin *os.File) int {
	debug.SetMemoryLimit(handlerHeap)
	return corepattern.Handle(context.Background(), "procdump "+Version, args[1:], stdin)
}
