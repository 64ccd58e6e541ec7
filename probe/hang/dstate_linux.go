package hang

import (
	"errors"
	"syscall"
)

// isNoProcess: reading a kept file of a process that has ended is ESRCH.
func isNoProcess(err error) bool { return errors.Is(err, syscall.ESRCH) }
