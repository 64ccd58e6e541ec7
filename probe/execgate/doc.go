// Package execgate holds programs at their execution, before the first
// instruction, until the caller has done what it wants with them: attach a
// tracer, for example.
//
// A process of its own, the keeper, is asked by the kernel about every program
// that is executed on the machine (package fanotify). It lets all those go on
// at once that have nothing to do with the words it was given, which takes some
// tens of microseconds, and holds the others until the caller lets them go.
//
// Nothing can hang in it. What is held goes on after HoldLimit at the latest,
// and nobody is held any more until the caller answers again.
// When the caller ends, in whatever way, the keeper ends; when the keeper ends,
// the kernel lets everybody go on; and when the keeper shows no sign of life
// (it was stopped, or its cgroup frozen), the kernel kills it (package
// deadman). Only a freezer of cgroup version 1 can keep it, and then all that
// execute programs, until it thaws.
//
// Held are programs on local file systems that are mounted when they are
// executed, in any mount namespace; not those on network and user-space file
// systems, where the keeper itself could hang. It needs Linux 5.7.
package execgate

import (
	"errors"
	"time"
)

// HoldLimit is the longest time for which a program is held.
const HoldLimit = 5 * time.Second

// lifeLimit is after how long without a sign of life the keeper is killed.
const lifeLimit = 2 * time.Second

// ErrKeeper means that the keeper has ended; it is started again.
var ErrKeeper = errors.New("the process that holds new programs has ended")

// Newcomer is a process that executes a program just now and is held: it still
// has the memory, name and arguments from before.
//
// It may hold the lock that attaching waits for, cred_guard_mutex, which the
// kernel takes before it opens a script's interpreter, and before Linux 6.8
// (fs/exec.c, alloc_bprm) before it opens any file. So whoever attaches must
// call Allow, too, when the attaching waits.
type Newcomer struct {
	PID, TID int
	gate     *Gate
	id       uint64
}

// Allow lets the program go on. It does not wait.
func (n Newcomer) Allow() { n.gate.allow(n.id) }

// Options say what is held.
type Options struct {
	// Words: a program is held if one of them, in upper or lower case, is part
	// of its path, of its argument 0, or of the arguments up to the first that
	// does not begin with a dash: an interpreter's script; or of the first line
	// of a script. None: every program is held.
	Words []string
	// Handle gets each that is held, on a thread of its own that runs before
	// ordinary ones. It must not wait, and must see to it that Allow is called.
	Handle func(Newcomer)
	// Failed, if not nil, is told when the keeper ends by itself.
	Failed func(error)
}
