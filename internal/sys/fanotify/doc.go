// Package fanotify holds programs at their execution: the kernel asks a group
// before it opens a file to execute it, and the thread that called execve(2)
// waits for the answer (fanotify(7), FAN_OPEN_EXEC_PERM, Linux 5.0). When the
// group is closed, in whatever way, all who wait go on. It exists on Linux
// only.
package fanotify

// Execution is a thread that waits in execve(2). The answer must be given by
// Allow.
type Execution struct {
	TID int // of the thread, in the caller's PID namespace
	FD  int // the file that is to be executed, open for reading
}
