package ptrace

import (
	"encoding/binary"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// reqGetSigmask is a request of linux/ptrace.h that x/sys/unix lacks.
const reqGetSigmask = 0x420a // PTRACE_GETSIGMASK

// ptrace makes a request. What addr and data point at must not lie on the stack of
// a goroutine, which may be moved before the kernel writes there.
//
//go:uintptrescapes
func ptrace(req, tid int, addr, data uintptr) error {
	_, _, e := unix.RawSyscall6(unix.SYS_PTRACE, uintptr(req), uintptr(tid), addr, data, 0, 0)
	if e != 0 {
		return e
	}
	return nil
}

// Interrupt asks a seized thread to stop; Wait reports the stop.
func Interrupt(tid int) error { return ptrace(unix.PTRACE_INTERRUPT, tid, 0, 0) }

// Detach lets a stopped thread go on, delivering sig if it is not 0.
func Detach(tid, sig int) error { return ptrace(unix.PTRACE_DETACH, tid, 0, uintptr(sig)) }

// Regset reads the regset of ELF note type typ into buf and returns how many
// bytes the kernel has of it.
func Regset(tid int, typ uint32, buf []byte) (int, error) {
	iov := unix.Iovec{Base: &buf[0], Len: uint64(len(buf))}
	err := ptrace(unix.PTRACE_GETREGSET, tid, uintptr(typ), uintptr(unsafe.Pointer(&iov)))
	runtime.KeepAlive(buf)
	return int(iov.Len), err
}

// Siginfo reads the siginfo_t (128 bytes, in the tracer's layout) of the signal
// that a thread in a signal-delivery-stop is about to take.
func Siginfo(tid int) ([]byte, error) {
	buf := make([]byte, 128)
	return buf, ReadSiginfo(tid, buf)
}

// Sigmask reads the set of signals a stopped thread blocks.
func Sigmask(tid int) (uint64, error) {
	var set [8]byte
	err := ptrace(reqGetSigmask, tid, uintptr(len(set)), uintptr(unsafe.Pointer(&set[0])))
	return binary.LittleEndian.Uint64(set[:]), err
}

// Stop is what Wait saw.
type Stop struct {
	Stopped bool // the thread is stopped
	Gone    bool // it exited, or is not ours (any more)
	Signal  int  // the signal it is about to take and that Detach must hand back; 0: none
}

// Wait looks, without blocking, whether tid has stopped. It leaves the stop to
// be waited for, as Waiter does.
func Wait(tid int) (Stop, error) {
	var w Waiter
	c, err := w.Peek(tid)
	switch {
	case err == unix.ECHILD:
		return Stop{Gone: true}, nil
	case err != nil || c.TID == 0:
		return Stop{}, err
	case c.Ended:
		Reap(tid)
		return Stop{Gone: true}, nil
	case c.Event() != 0:
		return Stop{Stopped: true}, nil
	}
	return Stop{Stopped: true, Signal: c.Signal()}, nil
}

// Nap sleeps for d in the calling thread, without the scheduler's help: the
// caller holds a target stopped and must not wait for a processor.
func Nap(d time.Duration) {
	ts := unix.NsecToTimespec(int64(d))
	_ = unix.Nanosleep(&ts, nil)
}
