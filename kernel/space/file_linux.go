package space

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"procdump/internal/sys/fsys"
	"procdump/kdump/diskdump"
	"procdump/kernel/capture"
	"procdump/kernel/live"
)

// measure looks at the running kernel, and compresses a sample of it.
func measure(ctx context.Context, compression string) (Measure, error) {
	src, err := live.Open(live.DefaultRoot)
	if err != nil {
		return Measure{}, err
	}
	defer src.Close()
	return measureSource(ctx, src, compression)
}

// measureSource is measure of any memory.
func measureSource(ctx context.Context, src capture.Source, compression string) (Measure, error) {
	m := Measure{Memory: int64(src.Dump().Pages()) * int64(src.Dump().PageSize)}
	method, err := diskdump.ParseCompression(compression)
	if err != nil {
		return m, err
	}
	j := capture.NewJob(src, capture.Options{Kind: capture.Kernel, Compression: method, Stream: io.Discard})
	defer j.Discard()
	if err := j.Prepare(ctx); err != nil {
		return m, err
	}
	m.Estimate = j.Plan.Estimate
	return m, nil
}

// diskOf asks for the file system that holds a folder.
func diskOf(folder string) (Disk, error) {
	total, free, err := fsys.Space(folder)
	return Disk{Size: total, Free: free}, err
}

// lockState keeps other procdumps away from a state file, whose folder it makes,
// until unlock is called.
func lockState(path string) (unlock func(), err error) {
	folder := filepath.Dir(path)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, fmt.Errorf("make folder of the state of the space for dumps: %w", err)
	}
	f, err := os.Open(folder)
	if err != nil {
		return nil, fmt.Errorf("lock state of the space for dumps: %w", err)
	}
	for {
		if err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != syscall.EINTR {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock state of the space for dumps: %w", err)
	}
	return func() { f.Close() }, nil
}

// openReserved opens the file of the space set aside, and makes sure that it is
// that: nobody else is to have put a link there to have another file cut.
func openReserved(path string, flags int) (*os.File, os.FileInfo, error) {
	f, err := os.OpenFile(path, flags|os.O_RDWR|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, nil, err
	}
	st, err := f.Stat()
	if err == nil {
		sys, ok := st.Sys().(*syscall.Stat_t)
		if !ok || !st.Mode().IsRegular() || sys.Nlink != 1 || int(sys.Uid) != os.Geteuid() {
			err = fmt.Errorf("%s is not a file that procdump has made; remove it", path)
		}
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, st, nil
}

// trusted tells whether a file in a folder was made by this user, or by whose
// folder it is: others may be able to make files there, as in /tmp.
func trusted(f *os.File, folder string) bool {
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() {
		return false
	}
	in, err := os.Stat(folder)
	if err != nil {
		return false
	}
	file, ok := st.Sys().(*syscall.Stat_t)
	parent, ok2 := in.Sys().(*syscall.Stat_t)
	return ok && ok2 && (int(file.Uid) == os.Geteuid() || file.Uid == parent.Uid)
}

// setAside makes the file have n bytes, all of them allocated, and returns how
// many it has. With an error these may be what it had before, or none.
func setAside(path string, n int64) (int64, error) {
	f, st, err := openReserved(path, os.O_CREATE)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	had := min(st.Size(), fsys.Allocated(f))
	if err := f.Chmod(0o600); err != nil {
		return 0, err
	}
	if st.Size() > n {
		if err := f.Truncate(n); err != nil {
			return 0, &fs.PathError{Op: "truncate", Path: path, Err: err}
		}
	}
	for {
		if err = syscall.Fallocate(int(f.Fd()), 0, 0, n); err != syscall.EINTR {
			break
		}
	}
	if err != nil {
		kept := min(had, n)
		if kept == 0 || f.Truncate(kept) != nil {
			os.Remove(path)
			kept = 0
		}
		if errors.Is(err, syscall.EOPNOTSUPP) {
			return kept, fmt.Errorf("the file system of %s cannot set space aside: %w", filepath.Dir(path), errors.ErrUnsupported)
		}
		return kept, &fs.PathError{Op: "fallocate", Path: path, Err: err}
	}
	if err := f.Sync(); err != nil {
		return 0, err
	}
	return n, fsys.SyncDir(filepath.Dir(path))
}

// reservedSize is how many bytes of disk the file of the space set aside
// occupies.
func reservedSize(path string) int64 {
	f, _, err := openReserved(path, 0)
	if err != nil {
		return 0
	}
	defer f.Close()
	return fsys.Allocated(f)
}

// removeReserved removes the file of the space set aside, if there is one.
func removeReserved(path string) error {
	f, _, err := openReserved(path, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	defer f.Close()
	return os.Remove(path)
}
