package cgroup

import (
	"fmt"
	"math"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// CPULimit returns the number of cores that a process may keep busy, which can
// be a fraction, and what says so: the quota of its cgroup or of one above it,
// the CPUs it is allowed (affinity and cpuset), or those that are online.
func (r Root) CPULimit(pid int) (cores float64, why string) {
	g, err := r.Find(pid)
	if err != nil {
		g = &Groups{root: r, pid: pid}
	}
	return g.CPULimit()
}

// MemoryLimit returns how much memory a process may have, in bytes, and what
// says so: the limit of its cgroup or of one above it, or the machine's RAM. It
// is 0 if neither can be read.
func (r Root) MemoryLimit(pid int) (bytes uint64, why string) {
	g, err := r.Find(pid)
	if err != nil {
		g = &Groups{root: r, pid: pid}
	}
	return g.MemoryLimit()
}

// CPULimit is Root.CPULimit for a process whose cgroups are known.
func (g *Groups) CPULimit() (cores float64, why string) {
	online, text := g.root.online()
	cores, why = float64(online.count()), "online CPUs "+text
	if allowed, text := g.allowed(online); allowed > 0 && float64(allowed) < cores {
		cores, why = float64(allowed), "CPUs allowed to the process: "+text
	}
	for _, h := range g.with("cpu") {
		for _, dir := range h.up() {
			if quota, file := quotaOf(dir, h.v2); quota < cores {
				cores, why = quota, fmt.Sprintf("%s of cgroup %s", file, h.name(dir))
			}
		}
	}
	return cores, why
}

// quotaOf returns the cores that a cgroup may use, +Inf without a limit.
func quotaOf(dir string, v2 bool) (cores float64, file string) {
	var quota, period string
	if v2 {
		file = "cpu.max" // "50000 100000" or "max 100000", in µs
		text, _ := readText(dir, file)
		quota, period, _ = strings.Cut(text, " ")
	} else {
		file = "cpu.cfs_quota_us" // -1: none
		quota, _ = readText(dir, file)
		period, _ = readText(dir, "cpu.cfs_period_us")
	}
	q, err1 := strconv.ParseFloat(quota, 64)
	p, err2 := strconv.ParseFloat(period, 64)
	if err1 != nil || err2 != nil || !(q > 0) || !(p > 0) {
		return math.Inf(1), file
	}
	return q / p, file
}

// MemoryLimit is Root.MemoryLimit for a process whose cgroups are known.
func (g *Groups) MemoryLimit() (bytes uint64, why string) {
	if text, ok := readText(g.root.path("proc/meminfo")); ok {
		for line := range strings.Lines(text) {
			if f := strings.Fields(line); len(f) >= 2 && f[0] == "MemTotal:" {
				kB, _ := strconv.ParseUint(f[1], 10, 64)
				bytes, why = kB*1024, "RAM"
			}
		}
	}
	smaller := func(path, key, what string) {
		limit, err := readNumber(path, key)
		if err == nil && limit >= 0 && limit < unlimited && (why == "" || uint64(limit) < bytes) {
			bytes, why = uint64(limit), what
		}
	}
	for _, h := range g.with("memory") {
		file := "memory.max"
		if !h.v2 {
			file = "memory.limit_in_bytes"
		}
		for i, dir := range h.up() {
			// In version 1 a cgroup counts what is below it only if it says so.
			if hierarchical, ok := readText(dir, "memory.use_hierarchy"); i > 0 && ok && hierarchical == "0" {
				break
			}
			smaller(filepath.Join(dir, file), "", fmt.Sprintf("%s of cgroup %s", file, h.name(dir)))
		}
		if !h.v2 {
			const key = "hierarchical_memory_limit"
			smaller(filepath.Join(h.dir, "memory.stat"), key, fmt.Sprintf("%s of cgroup %s, from above what can be seen", key, h.name(h.dir)))
		}
	}
	return bytes, why
}

// cpus is a set of CPU numbers.
type cpus []bool

// parseCPUs reads a list like "0-3,8,10-11".
func parseCPUs(text string) (set cpus) {
	const most = 1 << 16
	for part := range strings.SplitSeq(strings.TrimSpace(text), ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		first, err1 := strconv.Atoi(from)
		last, err2 := strconv.Atoi(to)
		if err1 != nil || err2 != nil || first < 0 || last >= most {
			continue
		}
		for n := first; n <= last; n++ {
			for len(set) <= n {
				set = append(set, false)
			}
			set[n] = true
		}
	}
	return set
}

func (s cpus) count() (n int) {
	for _, in := range s {
		if in {
			n++
		}
	}
	return n
}

// add adds the CPUs of another set that are also in a third.
func (s cpus) add(other, within cpus) {
	for n := range s {
		if n < len(other) && n < len(within) && other[n] && within[n] {
			s[n] = true
		}
	}
}

// online returns the CPUs that are online, and how the kernel lists them.
func (r Root) online() (set cpus, text string) {
	text, _ = readText(r.path("sys/devices/system/cpu/online"))
	if set = parseCPUs(text); len(set) > 0 {
		return set, text
	}
	// Without sysfs: /proc/stat has a line for each.
	stat, _ := readText(r.path("proc/stat"))
	for line := range strings.Lines(stat) {
		name, _, _ := strings.Cut(line, " ")
		if n, ok := strings.CutPrefix(name, "cpu"); ok && n != "" {
			for i, in := range parseCPUs(n) {
				for len(set) <= i {
					set = append(set, false)
				}
				set[i] = set[i] || in
			}
		}
	}
	if len(set) == 0 {
		set = make(cpus, runtime.NumCPU())
		for i := range set {
			set[i] = true
		}
	}
	return set, fmt.Sprint("(", set.count(), ")")
}

// allowed returns how many of the CPUs the process's threads may run on, all
// together, and a list of them. Every thread has its own set, within that of
// its cpuset. 0 means that it cannot be read.
func (g *Groups) allowed(online cpus) (n int, text string) {
	union := make(cpus, len(online))
	text = allowedList(g.root.proc(g.pid, "status"))
	union.add(parseCPUs(text), online)
	if n = union.count(); n == 0 || n == online.count() {
		return n, text
	}
	tasks, _ := filepath.Glob(g.root.proc(g.pid, "task/*/status"))
	for _, task := range tasks {
		list := allowedList(task)
		if list == "" || list == text {
			continue
		}
		union.add(parseCPUs(list), online)
		if more := union.count(); more > n {
			n, text = more, union.String()
		}
		if n == online.count() {
			break
		}
	}
	return n, text
}

// allowedList is the line Cpus_allowed_list of a status file.
func allowedList(path string) string {
	status, _ := readText(path)
	for line := range strings.Lines(status) {
		if list, ok := strings.CutPrefix(line, "Cpus_allowed_list:"); ok {
			return strings.TrimSpace(list)
		}
	}
	return ""
}

// String lists the numbers as the kernel does: "0-3,8".
func (s cpus) String() string {
	var parts []string
	for n := 0; n < len(s); n++ {
		if !s[n] {
			continue
		}
		first := n
		for n+1 < len(s) && s[n+1] {
			n++
		}
		part := strconv.Itoa(first)
		if n > first {
			part += "-" + strconv.Itoa(n)
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ",")
}
