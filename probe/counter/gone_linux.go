package counter

import (
	"errors"
	"path/filepath"
	"syscall"
)

// isNoProcess tells whether an error can only mean that a process is no more:
// reading a kept file of it is ESRCH.
func isNoProcess(err error) bool { return errors.Is(err, syscall.ESRCH) }

const procMagic = 0x9fa0 // PROC_SUPER_MAGIC, <linux/magic.h>

// fdSized tells whether the size of /proc/PID/fd is the number of open files,
// which it is since Linux 6.2, and 0 before.
func fdSized(proc string) bool {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(proc, &fs); err != nil || int64(fs.Type) != procMagic {
		return false
	}
	var st syscall.Stat_t
	return syscall.Stat(filepath.Join(proc, "self", "fd"), &st) == nil && st.Size > 0
}
