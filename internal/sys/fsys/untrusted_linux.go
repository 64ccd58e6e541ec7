package fsys

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Untrusted says why others than root could change a file or a folder, or put
// another one in its place: who can write a folder can replace what is in it. It
// is "" where nobody can. The path is absolute and has no symbolic links.
func Untrusted(path string) (why string, err error) {
	for p := path; ; p = filepath.Dir(p) {
		st, err := os.Lstat(p)
		if err != nil {
			return "", err
		}
		sys, ok := st.Sys().(*syscall.Stat_t)
		switch {
		case !ok:
			return "the owner of " + p + " is not known", nil
		case sys.Uid != 0:
			return fmt.Sprintf("%s belongs to user %d, not to root", p, sys.Uid), nil
		case st.Mode()&fs.ModeSymlink != 0:
			return p + " is a link", nil
		case st.Mode().Perm()&0o022 != 0:
			return fmt.Sprintf("%s can be written by others than root (mode %v)", p, st.Mode()), nil
		}
		if p == filepath.Dir(p) {
			return "", nil
		}
	}
}
