package arm

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"syscall"

	"procdump/internal/sys/fsys"
)

// checkProgram wants nobody but root to be able to change a program that root
// is going to run at each boot, nor any folder that it is in.
func checkProgram(program string) error {
	real, err := filepath.EvalSymlinks(program)
	if err != nil {
		return fmt.Errorf("install unit: %w", err)
	}
	why, err := fsys.Untrusted(real)
	switch {
	case err != nil:
		return fmt.Errorf("install unit: %w", err)
	case why != "":
		return &Error{ErrUntrusted, why, "install procdump to /usr/local/bin first (make install)"}
	}
	return nil
}

// replaceable gives a folder above an absolute path in which others than root
// could put something else in its place, or "".
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
