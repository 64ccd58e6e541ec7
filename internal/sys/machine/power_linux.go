package machine

import "golang.org/x/sys/unix"

// Sync writes all file systems to disk and waits for it.
func Sync() { unix.Sync() }

// Restart starts the machine again, at once and without a sync (reboot(2)). It
// returns only if that is not possible.
func Restart() error { return unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART) }

// PowerOff switches the machine off, at once and without a sync. It returns
// only if that is not possible.
func PowerOff() error { return unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF) }
