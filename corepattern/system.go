package corepattern

import (
	"errors"
	"path/filepath"
)

// System says where the files are that the package reads and writes, so that
// tests can name others. The zero System is the machine's own.
type System struct {
	Kernel string // "" is /proc/sys/kernel
	Sysctl string // "" is /etc/sysctl.d
	State  string // "" is /var/lib/procdump
	// Executable is the handler; "" is the running program.
	Executable string
	// Tool names the writer in the dumps' note: "procdump 0.1.0".
	Tool string
}

// Errors that Install and Uninstall return, wrapped.
var (
	ErrForeign      = errors.New("another crash handler is installed")
	ErrNotInstalled = errors.New("procdump is not installed as crash handler")
	ErrUntrusted    = errors.New("not safe to run as root")
)

// Installation is how things stand.
type Installation struct {
	Installed bool     // Install was called, and Uninstall not yet
	Active    bool     // crashes go to procdump now
	Pattern   string   // core_pattern now
	Before    string   // core_pattern before Install
	Settings  Settings // of Install
	Warnings  []string // what the user should know
}

// Removal is what Uninstall did.
type Removal struct {
	Restored bool   // what was there before is back
	Before   string // core_pattern before Install
	Now      string // core_pattern now
}

func or(path, standard string) string {
	if path == "" {
		return standard
	}
	return path
}

func (s System) kernelFile(name string) string {
	return filepath.Join(or(s.Kernel, "/proc/sys/kernel"), name)
}

func (s System) sysctlFile() string {
	return filepath.Join(or(s.Sysctl, "/etc/sysctl.d"), "60-procdump.conf")
}

func (s System) stateDir() string { return or(s.State, "/var/lib/procdump") }

func (s System) stateFile() string { return filepath.Join(s.stateDir(), "handler.json") }
