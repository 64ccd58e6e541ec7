package arm

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// mount is a line of /proc/PID/mountinfo (proc_pid_mountinfo(5)).
type mount struct {
	number  string // major:minor of the device
	root    string // of the mount, within the file system
	point   string
	options string // of the mount
	fstype  string
	source  string
	super   string // options of the file system
}

// mounts reads the mounts that procdump sees.
func (s *System) mounts() ([]mount, error) {
	b, err := os.ReadFile(s.file("proc/self/mountinfo"))
	if err != nil {
		return nil, fmt.Errorf("read mounts: %w", err)
	}
	var all []mount
	for line := range strings.Lines(string(b)) {
		before, after, ok := strings.Cut(strings.TrimSpace(line), " - ")
		f, g := strings.Fields(before), strings.Fields(after)
		if !ok || len(f) < 6 || len(g) < 2 {
			continue
		}
		m := mount{number: f[2], root: unescape(f[3]), point: unescape(f[4]), options: f[5], fstype: g[0], source: unescape(g[1])}
		if len(g) > 2 {
			m.super = g[2]
		}
		all = append(all, m)
	}
	return all, nil
}

// unescape undoes \040 and the like: the octal form in which the kernel writes
// spaces, tabs, line feeds and backslashes.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
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

// mountOf returns the mount that a folder is in, and the folder's path within
// the file system. The folder is absolute and has no symbolic links.
func mountOf(mounts []mount, folder string) (m mount, within string, ok bool) {
	for _, c := range mounts {
		// Of several at one place the last one is seen.
		if below(folder, c.point) && (!ok || len(c.point) >= len(m.point)) {
			m, ok = c, true
		}
	}
	return m, path.Join(m.root, strings.TrimPrefix(folder, m.point)), ok
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
