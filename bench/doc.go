// Bench measures procdump's dumps and its watching against its peers and against
// what the machine can do at all:
//
//	go run ./bench [-short] [-only CASE] [-n ROUNDS]
//
// It prints a table of the dumps, one of the watching, one of dumps of kernels,
// one of the reading of dumps, and then what must hold, each line with PASS, FAIL or ?
// and the figure that decides; unless all pass it exits with 1. A ? says that
// the limit itself varied too much, or was beaten by too much, to judge by it, or
// that the victim was not what is meant: without huge pages, or slower at writing.
// Linux only.
//
// The contestants of a case take turns on the same victim, in a new random
// order each round; figures are medians over the rounds, and ratios are medians
// of the rounds' ratios, so that what slows a whole round cancels out.
//
//   - procdump: the program of this module.
//   - gcore: the script that comes with gdb.
//   - kernel: the kernel's own core writer, by way of core_pattern (which a
//     separate process puts back whatever happens) and a forked copy of the
//     victim that aborts.
//   - limit: process_vm_readv of the victim's pages into one reused buffer of
//     1 MiB, and pwrite of the same bytes, on one thread. On disk also "early",
//     which starts the disk while it copies; the faster of the two counts. "two
//     readers" is the same on two threads, of a half each.
//   - fork(2): what a copy of the victim's page tables costs at least, measured by
//     the victim itself.
//   - nobody: nothing is dumped. What the victim misses then is noise.
//
// A pause counts as procdump says it and as the victim sees it: its beating
// thread remembers the longest it was away, from which the noise is taken off.
//
// Where it writes to disk, time counts until the data is there: procdump syncs
// its file, so the other files are synced too, and the time of that is added.
//
// What watching costs those that are watched, and how soon it notices, is
// measured on processes of the benchmark's own (victim/actor.c and
// victim/crowd.c), with and without procdump in turn:
//
//   - watch1 to watch5000: CPU time and memory of sampling that many sleeping
//     processes once a second for ten seconds, beside a helper that only reads
//     the CPU clock of each, the cheapest sign of life that there is.
//   - exec: from execve to the event that a process is watched, for processes
//     that live 5 ms, and by how much their own first instruction is delayed.
//   - threshold, fault: from crossing a limit of memory to standing still, and
//     from a fault to the complete dump, by the clocks of the process and of
//     procdump's events.
//   - syscalls, signals, threads: how much slower a process is that does nothing
//     else, under -e and under gdb.
//   - log-file, log-pipe, log-python, log-java: the same of programs that do
//     nothing but log, by C's, Python's and Java's usual means, under -l, with
//     and without a filter; requests: of one that works for some 20 µs between
//     two lines; lines-null, lines-file: of one that writes the same line again
//     and again, where there is little else to be slowed down than the write.
package main
