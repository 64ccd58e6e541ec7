package machine

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// flags are the options of mount(8) that are flags of mount(2); all others go
// to the file system as they are.
var flags = map[string]uintptr{
	"defaults": 0, "rw": 0, "ro": 0, "auto": 0, "noauto": 0, "nofail": 0, "_netdev": 0, "user": 0, "nouser": 0,
	"suid": 0, "dev": 0, "exec": 0, "async": 0, "relatime": unix.MS_RELATIME, "strictatime": unix.MS_STRICTATIME,
	"nosuid": unix.MS_NOSUID, "nodev": unix.MS_NODEV, "noexec": unix.MS_NOEXEC, "sync": unix.MS_SYNCHRONOUS,
	"dirsync": unix.MS_DIRSYNC, "noatime": unix.MS_NOATIME, "nodiratime": unix.MS_NODIRATIME, "lazytime": unix.MS_LAZYTIME,
}

// Mount mounts a file system so that it can be written. The options are as in
// /proc/mounts; a word that says "read-only" does not count.
func Mount(device, folder, fsType, options string) error {
	var bits uintptr
	var data []string
	for word := range strings.SplitSeq(options, ",") {
		bit, known := flags[word]
		switch {
		case known:
			bits |= bit
		case word != "" && !strings.HasPrefix(word, "x-"):
			data = append(data, word)
		}
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(device, folder, fsType, bits, strings.Join(data, ",")); err != nil {
		return &fs.PathError{Op: "mount " + fsType, Path: device, Err: err}
	}
	return nil
}

// MountKernel mounts a file system of the kernel's own (proc, sysfs, …) unless
// it is mounted there already.
func MountKernel(fsType, folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	err := unix.Mount(fsType, folder, fsType, 0, "")
	if err != nil && !errors.Is(err, unix.EBUSY) {
		return &fs.PathError{Op: "mount " + fsType, Path: folder, Err: err}
	}
	return nil
}

// Unmount writes everything to disk and unmounts the file system.
func Unmount(folder string) error {
	if err := unix.Unmount(folder, 0); err != nil {
		return &fs.PathError{Op: "unmount", Path: folder, Err: err}
	}
	return nil
}

// SyncFS writes everything of the file system that holds a folder to disk, and
// waits for it.
func SyncFS(folder string) error {
	f, err := os.Open(folder)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return &fs.PathError{Op: "sync", Path: folder, Err: err}
	}
	return nil
}

// InMemory tells whether a folder is on a file system that is nothing but
// memory: the one that a kernel starts with.
func InMemory(folder string) bool {
	var st unix.Statfs_t
	err := unix.Statfs(folder, &st)
	return err == nil && (int64(st.Type) == unix.RAMFS_MAGIC || int64(st.Type) == unix.TMPFS_MAGIC)
}

// ScanBTRFS tells the kernel's btrfs that a device belongs to a file system of
// several devices: it mounts one only when it knows all of them
// (BTRFS_IOC_SCAN_DEV, linux/btrfs.h).
func ScanBTRFS(device string) error {
	f, err := os.Open("/dev/btrfs-control")
	if err != nil {
		return err
	}
	defer f.Close()
	const scanDev = 0x50009404 // _IOW(0x94, 4, struct btrfs_ioctl_vol_args)
	return scan(f, scanDev, device)
}
