package linux

import (
	"bytes"
	"strconv"
	"syscall"
	"time"
)

// lockWait is how long one waits at most for the tracing thread to wait for a
// process that executes a program.
const lockWait = time.Second

// seizeRequest is PTRACE_SEIZE (include/uapi/linux/ptrace.h) as the first
// argument of a system call.
const seizeRequest = "0x4206"

// BeginExecuting is Begin for a process that somebody keeps in execve(2). letGo
// must let it go on, and is called once or twice: when the process is traced,
// and when the tracing thread waits for a lock that the process holds.
//
// That lock is cred_guard_mutex. The kernel gives it up when the old program is
// gone (setup_new_exec, fs/exec.c), before it maps the new one and long before
// the first instruction. So nearly always the process is traced when
// PTRACE_EVENT_EXEC is due; if not, it is some microseconds later, and there is
// no EventExec. If execve(2) fails, the process is traced with the program that
// it had.
func (t *Tracer) BeginExecuting(pid int, letGo func(), done func(error)) bool {
	attached := make(chan struct{})
	if !t.Begin(pid, func(err error) { letGo(); close(attached); done(err) }) {
		return false
	}
	go func() {
		t.awaitLock(attached)
		letGo()
	}()
	return true
}

// awaitLock returns when the tracing thread waits in PTRACE_SEIZE, or has
// attached.
func (t *Tracer) awaitLock(attached <-chan struct{}) {
	// The file tells the system call of a thread that sleeps, and "running" of
	// others (proc_pid_syscall(5)).
	fd, err := syscall.Open("/proc/self/task/"+strconv.Itoa(t.tid)+"/syscall", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer syscall.Close(fd)
	var text [256]byte
	for nap, end := minNap, time.Now().Add(lockWait); time.Now().Before(end); nap = min(2*nap, time.Millisecond) {
		select {
		case <-attached:
			return
		case <-time.After(nap):
		}
		n, err := syscall.Pread(fd, text[:], 0)
		if err != nil {
			return
		}
		if fields := bytes.Fields(text[:n]); len(fields) > 1 && string(fields[1]) == seizeRequest {
			return
		}
	}
}
