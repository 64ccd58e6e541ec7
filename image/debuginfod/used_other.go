//go:build !linux

package debuginfod

import (
	"io/fs"
	"time"
)

// used is when a file was written: when it was read is not known here.
func used(st fs.FileInfo) time.Time { return st.ModTime() }
