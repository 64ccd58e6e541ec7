package cgroup

import (
	"fmt"
	"iter"
	"math"
	"path/filepath"
	"strconv"
	"strings"
)

// MemoryLeft returns how much more memory a process can use before it is short,
// in bytes, and where: in its cgroup, in one above it, or in the machine. Caches
// that are in use count only as far as the kernel would give them up at once.
//
// Swap that is free counts for the machine, which moves to it what is used least,
// as far as the process's cgroups allow it. It does not count for a cgroup: at its
// limit the process itself would have to wait for room, page by page. It is 0 if
// nothing can be read.
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
	if swap := g.swapLeft(); where != "" && swap > 0 {
		bytes, where = bytes+swap, "RAM and swap"
	}
	for h, dir := range g.limiting() {
		if left, file := leftIn(dir, h.v2); left < bytes || where == "" && left < math.MaxUint64 {
			bytes, where = left, fmt.Sprintf("%s of cgroup %s", file, h.name(dir))
		}
	}
	return bytes, where
}

// limiting are the folders whose limits of memory hold for the process.
func (g *Groups) limiting() iter.Seq2[hierarchy, string] {
	return func(yield func(hierarchy, string) bool) {
		for _, h := range g.with("memory") {
			for i, dir := range h.up() {
				// In version 1 a cgroup counts what is below it only if it says so.
				if hierarchical, ok := readText(dir, "memory.use_hierarchy"); i > 0 && ok && hierarchical == "0" {
					break
				}
				if !yield(h, dir) {
					return
				}
			}
		}
	}
}

// swapLeft returns how much of the machine's swap is free and may be used for the
// process, in bytes.
func (g *Groups) swapLeft() (left uint64) {
	// /proc/swaps has a line of titles, then name, type, size, used and priority
	// of each area, the sizes in KiB. What is in compressed RAM (zram) makes no room.
	text, _ := readText(g.root.path("proc/swaps"))
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 5 || strings.HasPrefix(f[0], "/dev/zram") {
			continue
		}
		size, err1 := strconv.ParseUint(f[len(f)-3], 10, 64)
		used, err2 := strconv.ParseUint(f[len(f)-2], 10, 64)
		if err1 == nil && err2 == nil {
			left += (size - min(used, size)) * 1024
		}
	}
	for h, dir := range g.limiting() {
		if h.v2 { // version 1 limits memory and swap in sum only (leftIn)
			left = min(left, swapIn(dir))
		}
	}
	return left
}

// swapIn returns how much more swap a cgroup of version 2 may use, MaxUint64
// without a limit.
func swapIn(dir string) uint64 {
	if n, err := readNumber(filepath.Join(dir, "memory.zswap.writeback"), ""); err == nil && n == 0 {
		return 0 // only to what is compressed in RAM
	}
	used, err := readNumber(filepath.Join(dir, "memory.swap.current"), "")
	if err != nil {
		return math.MaxUint64 // the root, or a kernel that does not count it
	}
	left, _ := within(dir, used, "memory.swap.max", "memory.swap.high")
	return left
}

// leftIn returns what a cgroup may still use, MaxUint64 without a limit.
func leftIn(dir string, v2 bool) (left uint64, file string) {
	limits, usage, cache := []string{"memory.max", "memory.high"}, "memory.current", "inactive_file"
	if !v2 {
		limits, usage, cache = []string{"memory.limit_in_bytes"}, "memory.usage_in_bytes", "total_inactive_file"
	}
	used, err := readNumber(filepath.Join(dir, usage), "")
	if err != nil {
		return math.MaxUint64, ""
	}
	given, err := readNumber(filepath.Join(dir, "memory.stat"), cache)
	if err != nil {
		given = 0
	}
	left, file = within(dir, used-min(given, used), limits...)
	// Version 1 has a limit of memory and swap in sum.
	if used, err = readNumber(filepath.Join(dir, "memory.memsw.usage_in_bytes"), ""); !v2 && err == nil {
		if n, name := within(dir, used-min(given, used), "memory.memsw.limit_in_bytes"); n < left {
			left, file = n, name
		}
	}
	return left, file
}

// within returns how far a use is below the lowest of the limits that files of a
// cgroup say, and which file that is. It is MaxUint64 without a limit.
func within(dir string, used float64, limits ...string) (left uint64, file string) {
	left = math.MaxUint64
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
