package image

import (
	"os"
	"syscall"
)

// mapFile maps a part of a file that lies within it. whole is what is to be
// unmapped; nil: it cannot be mapped.
func mapFile(f *os.File, off, size int64) (part, whole []byte) {
	in := off % int64(os.Getpagesize())
	whole, err := syscall.Mmap(int(f.Fd()), off-in, int(in+size), syscall.PROT_READ, syscall.MAP_PRIVATE)
	if err != nil {
		return nil, nil
	}
	return whole[in : in+size : in+size], whole
}

func unmap(b []byte) { _ = syscall.Munmap(b) }
