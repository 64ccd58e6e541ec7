// Package corepattern makes procdump the program that the kernel starts for
// every process that crashes: core_pattern with a pipe (core(5)).
//
// Install keeps what was there and changes /proc/sys/kernel/core_pattern to
// "|/path/procdump -j %P …"; Uninstall gives the very bytes back. What kind of
// dump is wanted is in a settings file: a pattern is short.
//
// Handle is that program. The kernel offers it the core on standard input and
// holds the process meanwhile. Of the core only the head is read: registers,
// signal and auxiliary vector of the kernel's own notes. The memory is read
// from the process itself, so that the dump holds what its kind asks for,
// whatever the process's coredump_filter says, and a mini of a process of
// 30 GiB costs megabytes. Where the process cannot be read (a security module
// forbids it) the rest of the stream supplies the memory.
//
// # What core_pipe_limit has to be
//
// With 0 the kernel lets a process go as soon as its core is written into the
// pipe, whose 64 KiB hold the whole core of a process with a coredump_filter of
// 0: it is gone before anybody looks. With N it waits until the handler closes
// standard input, but skips the N+1st crash at a time, with a line in the
// kernel's log. Install sets it to the largest number of processes there can
// be, so that nothing is skipped; how many dumps are written at a time Handle
// decides, and lets the others wait.
//
// Closing standard input early truncates nothing that is needed, and the
// parent is still told that a core was dumped: the kernel counts an attempt.
//
// # What is not dumped
//
// RLIMIT_CORE of 0 does not keep a process from being dumped: it is the default
// of login shells and says nothing about a crash handler. The kernel itself
// honours an RLIMIT_CORE of 1, which it gives to handlers so that none is
// started for a crash of one, and PR_SET_DUMPABLE of 0 (prctl(2)).
package corepattern
