//go:build !unix

package safeopen

import "io/fs"

// Inode is not known here.
func Inode(fs.FileInfo) uint64 { return 0 }
