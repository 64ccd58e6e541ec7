package images

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"procdump/internal/mountinfo"
)

// procRoot is where procfs is mounted.
const procRoot = "/proc"

// mapping is an executable mapping of a file.
type mapping struct {
	span span
	file fileID
	path string
}

// readMaps lists the executable mappings of files of a process.
func readMaps(proc string, pid int) ([]mapping, error) {
	b, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "maps"))
	if err != nil {
		return nil, fmt.Errorf("read mappings: %w", err)
	}
	var all []mapping
	for line := range bytes.Lines(b) {
		if m, ok := parseLine(string(bytes.TrimSuffix(line, []byte("\n")))); ok {
			all = append(all, m)
		}
	}
	return all, nil
}

// parseLine reads "start-end perms offset major:minor inode path"
// (proc_pid_maps(5)) if it is an image.
func parseLine(line string) (mapping, bool) {
	var m mapping
	f := make([]string, 5)
	rest := line
	for i := range f {
		f[i], rest, _ = strings.Cut(strings.TrimLeft(rest, " "), " ")
	}
	lo, hi, _ := strings.Cut(f[0], "-")
	major, minor, _ := strings.Cut(f[3], ":")
	var err [4]error
	var ma, mi uint64
	m.span.start, err[0] = strconv.ParseUint(lo, 16, 64)
	m.span.end, err[1] = strconv.ParseUint(hi, 16, 64)
	ma, err[2] = strconv.ParseUint(major, 16, 32)
	mi, err[3] = strconv.ParseUint(minor, 16, 32)
	for _, e := range err {
		if e != nil {
			return m, false
		}
	}
	m.file.device = ma<<32 | mi
	m.file.inode, _ = strconv.ParseUint(f[4], 10, 64)
	m.path = strings.ReplaceAll(strings.TrimLeft(rest, " "), `\012`, "\n")
	// The kernel marks a file that has lost its name.
	m.path = strings.TrimSuffix(m.path, " (deleted)")
	return m, len(f[1]) == 4 && f[1][2] == 'x' && m.file.inode != 0 && m.path != ""
}

// seenAs turns a path from the root of a file system into one of the process:
// by its mount of that file system (proc_pid_mountinfo(5)).
func seenAs(proc string, pid int, device uint64, path string) string {
	b, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "mountinfo"))
	if err != nil {
		return path
	}
	want := fmt.Sprintf("%d:%d", device>>32, device&0xffffffff)
	for m := range mountinfo.Parse(b) {
		if m.Device == want && (m.Root == "/" || path == m.Root || strings.HasPrefix(path, m.Root+"/")) {
			return filepath.Join(m.Point, strings.TrimPrefix(path, m.Root))
		}
	}
	return path
}
