package target

import (
	"fmt"
	"runtime"
	"syscall"
)

// stopOften seizes a process and stops it a hundred times, waiting for each stop.
func stopOften(pid int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const (
		seize     = 0x4206
		interrupt = 0x4207
	)
	request := func(n, data uintptr) error {
		if _, _, errno := syscall.RawSyscall6(syscall.SYS_PTRACE, n, uintptr(pid), 0, data, 0, 0); errno != 0 {
			return fmt.Errorf("ptrace %#x: %w", n, errno)
		}
		return nil
	}
	if err := request(seize, 0); err != nil {
		return err
	}
	for range 100 {
		if err := request(interrupt, 0); err != nil {
			return err
		}
		var status syscall.WaitStatus
		if _, err := syscall.Wait4(pid, &status, wAll, nil); err != nil {
			return fmt.Errorf("wait: %w", err)
		}
		if !status.Stopped() {
			return fmt.Errorf("status %#x", uint32(status))
		}
		if err := request(syscall.PTRACE_CONT, 0); err != nil {
			return err
		}
	}
	if err := request(interrupt, 0); err != nil {
		return err
	}
	if _, err := syscall.Wait4(pid, nil, wAll, nil); err != nil {
		return err
	}
	return request(syscall.PTRACE_DETACH, 0)
}
