package fsys

import (
	"errors"
	"io/fs"
	"math"

	"golang.org/x/sys/unix"
)

// Free returns the bytes an unprivileged user can still write in the file
// system that holds dir. Some do not know their size (ramfs, a tmpfs without
// limit, some of FUSE): errors.ErrUnsupported.
func Free(dir string) (int64, error) {
	_, free, err := Space(dir)
	return free, err
}

// Space returns the size of the file system that holds dir in bytes, and what
// Free does.
func Space(dir string) (size, free int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	if st.Blocks == 0 {
		return 0, 0, &fs.PathError{Op: "statfs", Path: dir, Err: errors.ErrUnsupported}
	}
	size, free = spaceOf(&st)
	return size, free, nil
}

// spaceOf counts blocks of f_frsize, as statvfs(3) does: f_bsize, the best size
// of a transfer, may be larger (FUSE).
func spaceOf(st *unix.Statfs_t) (size, free int64) {
	block := st.Frsize
	if block <= 0 {
		block = max(st.Bsize, 1)
	}
	most := math.MaxInt64 / uint64(block)
	return int64(min(st.Blocks, most)) * block, int64(min(st.Bavail, most)) * block
}
