package corepattern

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"procdump/internal/sys/fsys"
)

// fileFacts identifies a regular file and tells what it takes of the disk.
func fileFacts(path string) (inode uint64, size int64, disk uint64, err error) {
	st, err := os.Lstat(path)
	if err != nil {
		return 0, 0, 0, err
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok || !st.Mode().IsRegular() {
		return 0, 0, 0, fs.ErrInvalid
	}
	return sys.Ino, st.Size(), uint64(sys.Blocks) * 512, nil
}

// alive tells whether a process exists.
func alive(pid int) bool {
	_, err := os.Stat(fmt.Sprintf("/proc/%d", pid))
	return err == nil
}

// diskSize is the size of the file system that holds a folder, in bytes, 0 if
// it does not tell.
func diskSize(folder string) uint64 {
	size, _, err := fsys.Space(folder)
	if err != nil {
		return 0
	}
	return uint64(size)
}
