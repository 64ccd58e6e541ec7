package cgroup

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Value reads a number of a process's cgroup: see Groups.Value.
func (r Root) Value(pid int, name string) (float64, error) {
	g, err := r.Find(pid)
	if err != nil {
		return 0, err
	}
	return g.Value(name)
}

// aliases are numbers of version 2 and their names in version 1. total_ means
// with the cgroups below, as all numbers of version 2 are.
var aliases = map[string]string{
	"memory.current":    "memory.usage_in_bytes",
	"memory.peak":       "memory.max_usage_in_bytes",
	"memory.max":        "memory.limit_in_bytes",
	"memory.stat:anon":  "memory.stat:total_rss",
	"memory.stat:file":  "memory.stat:total_cache",
	"memory.stat:shmem": "memory.stat:total_shmem",
	"memory.events:max": "memory.failcnt",
}

// Value reads a number of the process's cgroup. The name is that of a file
// which holds one number ("memory.current"; "max" there is +Inf), or a file and
// a key ("memory.stat:anon", "memory.pressure:some.avg10", "io.stat:8:0.rbytes").
// In version 1 files have the names of version 1; the most usual names of
// version 2 are understood as well. The cgroup counts all its processes, and
// those of the cgroups below it.
func (g *Groups) Value(name string) (float64, error) {
	fail := func(err error) (float64, error) {
		return 0, fmt.Errorf("read %s of the cgroup of process %d: %w", name, g.pid, err)
	}
	file, key, _ := strings.Cut(name, ":")
	controller, _, ok := strings.Cut(file, ".")
	if !ok || controller == "" || strings.ContainsAny(file, `/\`) {
		return fail(errors.New("the name is not CONTROLLER.FILE or CONTROLLER.FILE:KEY"))
	}
	hs := g.with(controller)
	if len(hs) == 0 {
		return fail(fmt.Errorf("controller %s is in no cgroup hierarchy that is mounted: %w", controller, errors.ErrUnsupported))
	}
	var first error
	for _, h := range hs {
		v, err := h.value(name, file, key)
		if err == nil {
			return v, nil
		}
		if errors.Is(err, os.ErrNotExist) {
			err = fmt.Errorf("cgroup %s has no such file; is the controller enabled there? (%w)", h.name(h.dir), err)
		}
		if first == nil {
			first = err
		}
	}
	return fail(first)
}

func (h hierarchy) value(name, file, key string) (float64, error) {
	v, err := readNumber(filepath.Join(h.dir, file), key)
	alias, ok := aliases[name]
	if err == nil || h.v2 || !ok {
		return v, err
	}
	file, key, _ = strings.Cut(alias, ":")
	v, aliasErr := readNumber(filepath.Join(h.dir, file), key)
	if aliasErr != nil {
		return 0, err
	}
	if name == "memory.max" && v >= unlimited {
		v = math.Inf(1)
	}
	return v, nil
}

// unlimited is more than any limit: without one, version 1 says the largest
// multiple of the page size below 2^63.
const unlimited = 1 << 62

// readNumber reads a file of one number, or the number of a key.
func readNumber(path, key string) (float64, error) {
	b, err := readFile(path)
	if err != nil {
		return 0, err
	}
	numbers := parseNumbers(string(b))
	if v, ok := numbers[key]; ok {
		return v, nil
	}
	var keys []string
	for k := range numbers {
		if k != "" {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	switch {
	case len(keys) == 0 && key == "":
		return 0, errors.New("it holds no number")
	case len(keys) == 0:
		return 0, errors.New("it has no keys")
	case key == "":
		return 0, fmt.Errorf("it needs a key: one of %s", strings.Join(keys, ", "))
	}
	return 0, fmt.Errorf("it has no such key, but %s", strings.Join(keys, ", "))
}

// parseNumbers reads the three forms of cgroup files ("Interface Files" in
// cgroup-v2.rst):
//
//	VALUE                     → ""
//	KEY VALUE                 → KEY
//	KEY NAME=VALUE NAME=VALUE → KEY.NAME
func parseNumbers(text string) map[string]float64 {
	numbers := map[string]float64{}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 1 && strings.Count(strings.TrimSpace(text), "\n") == 0:
			if v, ok := number(fields[0]); ok {
				numbers[""] = v
			}
		case len(fields) == 2 && !strings.Contains(fields[1], "="):
			// A line of two numbers is not a key and its value, as in cpu.max.
			if _, isNumber := number(fields[0]); isNumber {
				continue
			}
			if v, ok := number(fields[1]); ok {
				numbers[fields[0]] = v
			}
		case len(fields) >= 2:
			for _, f := range fields[1:] {
				if name, value, ok := strings.Cut(f, "="); ok {
					if v, ok := number(value); ok {
						numbers[fields[0]+"."+name] = v
					}
				}
			}
		}
	}
	return numbers
}

// number reads a number, or "max".
func number(text string) (float64, bool) {
	if text == "max" {
		return math.Inf(1), true
	}
	v, err := strconv.ParseFloat(text, 64)
	return v, err == nil && !math.IsNaN(v) && !math.IsInf(v, 0)
}

// Names lists what Value can read of the cgroups now, sorted.
func (g *Groups) Names() (names []string) {
	for _, h := range g.hierarchies {
		if h.dir == "" {
			continue
		}
		entries, _ := os.ReadDir(h.dir)
		for _, e := range entries {
			controller, _, ok := strings.Cut(e.Name(), ".")
			if !ok || e.IsDir() || !h.v2 && !slices.Contains(h.controllers, controller) {
				continue
			}
			b, err := readFile(filepath.Join(h.dir, e.Name()))
			if err != nil {
				continue // many are for writing only
			}
			for key := range parseNumbers(string(b)) {
				name := e.Name()
				if key != "" {
					name += ":" + key
				}
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
