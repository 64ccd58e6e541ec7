// Package linux makes a snapshot of a running Linux process.
//
// Open reads, while the process runs, all that is slow to read: mappings with
// their flags (smaps), open files, modules' headers. Target.Stop then stops
// every thread by ptrace(2) (SEIZE and INTERRUPT, so that the process and its
// parent notice nothing), reads what may have changed, and returns a Stopped
// whose Process is complete; its Memory reads the stopped process. Resume lets
// it go on. Whatever happens to the dumper, the kernel detaches a dead tracer's
// threads and they run on.
//
// A Tracer stays attached to whole processes, reports what happens to them
// (signals, ends, new threads, executed programs), and makes a Stopped of them
// from within such an event or at any other time.
//
// Target.Held makes a Stopped of a process that crashed and that the kernel
// holds for the program of core_pattern (core(5)).
//
// The package builds on every system and does something on Linux only.
package linux
