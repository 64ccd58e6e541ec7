// Package safeopen opens files by paths that may name anything, or whose files
// others may replace: to open a named pipe would wait for who writes to it, and to
// open a device may change something.
package safeopen

import (
	"io/fs"
	"os"
	"syscall"
)

// File opens a file for reading if may returns nil for it. may is asked twice, for
// between the question and the opening there may come another file in its place:
// that is opened without waiting, and closed.
func File(path string, may func(fs.FileInfo) error) (*os.File, fs.FileInfo, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, nil, err
	}
	if err := may(st); err != nil {
		return nil, nil, err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	if st, err = f.Stat(); err == nil {
		err = may(st)
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, st, nil
}
