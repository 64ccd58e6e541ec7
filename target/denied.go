package target

import (
	"fmt"
	"slices"
	"strings"

	"procdump/internal/printable"
)

// Reason is a rule of the kernel that keeps procdump from a process.
type Reason int

const (
	// ReasonUnknown: no rule known to this package explains it.
	ReasonUnknown Reason = iota
	// ReasonUser: its real, effective and saved user and group ids are not all procdump's.
	ReasonUser
	// ReasonCapability: procdump is root but lacks CAP_SYS_PTRACE over the target.
	ReasonCapability
	// ReasonTargetCapabilities: the target has capabilities that procdump lacks.
	ReasonTargetCapabilities
	// ReasonDumpable: the target is not dumpable (PR_SET_DUMPABLE(2const)).
	ReasonDumpable
	// ReasonYama: kernel.yama.ptrace_scope.
	ReasonYama
	// ReasonUserNamespace: the target is in a user namespace over which procdump has no rights.
	ReasonUserNamespace
	// ReasonLSM: AppArmor, SELinux or another security module.
	ReasonLSM
	// ReasonSeccomp: a system-call filter of procdump's own container.
	ReasonSeccomp
)

var reasonNames = [...]string{"unknown", "user", "capability", "target capabilities", "dumpable", "yama", "user namespace", "LSM", "seccomp"}

func (r Reason) String() string {
	if r < 0 || int(r) >= len(reasonNames) {
		return fmt.Sprintf("reason %d", int(r))
	}
	return reasonNames[r]
}

// Cause is one rule that forbids, with what lifts it.
type Cause struct {
	Reason Reason
	Text   string
	Remedy string
}

// DeniedError says why the kernel does not let procdump at a process. Every
// one of its causes has to be lifted.
type DeniedError struct {
	PID    int
	Name   string
	Causes []Cause // at least one, the most telling first
}

func (e *DeniedError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "not permitted to read %s (%d): ", printable.Text(e.Name), e.PID)
	var remedies []string
	for i, c := range e.Causes {
		if i > 0 {
			b.WriteString("; also ")
		}
		b.WriteString(c.Text)
		if c.Remedy != "" && !slices.Contains(remedies, c.Remedy) {
			remedies = append(remedies, c.Remedy)
		}
	}
	if len(remedies) > 0 {
		b.WriteString("; remedy: " + strings.Join(remedies, ", and "))
	}
	return b.String()
}

// Unwrap makes errors.Is(e, ErrDenied) true.
func (e *DeniedError) Unwrap() error { return ErrDenied }

// Has tells whether r is one of the causes.
func (e *DeniedError) Has(r Reason) bool {
	return slices.ContainsFunc(e.Causes, func(c Cause) bool { return c.Reason == r })
}
