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
	PageTracked = 1 << 0 // PAGE_IS_WPALLOWED: its writes are tracked
	PageWritten = 1 << 1 // PAGE_IS_WRITTEN: it is not protected (any more)
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
	return scan(pagemap, scanArg{Start: start, End: end, ReturnMask: PageFile | PagePresent | PageSwapped | PageZero}, buf)
}

// ScanTracked is Scan, but tells whether the pages are tracked and written to,
// and not of what kind they are. The buffer's length bounds what is looked at.
func ScanTracked(pagemap *os.File, start, end uint64, buf []Region) (n int, next uint64, err error) {
	return scan(pagemap, scanArg{Start: start, End: end, ReturnMask: PageTracked | PageWritten | PageZero}, buf)
}

// Protect lists the present and swapped pages of [start, end) that are tracked
// and were written to, and protects them. Memory that is not tracked is passed
// over. The last argument is as for Scan, and so are the results.
func Protect(pagemap *os.File, start, end uint64, buf []Region) (n int, next uint64, err error) {
	const protectMatching = 1 << 0 // PM_SCAN_WP_MATCHING
	return scan(pagemap, scanArg{Flags: protectMatching, Start: start, End: end,
		CategoryMask: PageWritten, ReturnMask: PageWritten | PageZero}, buf)
}

// First is the address of the first present or swapped page of [start, end).
func First(pagemap *os.File, start, end uint64) (addr uint64, ok bool, err error) {
	var one [1]Region
	n, _, err := scan(pagemap, scanArg{Start: start, End: end, MaxPages: 1, ReturnMask: PagePresent | PageSwapped}, one[:])
	return one[0].Start, n > 0, err
}

func scan(pagemap *os.File, arg scanArg, buf []Region) (n int, next uint64, err error) {
	// Guard markers (MADV_GUARD_INSTALL, Linux 6.13) look like swapped pages;
	// they hold nothing and cannot be read.
	const pageGuard = 1 << 8 // PAGE_IS_GUARD, Linux 6.15
	guard := uint64(pageGuard)
	if noGuard.Load() {
		guard = 0
	}
	full := arg
	full.Size = uint64(unsafe.Sizeof(scanArg{}))
	full.Vec, full.VecLen = uintptr(unsafe.Pointer(&buf[0])), uint64(len(buf))
	full.CategoryInverted |= guard
	full.CategoryMask |= guard
	full.CategoryAnyofMask = PagePresent | PageSwapped
	r, _, e := unix.Syscall(unix.SYS_IOCTL, pagemap.Fd(), pagemapScan, uintptr(unsafe.Pointer(&full)))
	runtime.KeepAlive(buf)
	if e == unix.EINVAL && guard != 0 {
		noGuard.Store(true) // an older kernel
		return scan(pagemap, arg, buf)
	}
	if e != 0 {
		return 0, arg.Start, e
	}
	return int(r), full.WalkEnd, nil
}
