package bpf

import "time"

// Change is what a process did to its address space.
type Change int

const (
	// MappedImage: a file was mapped executable.
	MappedImage Change = iota + 1
	// Unmapped: what was there is gone; something else may be there now.
	Unmapped
	// MadeExecutable: memory was made executable.
	MadeExecutable
	// Moved: memory was moved or shrunk by mremap.
	Moved
	// Executed: the process runs another program, in a new address space.
	Executed
)

// Mapping is one change.
type Mapping struct {
	Change Change
	PID    int
	At     time.Time // when it had been done
	Addr   uint64
	Size   uint64
	// To and ToSize are where Moved memory is now.
	To, ToSize uint64

	// Of a MappedImage: the file, and its path from the root of its file
	// system, of which the beginning is missing when it is very long.
	Device uint64 // as snapshot.Region.Dev: major number << 32 | minor
	Inode  uint64
	Path   string
}
