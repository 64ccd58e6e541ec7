// Package images notices when a process maps an image, that is a file with
// executable pages such as a library, and when it unmaps one.
//
// BPF programs report the system calls that do it, each in its turn, so that
// no dlopen and no dlclose is missed however short the time between; the
// process is not stopped and runs a little further until the event is read.
// (A stop at that very moment would take ptrace, or a SIGSTOP that nobody
// takes back if procdump is killed.) Where there is no BPF, the mappings are
// read again and again, which misses what comes and goes in between.
//
// Images are not reported as unmapped when the process ends or executes
// another program; the images of the new program are reported as mapped.
package images

import "time"

// Kind is what happened to an image.
type Kind int

const (
	// Mapped: the image is new.
	Mapped Kind = iota + 1
	// Unmapped: nothing of its executable part is left.
	Unmapped
)

// String returns "mapped" or "unmapped".
func (k Kind) String() string {
	if k == Unmapped {
		return "unmapped"
	}
	return "mapped"
}

// Event is one image that was mapped or unmapped.
type Event struct {
	Kind Kind
	// Path is the file as the process sees it.
	Path string
	// Addr and Size are of the executable part, when it was mapped.
	Addr, Size uint64
	Time       time.Time
}
