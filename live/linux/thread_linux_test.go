package linux

import (
	"runtime"
	"syscall"
)

func lockThread() { runtime.LockOSThread() }

// setThreadUID changes the calling thread's user only (the raw system call).
func setThreadUID(uid int) error {
	if _, _, e := syscall.RawSyscall(syscall.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); e != 0 {
		return e
	}
	return nil
}
