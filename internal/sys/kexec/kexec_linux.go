//go:build linux && (amd64 || arm64)

package kexec

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Load loads a crash kernel in place of the one that is there. If it fails, none
// may be loaded: the kernel drops the old one first. Neither file may be open
// for writing anywhere.
func Load(image, initrd *os.File, commandLine string) error {
	err := unix.KexecFileLoad(int(image.Fd()), int(initrd.Fd()), commandLine, unix.KEXEC_FILE_ON_CRASH)
	return explain("load crash kernel", err)
}

// Unload drops the crash kernel. There need not be one.
func Unload() error {
	err := unix.KexecFileLoad(-1, -1, "", unix.KEXEC_FILE_ON_CRASH|unix.KEXEC_FILE_UNLOAD)
	return explain("unload crash kernel", err)
}

func explain(what string, err error) error {
	var cause error
	switch {
	case err == nil:
		return nil
	// kernel/kexec_file.c: no hole of the size in the reserved memory.
	case errors.Is(err, unix.EADDRNOTAVAIL), errors.Is(err, unix.ENOMEM):
		cause = ErrTooSmall
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		cause = ErrRefused
	case errors.Is(err, unix.EKEYREJECTED), errors.Is(err, unix.ENOKEY), errors.Is(err, unix.ENODATA),
		errors.Is(err, unix.EBADMSG), errors.Is(err, unix.ENOPKG):
		cause = ErrSignature
	case errors.Is(err, unix.ENOEXEC), errors.Is(err, unix.EINVAL):
		cause = ErrImage
	case errors.Is(err, unix.EBUSY):
		cause = ErrBusy
	case errors.Is(err, unix.ENOSYS):
		cause = errors.ErrUnsupported
	default:
		return fmt.Errorf("%s: %w", what, err)
	}
	return fmt.Errorf("%s: %w: %w", what, cause, err)
}

// Memory returns a file in memory with the content that fill writes, open for
// reading only. It is gone when it is closed.
func Memory(name string, fill func(io.Writer) error) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make file in memory: %w", err)
	}
	w := os.NewFile(uintptr(fd), name)
	defer w.Close()
	if err := fill(w); err != nil {
		return nil, err
	}
	// The kernel reads no file that anybody may write to (ETXTBSY).
	r, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return nil, fmt.Errorf("open file in memory: %w", err)
	}
	return r, nil
}
