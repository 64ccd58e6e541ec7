package userfault

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Flags are those of userfaultfd(2) that a descriptor is to be made with. With
// UFFD_USER_MODE_ONLY (Linux 5.11) no right and no sysctl is needed for it; where
// protection is asynchronous, writes by the kernel take it away as well.
const Flags = unix.O_CLOEXEC | unix.O_NONBLOCK | userModeOnly

const userModeOnly = 1 // UFFD_USER_MODE_ONLY

// Requests and values of linux/userfaultfd.h.
const (
	reqAPI          = 0xc018aa3f // UFFDIO_API
	reqRegister     = 0xc020aa00 // UFFDIO_REGISTER
	reqUnregister   = 0x8010aa01 // UFFDIO_UNREGISTER
	reqWriteProtect = 0xc018aa06 // UFFDIO_WRITEPROTECT

	api            = 0xaa
	wpUnpopulated  = 1 << 13 // UFFD_FEATURE_WP_UNPOPULATED, which PAGEMAP_SCAN asks for
	wpAsync        = 1 << 15 // UFFD_FEATURE_WP_ASYNC
	registerModeWP = 1 << 1
)

// File is a userfaultfd that write-protects memory of a process. What it has
// registered is free again when its last descriptor is closed, whoever does that.
type File struct{ f *os.File }

// Take takes a descriptor of a process over, which has just made it by
// userfaultfd(2). It needs the right to attach to the process.
func Take(pid, fd int) (*File, error) {
	p, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", pid, err)
	}
	defer unix.Close(p)
	own, err := unix.PidfdGetfd(p, fd, 0)
	if err != nil {
		return nil, fmt.Errorf("take descriptor of process %d: %w", pid, err)
	}
	unix.CloseOnExec(own)
	u := &File{os.NewFile(uintptr(own), "userfaultfd")}
	// struct uffdio_api
	arg := [3]uint64{api, wpAsync | wpUnpopulated, 0}
	if err := u.ioctl(reqAPI, unsafe.Pointer(&arg)); err != nil {
		u.Close()
		if errors.Is(err, unix.EINVAL) {
			return nil, fmt.Errorf("track writes (Linux 6.7): %w", errors.ErrUnsupported)
		}
		return nil, fmt.Errorf("track writes: %w", err)
	}
	return u, nil
}

func (u *File) ioctl(req uintptr, arg unsafe.Pointer) error {
	for {
		_, _, e := unix.Syscall(unix.SYS_IOCTL, u.f.Fd(), req, uintptr(arg))
		runtime.KeepAlive(u)
		switch e {
		case 0:
			return nil
		case unix.EINTR, unix.EAGAIN: // the mappings are being changed
			continue
		}
		return e
	}
}

// Register makes memory, which must be mapped all through, trackable. None of it
// is protected by that.
func (u *File) Register(addr, size uint64) error {
	arg := [4]uint64{addr, size, registerModeWP, 0}
	return u.ioctl(reqRegister, unsafe.Pointer(&arg))
}

// Unprotect takes the protection off registered memory.
func (u *File) Unprotect(addr, size uint64) error {
	arg := [3]uint64{addr, size, 0}
	return u.ioctl(reqWriteProtect, unsafe.Pointer(&arg))
}

// Unregister gives memory free that was registered.
func (u *File) Unregister(addr, size uint64) error {
	arg := [2]uint64{addr, size}
	return u.ioctl(reqUnregister, unsafe.Pointer(&arg))
}

// Close gives all memory free.
func (u *File) Close() error { return u.f.Close() }
