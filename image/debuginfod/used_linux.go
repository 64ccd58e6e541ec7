package debuginfod

import (
	"io/fs"
	"syscall"
	"time"
)

// used is when a file was read last.
func used(st fs.FileInfo) time.Time {
	if s, ok := st.Sys().(*syscall.Stat_t); ok {
		return time.Unix(int64(s.Atim.Sec), int64(s.Atim.Nsec))
	}
	return st.ModTime()
}
