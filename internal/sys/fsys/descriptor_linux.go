package fsys

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// reserve is how many descriptors are left for what is opened for a moment:
// four dumps at a time, with the memory, the files and the output of each.
const reserve = 32

// MayKeep tells whether a descriptor may be kept open for long. The kernel
// gives the lowest number that is free (open(2)): one close to RLIMIT_NOFILE
// says that few are left.
func MayKeep(fd int) error {
	limit, ok := DescriptorLimit()
	if !ok || uint64(fd) < limit-min(reserve, limit/2) {
		return nil
	}
	return fmt.Errorf("the last of %d open files are for dumps: %w", limit, unix.EMFILE)
}

// DescriptorLimit is how many files procdump may have open: the soft limit of
// RLIMIT_NOFILE, which Go has raised to the hard one at the start.
func DescriptorLimit() (uint64, bool) {
	var l unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l)
	return l.Cur, err == nil
}

// IsExhausted tells whether an error only says that procdump, or the machine,
// has no descriptors or no memory left: it says nothing of the file.
func IsExhausted(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOMEM)
}

// Remedy is what to do about an exhausted error; "" where nothing is known.
func Remedy(err error) string {
	switch {
	case errors.Is(err, unix.EMFILE):
		limit, _ := DescriptorLimit()
		return fmt.Sprintf("procdump may have %d files open: start it with more (ulimit -n, or LimitNOFILE= in its unit)", limit)
	case errors.Is(err, unix.ENFILE):
		return "the machine has no more open files to give: raise fs.file-max (sysctl)"
	}
	return ""
}
