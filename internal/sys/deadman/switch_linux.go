package deadman

import (
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Switch is a timer of the calling process that sends it SIGKILL
// (timer_create(2)), which also ends a process that is stopped, traced or in a
// frozen cgroup of version 2; one in a frozen cgroup of version 1 ends when it
// is thawed.
type Switch struct {
	id    int32
	after unix.Timespec
}

// sigevent is struct sigevent (asm-generic/siginfo.h) on 64-bit machines.
type sigevent struct {
	value  uint64
	signo  int32
	notify int32 // 0: SIGEV_SIGNAL
	_      [48]byte
}

// itimerspec is struct itimerspec.
type itimerspec struct{ interval, value unix.Timespec }

// Arm makes a Switch that kills the process that long after the last sign of
// life. It lasts as long as the process.
func Arm(after time.Duration) (*Switch, error) {
	s := &Switch{after: unix.NsecToTimespec(after.Nanoseconds())}
	e := sigevent{signo: int32(unix.SIGKILL)}
	_, _, errno := unix.Syscall(unix.SYS_TIMER_CREATE, unix.CLOCK_MONOTONIC, uintptr(unsafe.Pointer(&e)), uintptr(unsafe.Pointer(&s.id)))
	if errno != 0 {
		return nil, fmt.Errorf("create timer: %w", errno)
	}
	return s, s.Alive()
}

// Alive is a sign of life. It costs one quick system call.
func (s *Switch) Alive() error {
	v := itimerspec{value: s.after}
	_, _, errno := unix.Syscall6(unix.SYS_TIMER_SETTIME, uintptr(s.id), 0, uintptr(unsafe.Pointer(&v)), 0, 0, 0)
	if errno != 0 {
		return fmt.Errorf("set timer: %w", errno)
	}
	return nil
}
