package arm

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// checkProgram wants nobody but root to be able to change a program that root
// is going to run at each boot, nor any folder that it is in.
func checkProgram(program string) error {
	bad := func(cause string, args ...any) error {
		return &Error{ErrUntrusted, fmt.Sprintf(cause, args...), "install procdump to /usr/local/bin first (make install)"}
	}
	real, err := filepath.EvalSymlinks(program)
	if err != nil {
		return fmt.Errorf("install unit: %w", err)
	}
	for p := real; ; p = filepath.Dir(p) {
		st, err := os.Lstat(p)
		if err != nil {
			return fmt.Errorf("install unit: %w", err)
		}
		if sys, ok := st.Sys().(*syscall.Stat_t); !ok || sys.Uid != 0 {
			return bad("%s does not belong to root", p)
		}
		if st.Mode().Perm()&0o022 != 0 {
			return bad("%s can be written by others than root (mode %v)", p, st.Mode())
		}
		if p == filepath.Dir(p) {
			return nil
		}
	}
}
