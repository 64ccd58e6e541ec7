// Package kexec loads and unloads the crash kernel, which starts in memory that
// was reserved at boot when the running kernel panics (kexec_file_load(2),
// Documentation/admin-guide/kdump/kdump.rst), and reads what the kernel says
// about it. It loads none on other systems than Linux.
package kexec

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"procdump/internal/sys/lockdown"
)

// Errors that Load returns, wrapped together with that of the system call.
var (
	// ErrTooSmall says that what is to be loaded does not fit in the reserved
	// memory.
	ErrTooSmall = errors.New("the reserved memory is too small for the crash kernel")
	// ErrRefused says that the kernel does not let this program load a crash
	// kernel, or not this one.
	ErrRefused = errors.New("the kernel refuses to load a crash kernel")
	// ErrSignature says that the image is not signed by a key that the kernel
	// trusts.
	ErrSignature = errors.New("the kernel does not trust the image's signature")
	// ErrImage says that the image is not one that can be loaded.
	ErrImage = errors.New("not a kernel image that kexec_file_load can load")
	// ErrBusy says that another program is loading one.
	ErrBusy = errors.New("another program is loading a crash kernel")
)

// State is what the kernel says about its crash kernel.
type State struct {
	Supported bool  // the kernel can have one
	Loaded    bool  // one is loaded
	Reserved  int64 // bytes that were set aside at boot
	// Lockdown is the mode of the kernel's lockdown as package lockdown says it.
	Lockdown string
	// Disabled says that kexec_load_disabled is set: until the next boot no
	// crash kernel is loaded or replaced.
	Disabled bool
}

// Read reads the state from the files of sysfs and procfs below root.
func Read(root string) (State, error) {
	var s State
	loaded, err := number(filepath.Join(root, "sys/kernel/kexec_crash_loaded"))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	s.Supported, s.Loaded = true, loaded != 0
	if s.Reserved, err = number(filepath.Join(root, "sys/kernel/kexec_crash_size")); err != nil {
		return s, err
	}
	if n, err := number(filepath.Join(root, "proc/sys/kernel/kexec_load_disabled")); err == nil {
		s.Disabled = n != 0
	}
	s.Lockdown = lockdown.Read(filepath.Join(root, "sys"))
	return s, nil
}

func number(file string) (int64, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, fmt.Errorf("read state of the crash kernel: %w", err)
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", file, err)
	}
	return n, nil
}
