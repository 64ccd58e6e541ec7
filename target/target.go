// Package target finds the processes that procdump is asked to dump: by PID,
// by name and by the other selectors; says before the stop why one of them
// cannot be dumped, and afterwards why the kernel refused; launches programs;
// and lets one procdump ask another to let go of a process.
//
// Facts come from /proc (proc(5), proc_pid_status(5), proc_pid_stat(5)) and,
// for the rules of access, from ptrace(2), "Ptrace access mode checking". A
// process that ends while it is looked at is never an error: it is just not
// there. On other systems than Linux every function returns an error that
// wraps errors.ErrUnsupported.
package target

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"procdump/internal/printable"
)

// Process is what is known of a running process without stopping it. What
// could not be read (another user's, or it ended meanwhile) is zero.
type Process struct {
	PID, PPID, PGID int
	// Name is the kernel's comm; where that is cut at 15 bytes it is the
	// longer base name (of the image, of argv[0] or of the script) that begins
	// with it.
	Name       string
	Exe        string // path of the image in its own mount namespace, without " (deleted)"
	ExeDeleted bool   // the image's file is gone or replaced
	Args       []string
	User       string // name of UID; the number where it has none
	UID        uint32 // effective
	Start      time.Time
	State      byte          // R, S, D, T, Z, … (proc_pid_stat(5)), of the first thread
	CPU        time.Duration // user and system time of all threads
	RSS        uint64        // resident memory, bytes
	Threads    int
	Kernel     bool  // a kernel thread: it has no user memory
	Zombie     bool  // ended, all its threads too, and not yet collected by its parent
	TracerPID  int   // who traces the first thread; 0: nobody, or somebody outside this PID namespace
	NSPID      []int // its PID in each PID namespace, from ours to its own
	Class      elf.Class

	details
}

// ID tells a process from every other one of this boot, also from a later one
// with its PID. A step of the machine's clock, which Start follows, does not
// change it.
type ID struct {
	PID   int
	Start uint64 // in clock ticks after boot (proc_pid_stat(5), starttime)
}

// CommandLine is the arguments joined with blanks, or the bracketed name where
// there are none (kernel threads, zombies), as ps writes it.
func (p *Process) CommandLine() string {
	if len(p.Args) == 0 {
		return "[" + p.Name + "]"
	}
	return strings.Join(p.Args, " ")
}

// String is "name (PID)".
func (p *Process) String() string { return fmt.Sprintf("%s (%d)", printable.Text(p.Name), p.PID) }

// Why a process cannot be dumped. Errors of this package match them with
// errors.Is; their texts name the cause and the remedy.
var (
	ErrNotFound     = errors.New("target: no such process")
	ErrSelf         = errors.New("target: procdump itself")
	ErrZombie       = errors.New("target: zombie")
	ErrKernelThread = errors.New("target: kernel thread")
	ErrTraced       = errors.New("target: already traced")
	ErrDenied       = errors.New("target: not permitted")
	ErrSelector     = errors.New("target: bad selector")
	ErrNotWatched   = errors.New("target: no procdump watches it")
	ErrLaunch       = errors.New("target: cannot launch")
	ErrEnded        = errors.New("target: program ended")
)

// Error is a problem with one process or one argument.
type Error struct {
	Kind   error  // one of the sentinels
	PID    int    // 0: none in particular
	Cause  string // what is the matter
	Remedy string // what to do about it
	Err    error  // what the system said; nil: nothing
}

func (e *Error) Error() string {
	if e.Remedy == "" {
		return e.Cause
	}
	return e.Cause + "; " + e.Remedy
}

// Unwrap gives the sentinel and what the system said.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Err}
}

// NotFoundError says that no process matches a selector.
type NotFoundError struct {
	Selector string
	// Inside are the processes that have the wanted PID in their own
	// container (PID namespace), and another one here.
	Inside []Process
	// Leader is the process that the wanted PID is a thread of; 0: none.
	Leader Process
	Hidden int    // processes that could not be examined for lack of rights
	Remedy string // what to do about it; "" where nothing is known to help
}

func (e *NotFoundError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "no process matches %s", e.Selector)
	if e.Leader.PID != 0 {
		fmt.Fprintf(&b, ": it is a thread of %s; dump that: procdump %d", e.Leader.String(), e.Leader.PID)
	}
	for i, p := range e.Inside {
		if i == 10 {
			fmt.Fprintf(&b, "; and %d more", len(e.Inside)-i)
			break
		}
		fmt.Fprintf(&b, "; PID %d of a container is PID %d here (%s)", p.NSPID[len(p.NSPID)-1], p.PID, printable.Text(p.Name))
	}
	if e.Hidden > 0 {
		fmt.Fprintf(&b, "; %d of the processes could not be examined", e.Hidden)
		if os.Geteuid() != 0 {
			b.WriteString(": run procdump as root")
		}
	}
	if e.Remedy != "" {
		b.WriteString("; " + e.Remedy)
	}
	return b.String()
}

// Unwrap makes errors.Is(e, ErrNotFound) true.
func (e *NotFoundError) Unwrap() error { return ErrNotFound }
