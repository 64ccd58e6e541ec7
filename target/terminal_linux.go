package target

import (
	"io"
	"os"
	"syscall"
	"unsafe"
)

// columns is the width of the terminal w, or 120 if it is none.
func columns(w io.Writer) int {
	const standard = 120
	f, ok := w.(*os.File)
	if !ok {
		return standard
	}
	var size struct{ rows, columns, width, height uint16 } // struct winsize, ioctl_tty(2)
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), syscall.TIOCGWINSZ, uintptr(unsafe.Pointer(&size)))
	if errno != 0 || size.columns == 0 {
		return standard
	}
	return int(size.columns)
}
