package machine

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Mount mounts a file system so that it can be written. The options are the file
// system's own, with commas between them.
func Mount(device, folder, fsType, options string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(device, folder, fsType, 0, options); err != nil {
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
