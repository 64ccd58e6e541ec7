package proc

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"procdump/internal/sys/fsys"
)

// oPath is O_PATH: the descriptor names a file and can be asked for its
// attributes only. The standard library does not export it.
const oPath = 0x200000

// kept counts the descriptors that all Processes keep open.
var kept atomic.Int64

// keep opens a file to be kept, or returns -1 if more than the given part of
// RLIMIT_NOFILE is kept already or none is left: it is to be opened for every
// use then. The rest of procdump needs descriptors too.
func keep(path string, flags int, part float64) (int32, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return -1, fmt.Errorf("get limit of open files: %w", err)
	}
	if float64(kept.Add(1)) <= part*float64(limit.Cur) {
		fd, err := open(path, flags)
		if err == nil {
			if fsys.MayKeep(fd) == nil {
				return int32(fd), nil
			}
			syscall.Close(fd)
		} else if !exhausted(err) {
			kept.Add(-1)
			return -1, err
		}
	}
	kept.Add(-1)
	return -1, nil
}

func release(fd *int32) {
	if *fd >= 0 {
		syscall.Close(int(*fd))
		kept.Add(-1)
	}
	*fd = -1
}

func exhausted(err error) bool { return err == syscall.EMFILE || err == syscall.ENFILE }

func open(path string, flags int) (fd int, err error) {
	for {
		fd, err = syscall.Open(path, flags|syscall.O_CLOEXEC, 0)
		if err != syscall.EINTR {
			return fd, err
		}
	}
}

// spare is a descriptor that is given up for a moment when there is no other,
// so that a process can be sampled even when procdump has used up its limit.
var spare struct {
	sync.Mutex
	once sync.Once
	fd   int
}

func reserve() {
	spare.once.Do(func() { spare.fd = openSpare() })
}

func openSpare() int {
	fd, err := open("/", oPath)
	if err != nil {
		return -1
	}
	return fd
}

// with calls f with a descriptor for the file that is closed afterwards.
func with(path string, flags int, f func(fd int) error) error {
	fd, err := open(path, flags)
	if exhausted(err) {
		spare.Lock()
		defer spare.Unlock()
		if spare.fd < 0 {
			return err
		}
		syscall.Close(spare.fd)
		defer func() { spare.fd = openSpare() }()
		fd, err = open(path, flags)
	}
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	return f(fd)
}

// readAt fills buf from the beginning of a file: of a kept descriptor or, if
// that is -1, of the file at the path.
func readAt(kept int32, path func() string, buf []byte) (n int, err error) {
	if kept >= 0 {
		return pread(int(kept), buf)
	}
	err = with(path(), syscall.O_RDONLY, func(fd int) error {
		n, err = pread(fd, buf)
		return err
	})
	return n, err
}

// pread reads from the beginning of a file. Each file read this way is shorter
// than a page, and the kernel makes such a file of /proc in one piece.
func pread(fd int, buf []byte) (int, error) {
	for {
		n, err := syscall.Pread(fd, buf, 0)
		if err != syscall.EINTR {
			return max(n, 0), err
		}
	}
}

// attributes asks for the attributes of a folder: of a kept descriptor or, if
// that is -1, by its path.
func attributes(kept int32, path func() string, st *syscall.Stat_t) error {
	if kept >= 0 {
		return syscall.Fstat(int(kept), st)
	}
	return syscall.Stat(path(), st)
}

// names lists a folder.
func names(path string) (list []string, err error) {
	err = with(path, syscall.O_RDONLY|syscall.O_DIRECTORY, func(fd int) error {
		// ReadDirent appends to what the last call returned; 32 KiB hold some
		// thousand entries.
		for buf := make([]byte, 32<<10); ; {
			n, err := syscall.ReadDirent(fd, buf)
			if err == syscall.EINTR {
				continue
			}
			if n <= 0 || err != nil {
				return err
			}
			_, _, list = syscall.ParseDirent(buf[:n], -1, list)
		}
	})
	return list, err
}

// gone tells whether an error of a file of /proc/PID means that the process
// does not exist: the file does not, or it is one of a process that has ended.
func gone(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH)
}
