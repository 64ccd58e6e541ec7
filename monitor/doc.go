// Package monitor watches processes and says when each is to be dumped.
//
// Rules say what makes a dump due: a threshold that a process crosses for some
// time, a signal, its end, what it writes, or just the clock. A Scope says which
// processes are watched: those there are, those that will be, their children.
// Run takes both and calls a Dumper each time that a dump is due, with a way to
// stop the process; limits, cool-down and the numbering of dumps are kept here.
//
// The package is the only one that starts goroutines for watching. One of them
// samples all processes; those that are traced have a tracer each, which calls
// in when something happens to them.
package monitor
