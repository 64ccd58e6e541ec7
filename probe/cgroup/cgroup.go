// Package cgroup tells what the control groups of a process allow it and use:
// how many cores it may keep busy, how much memory it may have, and any number
// that a file of its cgroup holds.
//
// It knows cgroups version 1 (one hierarchy of folders for each controller or
// set of controllers), version 2 (one for all) and both side by side, and what
// cgroup namespaces do to their paths (cgroups(7), cgroup_namespaces(7),
// Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/ of the kernel).
//
// A limit of a cgroup holds for all below it, so the smallest on the way up
// counts. What is above the highest folder that procdump can see, as from
// within a container, is not known, but for version 1's memory limit.
//
// Not looked at: threads that are in other cgroups than their process, and
// throttling by memory.high.
package cgroup

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// Root is the root folder of a machine, which holds proc and sys, and from
// which mount points count. "" is the machine procdump runs on.
type Root string

func (r Root) path(elem ...string) string {
	return filepath.Join(append([]string{string(r) + "/"}, elem...)...)
}

// proc is the path of a file of a process.
func (r Root) proc(pid int, file string) string { return r.path("proc", strconv.Itoa(pid), file) }

// Groups are the cgroups of a process, one in each hierarchy, as they were when
// they were found: a process can be moved to others.
type Groups struct {
	root        Root
	pid         int
	hierarchies []hierarchy
}

// hierarchy is a tree of cgroups and the place of the process in it.
type hierarchy struct {
	v2          bool
	controllers []string // of version 1: "memory", "name=systemd"
	path        string   // of the process's cgroup, as in /proc/PID/cgroup
	dir         string   // its folder
	top         string   // the highest folder that can be seen
}

// Find finds the cgroups of a process. The error wraps fs.ErrNotExist if there
// is no such process, and errors.ErrUnsupported where there are no cgroups.
func (r Root) Find(pid int) (*Groups, error) {
	if r == "" && runtime.GOOS != "linux" {
		return nil, fmt.Errorf("find cgroups: there are none on %s: %w", runtime.GOOS, errors.ErrUnsupported)
	}
	b, err := readFile(r.proc(pid, "cgroup"))
	if err != nil {
		if _, e := os.Stat(r.proc(pid, "")); e == nil && errors.Is(err, os.ErrNotExist) {
			err = fmt.Errorf("this kernel has no cgroups: %w", errors.ErrUnsupported)
		}
		return nil, fmt.Errorf("find cgroups of process %d: %w", pid, err)
	}
	g := &Groups{root: r, pid: pid}
	own := r.mounts(r.path("proc/self/mountinfo"), r.path())
	var its []mount
	read := false
	for line := range strings.Lines(string(b)) {
		h, ok := parseLine(strings.TrimSuffix(line, "\n"))
		if !ok {
			continue
		}
		if !h.locate(own, pid) {
			// procdump does not see this hierarchy, or not this part of it,
			// but perhaps the process does.
			if !read {
				its, read = r.mounts(r.proc(pid, "mountinfo"), r.proc(pid, "root")), true
			}
			h.locate(its, pid)
		}
		g.hierarchies = append(g.hierarchies, h)
	}
	return g, nil
}

// parseLine reads a line of /proc/PID/cgroup: "0::/path" of version 2,
// "4:cpu,cpuacct:/path" and "1:name=systemd:/path" of version 1.
func parseLine(line string) (h hierarchy, ok bool) {
	fields := strings.SplitN(line, ":", 3)
	if len(fields) != 3 {
		return h, false
	}
	h.path = strings.TrimSuffix(fields[2], " (deleted)")
	if fields[1] == "" {
		h.v2 = fields[0] == "0"
		return h, h.v2
	}
	h.controllers = strings.Split(fields[1], ",")
	return h, true
}

// with returns the hierarchies that may have files of a controller: of version
// 1 the one it belongs to, then the one of version 2. "cgroup" stands for all.
func (g *Groups) with(controller string) (hs []hierarchy) {
	for _, h := range g.hierarchies {
		for _, c := range h.controllers {
			if c == controller && h.dir != "" {
				hs = append(hs, h)
			}
		}
	}
	for _, h := range g.hierarchies {
		if h.v2 && h.dir != "" {
			hs = append(hs, h)
		}
	}
	return hs
}

// up returns the folders from the process's cgroup up to the highest one that
// can be seen.
func (h hierarchy) up() (dirs []string) {
	for dir := h.dir; ; dir = filepath.Dir(dir) {
		dirs = append(dirs, dir)
		if dir == h.top || len(dir) <= len(h.top) {
			return dirs
		}
	}
}

// name is the cgroup of a folder for messages: the path of the process's cgroup
// less the levels that the folder is above it.
func (h hierarchy) name(dir string) string {
	up, names := split(h.path)
	for d := h.dir; d != dir && len(d) > len(dir); d = filepath.Dir(d) {
		if len(names) == 0 {
			up++
		} else {
			names = names[:len(names)-1]
		}
	}
	return "/" + strings.Join(append(slices.Repeat([]string{".."}, up), names...), "/")
}

// readFile reads a file of /proc or of a cgroup, which do not tell their size.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	const most = 4 << 20
	return io.ReadAll(io.LimitReader(f, most))
}

// readText is a file's text without white space round it; false if it cannot
// be read.
func readText(elem ...string) (string, bool) {
	b, err := readFile(filepath.Join(elem...))
	return strings.TrimSpace(string(b)), err == nil
}
