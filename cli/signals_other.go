//go:build !unix

package cli

import (
	"os"
	"syscall"
)

var ignoredSignals = []os.Signal{syscall.SIGPIPE}
