package fsys

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

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
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}

// IsTooLarge tells whether an error means that a file may not grow further: by
// RLIMIT_FSIZE, or by what its file system can hold in one file.
func IsTooLarge(err error) bool { return errors.Is(err, unix.EFBIG) }

// For tests: behave as on file systems without O_TMPFILE, without flags of
// rename, without hard links.
var noUnnamed, noFlags, noLinks bool

// Temp is a file without its final name.
type Temp struct {
	*os.File
	path   string // "" for an O_TMPFILE file, which vanishes with its last descriptor
	linked bool
}

// CreateTemp makes a file of mode 0600 in dir that nobody finds under a name
// the caller did not give it: an unnamed one where the file system can
// (O_TMPFILE), else one with a hidden temporary name.
func CreateTemp(dir string) (*Temp, error) {
	fd, err := -1, error(unix.EOPNOTSUPP)
	if !noUnnamed {
		fd, err = unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	}
	switch {
	case err == nil:
		return &Temp{File: os.NewFile(uintptr(fd), filepath.Join(dir, "(unnamed)"))}, nil
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EINVAL):
	case errors.Is(err, unix.EISDIR): // a kernel before 3.11
	default:
		return nil, &fs.PathError{Op: "create file in", Path: dir, Err: err}
	}
	f, err := os.CreateTemp(dir, tempPattern)
	if err != nil {
		return nil, err
	}
	return &Temp{File: f, path: f.Name()}, nil
}

// tempPattern names files that are not finished.
const tempPattern = ".procdump-*.tmp"

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
		var tmp string
		for try := 0; try == 0 || errors.Is(err, fs.ErrExist) && try < 100; try++ {
			tmp = filepath.Join(filepath.Dir(name), strings.Replace(tempPattern, "*", strconv.FormatUint(rand.Uint64(), 36), 1))
			err = link(tmp)
		}
		if err != nil {
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
	err := error(unix.EINVAL)
	if !noFlags {
		err = unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	}
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		return linkNoReplace(from, to)
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}

// linkNoReplace renames on a file system whose rename knows no flags: a hard
// link refuses an existing name too. Where there are none either, an empty file
// keeps the name for the moment until the rename.
func linkNoReplace(from, to string) error {
	err := error(unix.EPERM)
	if !noLinks {
		err = os.Link(from, to)
	}
	switch {
	case err == nil:
		os.Remove(from)
		return nil
	case !errors.Is(err, unix.EPERM) && !errors.Is(err, errors.ErrUnsupported):
		return err
	}
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	f.Close()
	if err := os.Rename(from, to); err != nil {
		os.Remove(to)
		return err
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

// SyncDir makes names in a folder durable, where the file system can do that.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, unix.EINVAL) {
		return err
	}
	return nil
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
