package procmem

import (
	"os"
	"runtime"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// MaxVector is the largest number of pieces one ReadV takes (UIO_MAXIOV).
const MaxVector = 1024

// Vec is a piece of the target's memory.
type Vec struct{ Addr, Size uint64 }

// ReadV copies the pieces back to back into p by process_vm_readv(2). It
// returns the bytes copied: fewer than asked for when it met a page that
// cannot be read.
func ReadV(pid int, p []byte, vecs []Vec) (int, error) {
	if len(p) == 0 || len(vecs) == 0 {
		return 0, nil
	}
	local := unix.Iovec{Base: &p[0], Len: uint64(len(p))}
	// Vec has the layout of struct iovec on 64-bit machines.
	n, _, e := unix.Syscall6(unix.SYS_PROCESS_VM_READV, uintptr(pid), uintptr(unsafe.Pointer(&local)), 1,
		uintptr(unsafe.Pointer(&vecs[0])), uintptr(len(vecs)), 0)
	runtime.KeepAlive(p)
	if e != 0 {
		return 0, e
	}
	return int(n), nil
}

// Write copies p to an address of a process by process_vm_writev(2), all of it
// or with an error. The memory must be writable.
func Write(pid int, p []byte, addr uint64) error {
	if len(p) == 0 {
		return nil
	}
	local := unix.Iovec{Base: &p[0], Len: uint64(len(p))}
	remote := Vec{Addr: addr, Size: uint64(len(p))}
	n, _, e := unix.Syscall6(unix.SYS_PROCESS_VM_WRITEV, uintptr(pid), uintptr(unsafe.Pointer(&local)), 1,
		uintptr(unsafe.Pointer(&remote)), 1, 0)
	runtime.KeepAlive(p)
	switch {
	case e != 0:
		return e
	case int(n) < len(p):
		return unix.EFAULT
	}
	return nil
}

// Page categories of PAGEMAP_SCAN (linux/fs.h).
const (
	PageFile    = 1 << 2
	PagePresent = 1 << 3
	PageSwapped = 1 << 4
	PageZero    = 1 << 5
)

// Region is struct page_region: a run of pages of the same categories.
type Region struct{ Start, End, Categories uint64 }

type scanArg struct {
	Size, Flags, Start, End, WalkEnd uint64
	Vec                              uintptr
	VecLen, MaxPages                 uint64
	CategoryInverted, CategoryMask   uint64
	CategoryAnyofMask, ReturnMask    uint64
}

// noGuard is set once the kernel has refused to tell guard markers.
var noGuard atomic.Bool

const pagemapScan = 0xc0606610 // _IOWR('f', 16, struct pm_scan_arg)

// Scan lists the present and swapped pages of [start, end) by the
// PAGEMAP_SCAN ioctl (Linux 6.7). It returns the number of regions filled and
// the address where a next call goes on (end when done). buf must not be empty.
func Scan(pagemap *os.File, start, end uint64, buf []Region) (n int, next uint64, err error) {
	// Guard markers (MADV_GUARD_INSTALL, Linux 6.13) look like swapped pages;
	// they hold nothing and cannot be read.
	const pageGuard = 1 << 8 // PAGE_IS_GUARD, Linux 6.15
	guard := uint64(pageGuard)
	if noGuard.Load() {
		guard = 0
	}
	arg := scanArg{
		Size: uint64(unsafe.Sizeof(scanArg{})), Start: start, End: end,
		Vec: uintptr(unsafe.Pointer(&buf[0])), VecLen: uint64(len(buf)),
		CategoryInverted:  guard,
		CategoryMask:      guard,
		CategoryAnyofMask: PagePresent | PageSwapped,
		ReturnMask:        PageFile | PagePresent | PageSwapped | PageZero,
	}
	r, _, e := unix.Syscall(unix.SYS_IOCTL, pagemap.Fd(), pagemapScan, uintptr(unsafe.Pointer(&arg)))
	runtime.KeepAlive(buf)
	if e == unix.EINVAL && guard != 0 {
		noGuard.Store(true) // an older kernel
		return Scan(pagemap, start, end, buf)
	}
	if e != 0 {
		return 0, start, e
	}
	return int(r), arg.WalkEnd, nil
}
