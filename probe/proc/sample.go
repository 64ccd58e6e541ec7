// Package proc samples running processes from /proc, many of them every second
// at little cost: CPU, committed memory, threads and open files.
//
// A Process keeps the files it reads open and reads them again by pread(2),
// which saves most of the price of a file of /proc: the way to it. CPU time
// comes from the process's clock (clock_getcpuclockid(3)), to the nanosecond
// and cheaper still. The number of threads is the link count of /proc/PID/task
// and the number of open files the size of /proc/PID/fd, since Linux 6.2, so
// that neither folder is listed. A process whose clock stands still since its
// last sample has not run, and only its clock is read, for up to 15 s. No sample
// allocates memory.
//
// Descriptors are a resource that all of procdump shares: past a part of
// RLIMIT_NOFILE, processes are sampled by open, read and close, at several
// times the price, with the same results.
//
// A PID names a process only as long as the process exists. A Process is of
// the one that Open found: afterwards there is ErrGone, never the sample of
// another that was given the same PID.
//
// The package works on Linux; elsewhere Open returns errors.ErrUnsupported.
package proc

import (
	"errors"
	"time"
)

// Root is the root of a proc file system: a folder that stands for /proc. "" is
// /proc itself.
type Root string

// Want says what to sample. Only what is wanted is paid for.
type Want uint8

// What can be wanted.
const (
	CPU     Want = 1 << iota // Sample.CPU and CPUSpan
	Commit                   // Sample.Commit
	Threads                  // Sample.Threads
	Files                    // Sample.Files
)

// Sample is the state of a process at one time. What was not wanted is zero.
type Sample struct {
	// CPU is the number of cores used, averaged over the last second or a
	// little more, or since the last sample if that is longer ago: 1.0 is one
	// core all the time. It is NaN in the first sample.
	CPU     float64
	CPUSpan time.Duration // what CPU is averaged over
	// CPUNow is the same since the last sample, or since the last but a few if
	// these follow each other within less than a seventh of a second.
	CPUNow     float64
	CPUNowSpan time.Duration
	// Commit is the private memory in use, in bytes: RssAnon + VmSwap of
	// proc_pid_status(5).
	Commit  uint64
	Threads int
	Files   int // open file descriptors
}

// ErrGone says that the process has ended. A zombie has ended: nothing of it
// is left to watch. ErrGone is also returned if its PID now belongs to another.
var ErrGone = errors.New("proc: process has ended")
