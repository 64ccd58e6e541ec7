// Package inspect explains a snapshot of a process: why it was dumped, in a
// sentence, and the evidence: what its threads were doing, equal stacks
// together, its images, its memory and its files.
//
// Collect walks the stacks and is all that needs the process to stand still;
// Collected.Report then finds names and words. Package render writes a Report
// as text and JSON. What is damaged or missing costs its part of the report
// only, and is said in its warnings. Dumps of kernels are those of the package
// kernel in the folder below.
package inspect

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"procdump/image"
	"procdump/inspect/heap"
	"procdump/inspect/wait"
	"procdump/interp"
	"procdump/snapshot"
	"procdump/symbols"
	"procdump/unwind"
)

const (
	maxFrames  = 16 << 10 // of a stack
	allFrames  = 1 << 20  // of all stacks together
	maxThreads = 1 << 16
)

// Collected is a process with the stacks of its threads.
type Collected struct {
	p        *snapshot.Process
	set      *image.Set
	stacks   []unwind.Stack // of each thread
	environ  []string
	routines []routine      // of a Go program
	runs     map[int]uint64 // which of them a thread runs, by its number
	waiting  *wait.Waits    // what its threads wait for
	heap     *heap.Heap     // of the C library, nil: it is not known
	heapBy   string         // how it was found, if by a symbol
	warnings []string
	lost     bool // what happened cannot be read
}

// Collect walks the stacks of a process. warnings are what its source could not
// read. The set must not be closed before Report.
func Collect(p *snapshot.Process, set *image.Set, warnings []error) *Collected {
	return CollectWith(p, set, warnings, nil)
}

// CollectWith is Collect with what an earlier snapshot has told of the runtimes
// of scripts, which takes long to find out; nil: nothing.
func CollectWith(p *snapshot.Process, set *image.Set, warnings []error, w interp.Walker) *Collected {
	c := &Collected{p: p, set: set, environ: environ(p), runs: map[int]uint64{}}
	for _, w := range warnings {
		c.warnings = append(c.warnings, w.Error())
		var lost *snapshot.ExceptionError
		c.lost = c.lost || errors.As(w, &lost)
	}
	u, err := unwind.New(p, set)
	if err != nil {
		c.warnings = append(c.warnings, notHere(err))
		return c
	}
	left := allFrames
	for i := range p.Threads {
		if left <= 0 || i == maxThreads {
			c.warnings = append(c.warnings, fmt.Sprintf("stacks of %d threads are left out: there are too many frames", len(p.Threads)-i))
			break
		}
		s := u.Stack(&p.Threads[i], min(maxFrames, left))
		left -= len(s.Frames)
		c.stacks = append(c.stacks, s)
	}
	c.goroutines(u, left)
	c.waiting = wait.New(p, set, maxThreads)
	c.allocator()
	c.scripts(w)
	// The vdso has no file to find its names in once the process goes on.
	for _, im := range set.All() {
		if path := im.Module.Path; path == "" || path[0] != '/' {
			im.File()
		}
	}
	return c
}

// notHere is an error in words, without those of errors.ErrUnsupported.
func notHere(err error) string {
	if errors.Is(err, errors.ErrUnsupported) {
		return "stacks of this machine's threads cannot be walked yet"
	}
	return err.Error()
}

// Report finds the names of what was collected and makes a report of it.
func (c *Collected) Report() *Report {
	n := &namer{symbols: symbols.New(c.set), set: c.set, left: maxNamed}
	p := c.p
	r := &Report{Version: Version, Process: processOf(p), System: systemOf(p), Dump: dumpOf(p), ThreadCount: len(p.Threads)}
	r.Process.Environ = c.environ
	r.Groups = c.groups(n)
	r.Deadlocks = c.waits(r.Groups)
	r.Goroutines = c.goroutineGroups(n)
	r.Exception = c.exception(r)
	r.Reason = reason(p, r, c.lost || len(p.Threads) == 0)
	r.Modules = c.modules()
	r.Memory = memoryOf(p)
	r.Memory.Allocator = c.allocatorOf(r.Groups)
	for _, f := range p.Files {
		r.Files = append(r.Files, File{f.FD, f.Target})
	}
	slices.SortStableFunc(r.Files, func(a, b File) int { return cmp.Compare(a.FD, b.FD) })
	r.Samples, r.Missing = p.Info.Samples, missing(&p.Info)
	r.Warnings = append(r.Warnings, c.warnings...)
	r.Warnings = append(r.Warnings, p.Info.Warnings...)
	r.Warnings = append(r.Warnings, c.set.Warnings()...)
	r.Warnings = append(r.Warnings, n.symbols.Warnings...)
	for _, m := range p.Info.MissedThreads {
		r.Warnings = append(r.Warnings, fmt.Sprintf("thread %d (state %s) could not be stopped: %s", m.TID, m.State, m.Why))
	}
	return r
}
