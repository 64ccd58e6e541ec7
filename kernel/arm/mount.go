package arm

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"procdump/internal/mountinfo"
)

// mounts reads the mounts that procdump sees.
func (s *System) mounts() ([]mountinfo.Mount, error) {
	b, err := os.ReadFile(s.file("proc/self/mountinfo"))
	if err != nil {
		return nil, fmt.Errorf("read mounts: %w", err)
	}
	return slices.Collect(mountinfo.Parse(b)), nil
}

// option is the value of one option in a list of them.
func option(list, name string) (value string, ok bool) {
	for o := range strings.SplitSeq(list, ",") {
		if n, v, _ := strings.Cut(o, "="); n == name {
			return v, true
		}
	}
	return "", false
}

// mountOf returns the mount that a folder is in. The folder is absolute and has
// no symbolic links.
func mountOf(mounts []mountinfo.Mount, folder string) (m mountinfo.Mount, ok bool) {
	for _, c := range mounts {
		// Of several at one place the last one is seen.
		if below(folder, c.Point) && (!ok || len(c.Point) >= len(m.Point)) {
			m, ok = c, true
		}
	}
	return m, ok
}

// below tells whether a path is that of a folder or lies in it.
func below(p, folder string) bool {
	return folder == "/" || p == folder || strings.HasPrefix(p, folder+"/")
}

// resolve returns the path of a folder, which need not be there yet, without
// symbolic links.
func (s *System) resolve(folder string) (string, error) {
	rest := ""
	for p := filepath.Clean(folder); ; p = filepath.Dir(p) {
		real, err := filepath.EvalSymlinks(s.file(p))
		switch {
		case err == nil:
			return filepath.Join(s.path(real), rest), nil
		case !os.IsNotExist(err) || p == "/":
			return "", fmt.Errorf("find folder: %w", err)
		}
		if _, err := os.Lstat(s.file(p)); err == nil {
			return "", fmt.Errorf("find folder: %s is a symbolic link to nothing", p)
		}
		rest = filepath.Join(filepath.Base(p), rest)
	}
}
