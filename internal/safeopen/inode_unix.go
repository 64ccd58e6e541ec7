//go:build unix

package safeopen

import (
	"io/fs"
	"syscall"
)

// Inode is the number of a file within its file system; 0: it has none.
func Inode(st fs.FileInfo) uint64 {
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		return sys.Ino
	}
	return 0
}
