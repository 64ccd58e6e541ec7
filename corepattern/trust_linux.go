package corepattern

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"procdump/internal/sys/fsys"
)

const installFirst = "install procdump to /usr/local/bin first (make install)"

// handlerPath is the program that the kernel shall start as root. Nobody but
// root may be able to change it, and it must be there after a restart.
func (s System) handlerPath() (string, error) {
	exe, err := s.Executable, error(nil)
	if exe == "" {
		if exe, err = os.Executable(); err != nil {
			return "", fmt.Errorf("install crash handler: %w", err)
		}
		if err := checkNamespaces(); err != nil {
			return "", err
		}
	}
	if exe, err = filepath.EvalSymlinks(exe); err != nil {
		return "", fmt.Errorf("install crash handler: %w", err)
	}
	if err := checkPath(exe); err != nil {
		return "", fmt.Errorf("install crash handler: %w; %s", err, installFirst)
	}
	if st, err := os.Stat(exe); err != nil || !st.Mode().IsRegular() || st.Mode()&0o100 == 0 {
		return "", fmt.Errorf("install crash handler: %s is no program: %w; %s", exe, ErrUntrusted, installFirst)
	}
	return exe, checkMount(exe)
}

// checkPath wants each part of an absolute path, links resolved, to be root's
// and writable for nobody else.
func checkPath(path string) error {
	why, err := fsys.Untrusted(path)
	if err == nil && why != "" {
		err = fmt.Errorf("%s: %w", why, ErrUntrusted)
	}
	return err
}

// checkMount refuses a program on a file system from which nothing can be
// started, or that is empty after a restart.
func checkMount(exe string) error {
	var st syscall.Statfs_t
	if err := syscall.Statfs(exe, &st); err != nil {
		return fmt.Errorf("install crash handler: %w", &fs.PathError{Op: "statfs", Path: exe, Err: err})
	}
	// include/uapi/linux/magic.h, statfs(2)
	const tmpfs, ramfs, stNoexec = 0x01021994, 0x858458f6, 0x8
	switch {
	case st.Type == tmpfs || st.Type == ramfs:
		return fmt.Errorf("install crash handler: %s is in memory only and gone after a restart: %w; %s", exe, ErrUntrusted, installFirst)
	case st.Flags&stNoexec != 0:
		return fmt.Errorf("install crash handler: %s is on a file system mounted noexec: %w; %s", exe, ErrUntrusted, installFirst)
	}
	return nil
}

// checkNamespaces refuses to install from a container: the kernel starts the
// handler among the host's files and processes.
func checkNamespaces() error {
	const initPID = "pid:[4026531836]" // PROC_PID_INIT_INO, include/linux/proc_ns.h
	if ns, err := os.Readlink("/proc/self/ns/pid"); err == nil && ns != initPID {
		return errors.New("install crash handler: this is a container, and the kernel starts the handler on the host: install it there")
	}
	mine, err1 := os.Readlink("/proc/self/ns/mnt")
	host, err2 := os.Readlink("/proc/1/ns/mnt")
	if err1 == nil && err2 == nil && mine != host {
		return errors.New("install crash handler: this process sees other mounts than the kernel, which starts the handler: install it outside of the container")
	}
	return nil
}

// makeFolder makes the last part of the dumps' folder if it is missing, and
// checks it.
func makeFolder(folder string) error {
	err := os.Mkdir(folder, 0o755)
	if errors.Is(err, fs.ErrNotExist) && folder == DefaultFolder {
		err = os.MkdirAll(folder, 0o755)
	}
	switch {
	case errors.Is(err, fs.ErrExist):
	case err != nil:
		return fmt.Errorf("make dump folder: %w; create it or give another one", err)
	default:
		err = os.Chmod(folder, 0o755) // whatever the umask
		if err != nil {
			return fmt.Errorf("make dump folder: %w", err)
		}
	}
	return checkFolder(folder)
}

// checkFolder refuses a folder in which somebody else could plant a link or
// take a dump's name.
func checkFolder(folder string) error {
	real, err := filepath.EvalSymlinks(folder)
	if err != nil {
		return fmt.Errorf("open dump folder: %w", err)
	}
	if st, err := os.Stat(real); err != nil || !st.IsDir() {
		return fmt.Errorf("open dump folder: %s is no folder", folder)
	}
	if err := checkPath(real); err != nil {
		return fmt.Errorf("use dump folder %s: %w; give a folder of root's that nobody else can write, as %s", folder, err, DefaultFolder)
	}
	return nil
}
