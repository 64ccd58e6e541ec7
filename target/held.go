package target

// Held is a program that LaunchHeld has started but that has not run an
// instruction yet: a stand-in waits in its place, as the process that it will
// be. Whoever wants to trace it attaches to the PID, then calls Release. What
// the stand-in does until it executes the program, a tracer sees too: the
// program begins with the first execve(2).
//
// If procdump ends before Release, in whatever way, the program is never run.
type Held struct {
	*Child
	held
}
