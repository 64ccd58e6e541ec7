//go:build unix

package cli

import (
	"os"
	"syscall"
)

var (
	endSignals  = []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP}
	heldSignals = []os.Signal{syscall.SIGPIPE, syscall.SIGXFSZ, syscall.SIGTSTP, syscall.SIGTTOU, syscall.SIGTTIN}
)
