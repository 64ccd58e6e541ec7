package ptrace

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Options of SetOptions, besides those of SeizeWith.
const (
	// TraceSysGood marks the stops of Syscall by the signal SyscallStop.
	TraceSysGood = unix.PTRACE_O_TRACESYSGOOD
	// ExitKill ends the thread's process with its tracer.
	ExitKill = unix.PTRACE_O_EXITKILL
)

// SyscallStop is the signal of a stop at the entry to a system call or at its
// exit, with TraceSysGood.
const SyscallStop = int(unix.SIGTRAP) | 0x80

// Requests of linux/ptrace.h that x/sys/unix lacks.
const (
	reqSetSigmask = 0x420b // PTRACE_SETSIGMASK
	reqGetRseq    = 0x420f // PTRACE_GET_RSEQ_CONFIGURATION, Linux 5.13
)

// SetOptions replaces the options of a stopped thread. Threads and processes
// that are seized as they come into being inherit them.
func SetOptions(tid, options int) error {
	return ptrace(unix.PTRACE_SETOPTIONS, tid, 0, uintptr(options))
}

// Syscall is Cont, but the thread stops at the next entry to a system call or
// exit from one.
func Syscall(tid, sig int) error { return ptrace(unix.PTRACE_SYSCALL, tid, 0, uintptr(sig)) }

// SetSigmask replaces the set of signals that a stopped thread blocks.
func SetSigmask(tid int, mask uint64) error {
	var set [8]byte
	binary.LittleEndian.PutUint64(set[:], mask)
	return ptrace(reqSetSigmask, tid, uintptr(len(set)), uintptr(unsafe.Pointer(&set[0])))
}

// RseqArea returns the address of a thread's struct rseq (rseq(2)); 0: it has
// registered none. The error is EIO on a kernel that does not tell.
func RseqArea(tid int) (uint64, error) {
	var c [24]byte // struct ptrace_rseq_configuration: the address comes first
	err := ptrace(reqGetRseq, tid, uintptr(len(c)), uintptr(unsafe.Pointer(&c[0])))
	return binary.LittleEndian.Uint64(c[:]), err
}

// Dispatched tells whether a thread's system calls are handed to itself
// (PR_SET_SYSCALL_USER_DISPATCH of prctl(2)). The error is EIO on a kernel that
// does not tell.
func Dispatched(tid int) (bool, error) {
	var c [32]byte // struct ptrace_sud_config: the mode comes first
	err := ptrace(unix.PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG, tid, uintptr(len(c)), uintptr(unsafe.Pointer(&c[0])))
	return binary.LittleEndian.Uint64(c[:]) != 0, err
}

// TakeEnd collects the end of a thread that was killed, without blocking, and
// tells whether it has ended. Its stops on the way are of no interest.
func TakeEnd(tid int) bool {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(tid, &status, unix.WALL|unix.WNOHANG|unix.WNOTHREAD, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return true // nobody's, or somebody else's, who sees to it
		case pid == 0:
			return false
		case status.Exited() || status.Signaled():
			return true
		}
	}
}

// Poke writes a word into the memory of a stopped thread's process. Unlike
// process_vm_writev(2) it lets a stack grow.
func Poke(tid int, addr, word uint64) error {
	return ptrace(unix.PTRACE_POKEDATA, tid, uintptr(addr), uintptr(word))
}
