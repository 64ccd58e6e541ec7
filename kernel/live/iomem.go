package live

import (
	"bytes"
	"strconv"
	"strings"

	"procdump/kdump"
)

// memoryMap is what is needed of /proc/iomem.
type memoryMap struct {
	ram         []kdump.Run
	crashKernel []kdump.Run
	hidden      bool // all addresses are zero
}

// parseIomem reads lines such as
//
//	00100000-bffddfff : System RAM
//	  a7000000-af7fffff : Crash kernel
//	140000000-147ffffff : virtio0
//	  140000000-147ffffff : System RAM (virtio_mem)
//
// The kernel maps whole pages only.
func parseIomem(text []byte, page uint64) memoryMap {
	var m memoryMap
	any, real := false, false
	for line := range bytes.Lines(text) {
		where, name, ok := strings.Cut(strings.TrimSpace(string(line)), " : ")
		first, last, ok2 := strings.Cut(where, "-")
		from, err := strconv.ParseUint(first, 16, 64)
		to, err2 := strconv.ParseUint(last, 16, 64)
		if !ok || !ok2 || err != nil || err2 != nil || to < from {
			continue
		}
		any, real = true, real || to != 0
		switch {
		case name == "System RAM", strings.HasPrefix(name, "System RAM ("):
			from, end := (from+page-1)&^(page-1), (to+1)&^(page-1)
			if from < end {
				m.ram = append(m.ram, kdump.Run{Addr: from, Size: end - from})
			}
		case name == "Crash kernel":
			m.crashKernel = append(m.crashKernel, kdump.Run{Addr: from &^ (page - 1), Size: (to+page)&^(page-1) - from&^(page-1)})
		}
	}
	m.hidden = any && !real
	return m
}

// intersect returns what is in both.
func intersect(a, b []kdump.Run) []kdump.Run {
	var out []kdump.Run
	for _, x := range kdump.NormalizeRuns(a) {
		for _, y := range kdump.NormalizeRuns(b) {
			from, to := max(x.Addr, y.Addr), min(x.End(), y.End())
			if from < to {
				out = append(out, kdump.Run{Addr: from, Size: to - from})
			}
		}
	}
	return kdump.NormalizeRuns(out)
}

// subtract returns what is in a and not in b.
func subtract(a, b []kdump.Run) []kdump.Run {
	for _, cut := range b {
		var out []kdump.Run
		for _, r := range a {
			if from, to := r.Addr, min(r.End(), cut.Addr); from < to {
				out = append(out, kdump.Run{Addr: from, Size: to - from})
			}
			if from, to := max(r.Addr, cut.End()), r.End(); from < to {
				out = append(out, kdump.Run{Addr: from, Size: to - from})
			}
		}
		a = out
	}
	return a
}

// countList counts the members of a list such as "0-3,8" (the kernel's
// Documentation/admin-guide/cputopology.rst).
func countList(list string) int {
	n := 0
	for part := range strings.SplitSeq(strings.TrimSpace(list), ",") {
		first, last, isRange := strings.Cut(part, "-")
		from, err := strconv.Atoi(first)
		if err != nil {
			continue
		}
		to := from
		if isRange {
			if to, err = strconv.Atoi(last); err != nil {
				continue
			}
		}
		n += max(to-from+1, 0)
	}
	return n
}
