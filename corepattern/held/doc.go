// Package held reads a process that the kernel holds while it hands out its
// core: its memory, the dynamic linker's list, its stacks.
//
// Such a process cannot be stopped, for it is not running any more, but its
// address space is whole: /proc/PID/mem reads what the kernel's core leaves out
// (coredump_filter), and only what is asked for. Nothing runs in it again, so it
// does no harm to bring a page of it into memory; yet what could take the
// machine's memory (holes of shared memory) or wait for ever (a dead file
// server, a userfaultfd without its handler) is not touched.
//
// The package does something on Linux only.
package held
