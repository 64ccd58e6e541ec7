// Package mountinfo reads the table of mounts that the kernel shows in
// /proc/PID/mountinfo (proc_pid_mountinfo(5)).
package mountinfo

import (
	"iter"
	"strconv"
	"strings"
)

// Mount is a line of the table.
type Mount struct {
	Device  string // major:minor
	Root    string // what is mounted, from the root of its file system
	Point   string // where it is mounted
	Options string // of the mount
	Type    string // of the file system; some have a subtype: fuse.sshfs
	Source  string // a device, or what the file system calls its own; may be ""
	Super   string // options of the file system
}

// Parse reads a table. Lines that are none are skipped.
func Parse(table []byte) iter.Seq[Mount] {
	return func(yield func(Mount) bool) {
		for line := range strings.Lines(string(table)) {
			if m, ok := parseLine(strings.TrimSuffix(line, "\n")); ok && !yield(m) {
				return
			}
		}
	}
}

// parseLine reads a line:
//
//	36 35 98:0 /root /point rw,noatime master:1 - ext3 /dev/root rw,errors=continue
//	0  1  2    3     4      5          6…       -
//
// Of the optional fields at 6 there may be none or several. One blank is between
// two fields: a source may be empty.
func parseLine(line string) (Mount, bool) {
	f := strings.Split(line, " ")
	for i := 6; i+1 < len(f); i++ {
		if f[i] != "-" {
			continue
		}
		m := Mount{Device: f[2], Root: unescape(f[3]), Point: unescape(f[4]), Options: f[5], Type: f[i+1]}
		if i+2 < len(f) {
			m.Source = unescape(f[i+2])
		}
		if i+3 < len(f) {
			m.Super = f[i+3]
		}
		return m, true
	}
	return Mount{}, false
}

// unescape undoes \040 and the like: the octal form in which the kernel writes
// blanks, tabs, line feeds and backslashes.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
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
