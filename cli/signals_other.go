//go:build !unix

package cli

import (
	"os"
	"syscall"
)

var (
	endSignals  = []os.Signal{os.Interrupt, syscall.SIGTERM}
	heldSignals = []os.Signal{syscall.SIGPIPE}
)
