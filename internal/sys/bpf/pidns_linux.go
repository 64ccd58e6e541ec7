package bpf

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// pidNamespace is where procdump's process numbers count. In the machine's
// first namespace they are the kernel's own numbers.
type pidNamespace struct {
	inner    bool
	dev, ino uint64 // of the namespace, as bpf_get_ns_current_pid_tgid wants them
}

// initPIDNamespace is PROC_PID_INIT_INO (linux/proc_ns.h).
const initPIDNamespace = 0xEFFFFFFC

func ownPIDNamespace() (pidNamespace, error) {
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/pid", &st); err != nil {
		return pidNamespace{}, fmt.Errorf("find own PID namespace: %w", err)
	}
	// The helper takes the device number in the kernel's own encoding.
	dev := uint64(unix.Major(uint64(st.Dev)))<<20 | uint64(unix.Minor(uint64(st.Dev)))
	return pidNamespace{inner: st.Ino != initPIDNamespace, dev: dev, ino: st.Ino}, nil
}
