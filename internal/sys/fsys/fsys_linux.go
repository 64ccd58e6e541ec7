package fsys

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Free returns the bytes an unprivileged user can still write in the file
// system that holds dir.
func Free(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return int64(st.Bavail) * st.Bsize, nil
}

// Allocated returns the bytes of disk that an open file occupies.
func Allocated(f *os.File) int64 {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return 0
	}
	return st.Blocks * 512
}

// IsNoSpace tells whether an error means that the disk, or the user's share of
// it, is full.
func IsNoSpace(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EFBIG)
}

// Temp is a file without its final name.
type Temp struct {
	*os.File
	dir    string
	path   string // "" for an O_TMPFILE file, which vanishes with its last descriptor
	linked bool
}

// CreateTemp makes a file of mode 0600 in dir that nobody finds under a name
// the caller did not give it: an unnamed one where the file system can
// (O_TMPFILE), else one with a hidden temporary name.
func CreateTemp(dir string) (*Temp, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err == nil {
		return &Temp{File: os.NewFile(uintptr(fd), filepath.Join(dir, "(unnamed)")), dir: dir}, nil
	}
	if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return nil, &fs.PathError{Op: "create file in", Path: dir, Err: err}
	}
	f, err := os.CreateTemp(dir, ".procdump-*.tmp")
	if err != nil {
		return nil, err
	}
	return &Temp{File: f, dir: dir, path: f.Name()}, nil
}

// Link gives the file its final name. An existing file of that name is
// fs.ErrExist, or is replaced at once if overwrite is set.
func (t *Temp) Link(name string, overwrite bool) error {
	if t.path == "" {
		return t.linkUnnamed(name, overwrite)
	}
	if overwrite {
		if err := os.Rename(t.path, name); err != nil {
			return err
		}
	} else if err := renameNoReplace(t.path, name); err != nil {
		return err
	}
	t.linked = true
	return nil
}

func (t *Temp) linkUnnamed(name string, overwrite bool) error {
	self := fmt.Sprintf("/proc/self/fd/%d", t.Fd())
	link := func(to string) error {
		if err := unix.Linkat(unix.AT_FDCWD, self, unix.AT_FDCWD, to, unix.AT_SYMLINK_FOLLOW); err != nil {
			return &os.LinkError{Op: "link", Old: self, New: to, Err: err}
		}
		return nil
	}
	err := link(name)
	if errors.Is(err, fs.ErrExist) && overwrite {
		// linkat cannot replace: link beside it, then rename over it.
		tmp := filepath.Join(filepath.Dir(name), fmt.Sprintf(".procdump-%d-%d.tmp", os.Getpid(), t.Fd()))
		if err = link(tmp); err != nil {
			return err
		}
		if err = os.Rename(tmp, name); err != nil {
			os.Remove(tmp)
		}
	}
	if err == nil {
		t.linked = true
	}
	return err
}

func renameNoReplace(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		// A file system without the flag: a hard link refuses an existing name too.
		if err = os.Link(from, to); err == nil {
			err = os.Remove(from)
		}
		return err
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}

// Discard closes the file and removes it unless it was linked.
func (t *Temp) Discard() {
	t.File.Close()
	if t.path != "" && !t.linked {
		os.Remove(t.path)
	}
}

// StartWriteback asks the kernel to begin writing [off, off+n) of the file to
// disk without waiting, so that a later Sync has little left to do.
func StartWriteback(f *os.File, off, n int64) {
	_ = syncFileRange(int(f.Fd()), off, n)
}

// SyncDir makes names in a folder durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// TerminalWidth returns the columns of a terminal, or 0 if f is none.
func TerminalWidth(f *os.File) int {
	ws, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	if ws.Col == 0 {
		return 80
	}
	return int(ws.Col)
}

func syncFileRange(fd int, off, n int64) error {
	_, _, e := unix.Syscall6(unix.SYS_SYNC_FILE_RANGE, uintptr(fd), uintptr(off), uintptr(n), unix.SYNC_FILE_RANGE_WRITE, 0, 0)
	if e != 0 {
		return e
	}
	return nil
}
