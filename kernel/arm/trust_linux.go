package arm

import (
	"fmt"
	"os"
	"path"
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

// replaceable gives a folder above an absolute path in which others than root could put
// something else in its place, or "".
func (s *System) replaceable(file string) string {
	for p := path.Dir(file); ; p = path.Dir(p) {
		if st, err := os.Lstat(s.file(p)); err == nil && st.IsDir() {
			sys, ok := st.Sys().(*syscall.Stat_t)
			foreign := ok && sys.Uid != 0 && int(sys.Uid) != os.Geteuid()
			if foreign || st.Mode().Perm()&0o022 != 0 && st.Mode()&os.ModeSticky == 0 {
				return p
			}
		}
		if p == "/" {
			return ""
		}
	}
}
