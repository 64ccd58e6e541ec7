package capture

import "procdump/internal/sys/fsys"

// Parallel is how many dumps are written at a time: each process is stopped
// only while it is written, and they share one disk. Where procdump may open
// only few files it is fewer.
func Parallel() int {
	const (
		most  = 4
		files = 64 // of RLIMIT_NOFILE for each; a dump opens some 20
	)
	if limit, ok := fsys.DescriptorLimit(); ok && limit < most*files {
		return max(1, int(limit/files))
	}
	return most
}
