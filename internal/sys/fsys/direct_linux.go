package fsys

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// DirectAlign is what offset, length and buffer address of a direct write must
// be a multiple of: a page does for every file system.
const DirectAlign = 4096

// OpenDirect opens an open file once more, for writing past the page cache
// (O_DIRECT): a large dump then neither pushes out what the machine has cached
// nor has to be synced for long. It fails on file systems that live in memory
// or cannot do it.
func OpenDirect(f *os.File) (*os.File, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return nil, err
	}
	if st.Type == unix.TMPFS_MAGIC || st.Type == unix.RAMFS_MAGIC {
		return nil, errors.ErrUnsupported
	}
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), unix.O_WRONLY|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// IsDirectRefused tells whether an error means that this write cannot be
// direct, and a buffered one can do it.
func IsDirectRefused(err error) bool { return errors.Is(err, unix.EINVAL) }

// AlignedBuffer makes a buffer for direct writes.
func AlignedBuffer(size int) []byte {
	b := make([]byte, size+DirectAlign)
	skip := -int(uintptr(unsafe.Pointer(&b[0]))) & (DirectAlign - 1)
	return b[skip : skip+size : skip+size]
}

// IsAligned tells whether b can be written directly at off.
func IsAligned(b []byte, off int64) bool {
	return len(b) > 0 && (uint64(off)|uint64(len(b))|uint64(uintptr(unsafe.Pointer(&b[0]))))%DirectAlign == 0
}

// Memory returns the machine's memory in bytes, 0 if unknown.
func Memory() int64 {
	var si unix.Sysinfo_t
	if err := unix.Sysinfo(&si); err != nil {
		return 0
	}
	return int64(si.Totalram) * int64(si.Unit)
}

// DropCached takes a piece of a file out of the page cache, as far as it is on
// disk.
func DropCached(f *os.File, off, n int64) {
	_ = unix.Fadvise(int(f.Fd()), off, n, unix.FADV_DONTNEED)
}
