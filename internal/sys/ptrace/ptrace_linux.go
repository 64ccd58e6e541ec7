package ptrace

import (
	"encoding/binary"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Requests and constants of linux/ptrace.h that x/sys/unix lacks.
const (
	reqGetSigmask = 0x420a // PTRACE_GETSIGMASK
	eventStop     = 128    // PTRACE_EVENT_STOP
)

func ptrace(req, tid int, addr, data uintptr) error {
	_, _, e := unix.RawSyscall6(unix.SYS_PTRACE, uintptr(req), uintptr(tid), addr, data, 0, 0)
	if e != 0 {
		return e
	}
	return nil
}

// Seize makes the calling thread the tracer of tid without stopping it.
func Seize(tid int) error { return ptrace(unix.PTRACE_SEIZE, tid, 0, 0) }

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
	err := ptrace(unix.PTRACE_GETSIGINFO, tid, 0, uintptr(unsafe.Pointer(&buf[0])))
	return buf, err
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

// siginfo fields of a child's change (sigaction(2)): byte offsets, and codes.
const (
	offCode, offPID, offStatus = 8, 16, 24

	cldExited, cldKilled, cldDumped = 1, 2, 3
)

// Wait looks, without blocking, whether tid has stopped. It leaves the stop to
// be waited for (WNOWAIT): a tracer that has consumed the stop of a thread
// about to take a signal owns that signal, and would take it along into its
// own death.
func Wait(tid int) (Stop, error) {
	var si [128]byte
	for {
		_, _, e := unix.Syscall6(unix.SYS_WAITID, unix.P_PID, uintptr(tid), uintptr(unsafe.Pointer(&si[0])),
			unix.WEXITED|unix.WSTOPPED|unix.WNOHANG|unix.WNOWAIT|unix.WALL, 0, 0)
		switch {
		case e == unix.EINTR:
			continue
		case e == unix.ECHILD:
			return Stop{Gone: true}, nil
		case e != 0:
			return Stop{}, e
		}
		break
	}
	le := binary.LittleEndian
	if le.Uint32(si[offPID:]) == 0 {
		return Stop{}, nil
	}
	status := int(le.Uint32(si[offStatus:]))
	switch le.Uint32(si[offCode:]) {
	case cldExited, cldKilled, cldDumped:
		_, _ = unix.Wait4(tid, nil, unix.WALL|unix.WNOHANG, nil)
		return Stop{Gone: true}, nil
	}
	if status>>8 == eventStop {
		return Stop{Stopped: true}, nil
	}
	return Stop{Stopped: true, Signal: status & 0x7f}, nil
}

// Nap sleeps for d in the calling thread, without the scheduler's help: the
// caller holds a target stopped and must not wait for a processor.
func Nap(d time.Duration) {
	ts := unix.NsecToTimespec(int64(d))
	_ = unix.Nanosleep(&ts, nil)
}
