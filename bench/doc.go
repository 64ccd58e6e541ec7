// Bench measures procdump against its peers and against what the machine can
// do at all:
//
//	go run ./bench [-short] [-only CASE] [-n ROUNDS]
//
// It prints one table and then what must hold, each line with PASS, FAIL or ?
// and the figure that decides; unless all pass it exits with 1. A ? says that
// the limit itself varied too much, or was beaten by too much, to judge by it.
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
//     which starts the disk while it copies; the faster of the two counts.
//
// Where it writes to disk, time counts until the data is there: procdump syncs
// its file, so the other files are synced too, and the time of that is added.
package main
