// Package arm gets a machine ready for its crash: it finds out what the crash
// kernel needs to write a dump to a folder or a device of this machine, builds
// the crash kernel's initrd in memory, with procdump itself as the only
// program, loads both with kexec_file_load(2), and has that done again at each
// boot by systemd.
//
// The crash kernel reaches file systems of the types ext2, ext3, ext4, xfs,
// btrfs (on one device), and vfat, and devices without a file system, on disks
// that drivers alone give access to. What the first kernel puts together from
// parts or gets over the network is not reached: LVM and other users of the
// device mapper, RAID by md, LUKS, multipath, iSCSI, NFS. Firmware files that a
// disk's driver loads are not put into the initrd.
//
// The steps are those of kdump-tools and dracut's module kdump; the facts are in
// Documentation/admin-guide/kdump/kdump.rst, modules.dep(5), modprobe.d(5), and
// sysfs(5).
package arm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"procdump/internal/sys/kexec"
)

// System says where the files of the machine are, so that tests can name others.
// New returns the machine's own.
type System struct {
	Root    string // "/", or the folder that has the machine's etc, proc and sys
	Release string // of the running kernel, as uname -r says it
	Machine string // the architecture, as Go says it
	User    int    // effective user ID
	// Load and Unload change the crash kernel.
	Load   func(image, initrd *os.File, commandLine string) error
	Unload func() error
}

// New returns the machine that procdump runs on.
func New() (*System, error) {
	s := &System{Root: "/", Machine: runtime.GOARCH, User: os.Geteuid(), Load: kexec.Load, Unload: kexec.Unload}
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return nil, fmt.Errorf("read version of the kernel: %w", err)
	}
	s.Release = strings.TrimSpace(string(b))
	return s, nil
}

// Errors that the package returns, wrapped in an *Error.
var (
	ErrNotRoot     = errors.New("not permitted to load a crash kernel")
	ErrUnsupported = errors.New("the kernel cannot load a crash kernel")
	ErrReservation = errors.New("no memory is reserved for a crash kernel")
	ErrForeign     = errors.New("another crash kernel is loaded")
	ErrUnreachable = errors.New("the crash kernel does not reach the place for dumps")
	ErrInUse       = errors.New("the device is in use")
	ErrNotThere    = errors.New("the running kernel is not installed")
	ErrUntrusted   = errors.New("not safe to run as root")
)

// Error is a reason for which the machine cannot be armed, and what to do about
// it.
type Error struct {
	Err    error // one of the errors above, or of package kexec
	Cause  string
	Remedy string // "" if there is none
}

func (e *Error) Error() string {
	s := e.Err.Error()
	if e.Cause != "" {
		s += ": " + e.Cause
	}
	if e.Remedy != "" {
		s += "; " + e.Remedy
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

func unreachable(remedy, cause string, args ...any) error {
	return &Error{ErrUnreachable, fmt.Sprintf(cause, args...), remedy}
}

// file is the place of a file that the machine knows by an absolute path.
func (s *System) file(path ...string) string {
	return filepath.Join(append([]string{s.Root}, path...)...)
}

// path is the opposite of file.
func (s *System) path(file string) string {
	rel, err := filepath.Rel(s.Root, file)
	if err != nil || rel == "." {
		return "/"
	}
	return "/" + rel
}

// text reads a file that may not be there, without the space round it.
func (s *System) text(path ...string) string {
	b, err := os.ReadFile(s.file(path...))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func (s *System) exists(path ...string) bool {
	_, err := os.Stat(s.file(path...))
	return err == nil
}

// names are those of a folder's files, none if it is not there.
func (s *System) names(path ...string) []string {
	entries, err := os.ReadDir(s.file(path...))
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
