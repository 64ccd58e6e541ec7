package ptrace

import (
	"encoding/binary"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Regs64 reads the 64-bit user_regs_struct (216 bytes) whatever mode the
// thread runs in: for a 32-bit thread its registers zero-extended.
func Regs64(tid int) ([]byte, error) {
	buf := make([]byte, unsafe.Sizeof(unix.PtraceRegsAmd64{}))
	err := ptrace(unix.PTRACE_GETREGS, tid, 0, uintptr(unsafe.Pointer(&buf[0])))
	return buf, err
}

// SetRegs64 writes what Regs64 reads, all of it at once.
func SetRegs64(tid int, regs []byte) error {
	err := ptrace(unix.PTRACE_SETREGS, tid, 0, uintptr(unsafe.Pointer(&regs[0])))
	runtime.KeepAlive(regs)
	return err
}

// StackPointer reads the stack pointer of a stopped thread.
func StackPointer(tid int) (sp uint64, err error) {
	const offset = 19 * 8 // of rsp in struct user_regs_struct (sys/user.h)
	regs, err := Regs64(tid)
	return binary.LittleEndian.Uint64(regs[offset:]), err
}
