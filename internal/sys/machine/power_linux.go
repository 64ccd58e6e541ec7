package machine

import (
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Sync writes all file systems to disk and waits for it.
func Sync() { unix.Sync() }

// Restart starts the machine again, at once and without a sync (reboot(2)). It
// returns only if that is not possible.
func Restart() error { return unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART) }

// PowerOff switches the machine off, at once and without a sync. It returns
// only if that is not possible.
func PowerOff() error { return unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF) }

// scan is the ioctl of ScanBTRFS; its argument is an s64 and a path in 4,088
// bytes.
func scan(f *os.File, request uintptr, path string) error {
	var arg [4096]byte
	copy(arg[8:len(arg)-1], path)
	_, _, e := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(unsafe.Pointer(&arg)))
	runtime.KeepAlive(f)
	if e != 0 {
		return e
	}
	return nil
}
