package proc

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
)

func (p *Process) path(name string) string { return p.m.path(p.pid, name) }

func (p *Process) readStatm(kept int32, name string) (size, anonymous uint64, err error) {
	var buf [192]byte // 7 numbers
	n, err := readAt(kept, func() string { return p.path(name) }, buf[:])
	if err != nil {
		return 0, 0, fmt.Errorf("read statm: %w", err)
	}
	if size, anonymous, err = parseStatm(buf[:n]); err != nil {
		return 0, 0, fmt.Errorf("read statm: %w", err)
	}
	return size, anonymous, nil
}

func (p *Process) readStat(s *stat) error {
	var buf [768]byte // a name of 64 bytes and 50 numbers, of which the first 20 are used
	n, err := readAt(p.stat, func() string { return p.path("stat") }, buf[:])
	if err != nil {
		return fmt.Errorf("read stat: %w", err)
	}
	if *s, err = parseStat(buf[:n]); err != nil {
		return fmt.Errorf("read stat: %w", err)
	}
	return nil
}

// statusBuffers hold status files, which are mostly shorter than 2 KiB but list
// the process's groups, up to 65,536.
var statusBuffers = sync.Pool{New: func() any { b := make([]byte, 4096); return &b }}

// readSwap reads VmSwap. It is in status only (and in smaps, at a thousand
// times the price).
func (p *Process) readSwap() (uint64, error) {
	buf := statusBuffers.Get().(*[]byte)
	defer statusBuffers.Put(buf)
	n := 0
	err := with(p.path("status"), syscall.O_RDONLY, func(fd int) error {
		for {
			m, err := syscall.Pread(fd, (*buf)[n:], int64(n))
			if err == syscall.EINTR {
				continue
			}
			if m <= 0 || err != nil {
				return err
			}
			if n += m; n == len(*buf) {
				*buf = append(*buf, make([]byte, n)...)
			}
		}
	})
	if err != nil {
		return 0, fmt.Errorf("read status: %w", err)
	}
	swap, _ := parseKB((*buf)[:n], "VmSwap") // not there once the memory is gone
	return swap, nil
}

// threads returns the number of threads: the links of the task folder but for
// the two that every folder has. A process that has ended has none.
func (p *Process) threads() (int, error) {
	var st syscall.Stat_t
	if err := attributes(p.task, func() string { return p.path("task") }, &st); err != nil {
		return 0, fmt.Errorf("count threads: %w", err)
	}
	n := int(st.Nlink) - 2
	if n <= 0 {
		return 0, ErrGone
	}
	return n, nil
}

// files returns the number of open files of the process, or of the thread whose
// folder is given.
func (p *Process) files(thread string) (int, error) {
	path := func() string { return p.path(thread + "fd") }
	if p.m.fdSize {
		kept := p.fd
		if thread != "" {
			kept = -1
		}
		var st syscall.Stat_t
		if err := attributes(kept, path, &st); err != nil {
			return 0, fmt.Errorf("count open files: %w", err)
		}
		return int(st.Size), nil
	}
	list, err := names(path())
	if errors.Is(err, os.ErrPermission) {
		return 0, &permissionError{err}
	}
	if err != nil {
		return 0, fmt.Errorf("count open files: %w", err)
	}
	return len(list), nil
}

// permissionError tells whose files may be counted.
type permissionError struct{ err error }

func (e *permissionError) Error() string {
	return fmt.Sprintf("count open files: %v (before Linux 6.2 only a process's own user and root may: run as root)", e.err)
}

func (e *permissionError) Unwrap() error { return e.err }
