package cgroup

import (
	"fmt"
	"math"
	"path/filepath"
	"strconv"
	"strings"
)

// MemoryLeft returns how much more memory a process can use before it is short,
// in bytes, and where: in its cgroup, in one above it, or in the machine. Swap
// does not count, and caches that are in use only as far as the kernel would
// give them up at once. It is 0 if nothing can be read.
func (r Root) MemoryLeft(pid int) (bytes uint64, where string) {
	g, err := r.Find(pid)
	if err != nil {
		g = &Groups{root: r, pid: pid}
	}
	return g.MemoryLeft()
}

// MemoryLeft is Root.MemoryLeft for a process whose cgroups are known.
func (g *Groups) MemoryLeft() (bytes uint64, where string) {
	if text, ok := readText(g.root.path("proc/meminfo")); ok {
		for line := range strings.Lines(text) {
			if f := strings.Fields(line); len(f) >= 2 && f[0] == "MemAvailable:" {
				kB, _ := strconv.ParseUint(f[1], 10, 64)
				bytes, where = kB*1024, "RAM"
			}
		}
	}
	for _, h := range g.with("memory") {
		for i, dir := range h.up() {
			if hierarchical, ok := readText(dir, "memory.use_hierarchy"); i > 0 && ok && hierarchical == "0" {
				break
			}
			if left, file := leftIn(dir, h.v2); left < bytes || where == "" && left < math.MaxUint64 {
				bytes, where = left, fmt.Sprintf("%s of cgroup %s", file, h.name(dir))
			}
		}
	}
	return bytes, where
}

// leftIn returns what a cgroup may still use, MaxUint64 without a limit.
func leftIn(dir string, v2 bool) (left uint64, file string) {
	limits, usage, cache := []string{"memory.max", "memory.high"}, "memory.current", "inactive_file"
	if !v2 {
		limits, usage, cache = []string{"memory.limit_in_bytes"}, "memory.usage_in_bytes", "total_inactive_file"
	}
	left = math.MaxUint64
	used, err := readNumber(filepath.Join(dir, usage), "")
	if err != nil {
		return left, ""
	}
	if n, err := readNumber(filepath.Join(dir, "memory.stat"), cache); err == nil {
		used -= min(n, used)
	}
	for _, name := range limits {
		limit, err := readNumber(filepath.Join(dir, name), "")
		if err != nil || limit < 0 || limit >= unlimited {
			continue
		}
		if n := uint64(max(0, limit-used)); n < left {
			left, file = n, name
		}
	}
	return left, file
}
