package cgroup

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"procdump/internal/mountinfo"
)

// mount is a place where a hierarchy, or a part of it, can be seen.
type mount struct {
	v2          bool
	controllers []string // of version 1
	root        string   // the cgroup that is mounted
	point       string   // the folder where
}

// mounts reads the cgroup mounts of a mountinfo file (proc_pid_mountinfo(5));
// mount points count from the given folder. An unreadable file has none.
func (r Root) mounts(path, from string) (ms []mount) {
	b, err := readFile(path)
	if err != nil {
		return nil
	}
	for line := range mountinfo.Parse(b) {
		m := mount{root: line.Root, point: filepath.Join(from, line.Point)}
		switch line.Type {
		case "cgroup":
			m.controllers = strings.Split(line.Super, ",")
		case "cgroup2":
			m.v2 = true
		default:
			continue
		}
		ms = append(ms, m)
	}
	return ms
}

// locate finds the folder of the cgroup, by the mount that shows most of the
// way up to the root.
func (h *hierarchy) locate(ms []mount, pid int) bool {
	longest := -1
	for _, m := range ms {
		if m.v2 != h.v2 || !h.v2 && !slices.Contains(m.controllers, h.controllers[0]) {
			continue
		}
		dir, depth := m.folder(h.path, pid)
		if depth <= longest {
			continue
		}
		if st, err := os.Stat(dir); err == nil && st.IsDir() {
			h.dir, h.top, longest = dir, m.point, depth
		}
	}
	return longest >= 0
}

// folder returns the folder of a cgroup in a mount and how many levels it is
// below the mount point, or -1 if it is not in it.
//
// The paths of cgroups and of mounted roots are both relative to the root of
// procdump's cgroup namespace, and begin with as many ".." as it takes to leave
// that ("/../other", cgroup_namespaces(7)).
func (m mount) folder(path string, pid int) (dir string, depth int) {
	upRoot, root := split(m.root)
	upPath, names := split(path)
	switch {
	case upRoot == upPath && len(names) >= len(root) && slices.Equal(names[:len(root)], root):
		names = names[len(root):]
		return filepath.Join(append([]string{m.point}, names...)...), len(names)
	case upRoot > upPath && len(root) == 0:
		// A mount from outside the namespace. The names on the way down to the
		// namespace's root are told nowhere, but the cgroup knows its processes.
		unknown := upRoot - upPath
		for _, dir := range descend(m.point, unknown) {
			dir = filepath.Join(append([]string{dir}, names...)...)
			if holds(dir, pid) {
				return dir, unknown + len(names)
			}
		}
	}
	return "", -1
}

// split returns the number of leading ".." of a path, and its other names.
func split(path string) (up int, names []string) {
	for name := range strings.SplitSeq(path, "/") {
		switch name {
		case "", ".":
		case "..":
			up++
		default:
			names = append(names, name)
		}
	}
	return up, names
}

// descend lists the folders that are some levels below one.
func descend(dir string, levels int) (dirs []string) {
	if levels == 0 {
		return []string{dir}
	}
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() {
			dirs = append(dirs, descend(filepath.Join(dir, e.Name()), levels-1)...)
		}
	}
	return dirs
}

// holds tells whether a process is in the cgroup of a folder itself.
func holds(dir string, pid int) bool {
	text, _ := readText(dir, "cgroup.procs")
	return slices.Contains(strings.Fields(text), strconv.Itoa(pid))
}
