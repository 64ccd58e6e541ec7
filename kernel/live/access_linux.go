package live

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"procdump/internal/sys/lockdown"
)

// openKcore opens /proc/kcore, or says why that is not possible.
func openKcore(root Root) (*os.File, error) {
	const what = "read kernel memory"
	name := filepath.Join(root.Proc, "kcore")
	st, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &Error{
			What: what, Cause: "there is no " + name + ": this kernel is built without CONFIG_PROC_KCORE, or a container hides it",
			Remedy: "run procdump on the host, or boot a kernel that has it", Err: errors.ErrUnsupported,
		}
	case err == nil && !st.Mode().IsRegular():
		// Container runtimes put /dev/null over it.
		return nil, &Error{
			What: what, Cause: name + " is masked by a container",
			Remedy: "run procdump on the host", Err: fs.ErrPermission,
		}
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, explainKcore(root, name, err)
	}
	return f, nil
}

// explainKcore says why /proc/kcore cannot be opened.
func explainKcore(root Root, name string, err error) error {
	const what = "read kernel memory"
	switch {
	case !errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s: %w", what, err)
	case lockdown.Read(root.Sys) == "confidentiality":
		// The kernel looks for the capability first, but that alone would not
		// help.
		return &Error{
			What: what, Cause: "the kernel is locked down (confidentiality), which forbids it to everybody",
			Remedy: "boot with lockdown=integrity or lockdown=none (kernel_lockdown(7))", Err: err,
		}
	}
	return denied(what, name, "CAP_SYS_RAWIO", err)
}

// openFlags opens /proc/kpageflags, or says why that is not possible.
func openFlags(root Root) (*os.File, error) {
	const what = "read what pages are used for"
	name := filepath.Join(root.Proc, "kpageflags")
	f, err := os.Open(name)
	if err == nil {
		// The capability is needed to open it, and since 5.12 not to read it.
		var one [8]byte
		if _, err = f.ReadAt(one[:], 0); err == nil {
			return f, nil
		}
		f.Close()
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &Error{
			What: what, Cause: "there is no " + name + ": this kernel is built without CONFIG_PROC_PAGE_MONITOR",
			Remedy: "take a complete dump (-type complete), which does not need it", Err: errors.ErrUnsupported,
		}
	case errors.Is(err, fs.ErrPermission):
		return nil, denied(what, name, "CAP_SYS_ADMIN", err)
	}
	return nil, fmt.Errorf("%s: %w", what, err)
}

// denied says what is missing to open a file.
func denied(what, name, capability string, err error) error {
	e := &Error{What: what, Cause: name + " needs " + capability, Remedy: "run procdump as root", Err: err}
	if syscall.Geteuid() == 0 {
		e.Cause += ", which has been taken from this root user"
		e.Remedy = "run procdump on the host, outside of a container or a restricted unit, or give it " + capability
	}
	return e
}
