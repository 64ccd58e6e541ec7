package counter

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// hz is USER_HZ, the unit of times in /proc: 100 on every Linux architecture
// but alpha.
const hz = 100

// afterName returns the fields of a /proc/PID/stat line from the third on. The
// name is in parentheses and may hold blanks and parentheses itself.
func afterName(text []byte) ([]byte, error) {
	i := bytes.LastIndexByte(text, ')')
	if i < 0 {
		return nil, errNoField
	}
	return text[i+1:], nil
}

// statFields adds fields of /proc/PID/stat, numbered as in proc_pid_stat(5).
func statFields(ns ...int) get {
	return func(text []byte) (sum, _ float64, err error) {
		rest, err := afterName(text)
		if err != nil {
			return 0, 0, err
		}
		for _, n := range ns {
			v, ok := number(field(rest, n-3))
			if !ok {
				return 0, 0, errNoField
			}
			sum += v
		}
		return sum, 0, nil
	}
}

// memoryLines adds lines of /proc/PID/status, in bytes. A process without
// memory of its own, which has ended but was not waited for, has no such lines.
func memoryLines(keys ...string) get {
	return func(text []byte) (sum, _ float64, err error) {
		for _, key := range keys {
			v, ok := keyedNumber(text, key)
			if !ok {
				if _, memory := keyed(text, "VmSize"); memory {
					return 0, 0, fmt.Errorf("%s: %w", key, errNoField)
				}
			}
			sum += v
		}
		return sum, 0, nil
	}
}

// lines adds lines of a file of "key: number" or "key number" lines.
func lines(keys ...string) get {
	return func(text []byte) (sum, _ float64, err error) {
		for _, key := range keys {
			v, ok := keyedNumber(text, key)
			if !ok {
				return 0, 0, fmt.Errorf("%s: %w", key, errNoField)
			}
			sum += v
		}
		return sum, 0, nil
	}
}

// ofProcess opens a file of the process that the instance means.
func ofProcess(name string, g get) func(Env, string, int) (sampler, error) {
	return func(e Env, instance string, pid int) (sampler, error) {
		pid, err := resolve(e, instance, pid)
		if err != nil {
			return nil, err
		}
		s, err := openFile(e, pid, e.of(pid, name), g)
		if err != nil {
			return nil, rights(name, err)
		}
		return &guarded{sampler: s, name: name}, nil
	}
}

// rights adds the remedy to a refusal. The kernel shows who reads how much only
// to those who may trace the process (proc_pid_io(5)).
func rights(name string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: /proc/PID/%s needs the right to trace the process: run as its user or as root", err, name)
	}
	return err
}

// guarded explains refusals at reading: /proc/PID/io can be opened by all.
type guarded struct {
	sampler
	name string
}

func (g *guarded) sample(now time.Time) (reading, error) {
	r, err := g.sampler.sample(now)
	if err != nil {
		err = rights(g.name, err)
	}
	return r, err
}

// openID gives the PID for as long as the process lives.
func openID(e Env, instance string, pid int) (sampler, error) {
	pid, err := resolve(e, instance, pid)
	if err != nil {
		return nil, err
	}
	return openFile(e, pid, e.of(pid, "stat"), func([]byte) (float64, float64, error) { return float64(pid), 0, nil })
}

// elapsed reads the age of a process: the machine's age less its own at the
// start of the process, both counted with the time it slept (CLOCK_BOOTTIME).
type elapsed struct {
	stat, uptime sampler
}

func openElapsed(e Env, instance string, pid int) (sampler, error) {
	pid, err := resolve(e, instance, pid)
	if err != nil {
		return nil, err
	}
	stat, err := openFile(e, pid, e.of(pid, "stat"), statFields(22))
	if err != nil {
		return nil, err
	}
	up, err := openFile(e, 0, filepath.Join(e.Proc, "uptime"), firstNumber)
	if err != nil {
		stat.Close()
		return nil, err
	}
	return &elapsed{stat, up}, nil
}

func (s *elapsed) sample(now time.Time) (reading, error) {
	start, err := s.stat.sample(now)
	if err != nil {
		return reading{}, err
	}
	up, err := s.uptime.sample(now)
	if err != nil {
		return reading{}, err
	}
	return reading{num: max(0, up.num-start.num/hz), at: now}, nil
}

func (s *elapsed) Close() error { return errors.Join(s.stat.Close(), s.uptime.Close()) }

// handles counts open files. The folder of the process is kept open, so that
// another process that gets the same PID is never counted.
type handles struct {
	pid   int
	root  *os.Root
	sized bool
}

func openHandles(e Env, instance string, pid int) (sampler, error) {
	pid, err := resolve(e, instance, pid)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(e.of(pid, ""))
	if err != nil {
		return nil, gone(e, pid, err)
	}
	return &handles{pid: pid, root: root, sized: fdSized(e.Proc)}, nil
}

func (h *handles) Close() error { return h.root.Close() }

func (h *handles) sample(now time.Time) (reading, error) {
	n, err := h.count()
	if isGone(err) {
		return reading{}, fmt.Errorf("%w: PID %d", ErrGone, h.pid)
	}
	if err != nil {
		return reading{}, rights("fd", err)
	}
	return reading{num: float64(n), at: now}, nil
}

func (h *handles) count() (int64, error) {
	if h.sized {
		fi, err := h.root.Stat("fd")
		if err != nil {
			return 0, err
		}
		return fi.Size(), nil
	}
	d, err := h.root.Open("fd")
	if err != nil {
		return 0, err
	}
	defer d.Close()
	return countEntries(d, false)
}

// countEntries counts the entries of an open folder, or those that are numbers.
func countEntries(d *os.File, numbers bool) (n int64, err error) {
	for {
		names, err := d.Readdirnames(1024)
		for _, name := range names {
			if !numbers || name[0] >= '0' && name[0] <= '9' {
				n++
			}
		}
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return 0, err
		}
	}
}

// resolve finds the process that the instance of \Process(INSTANCE) means:
//
//	(none)             the target
//	NAME               the target if that is its name, else the one process of this name
//	NAME#2             likewise; else the third of this name by age
//	NAME_123 NAME:123  the process 123, which must have this name
//	123                the process 123
//
// A name is that of the program file, of the command, or the one the process
// gave itself; .exe behind it is passed over.
func resolve(e Env, instance string, target int) (int, error) {
	if instance == "" {
		return target, nil
	}
	name := instance
	if n := len(name) - 4; n > 0 && strings.EqualFold(name[n:], ".exe") {
		name = name[:n]
	}
	targets := names(e, target)
	if named(targets, name) {
		return target, nil
	}
	base, index, pid := splitInstance(name)
	own := names(e, pid)
	switch {
	case pid > 0 && own != nil && (base == "" || named(own, base)):
		return pid, nil
	case index >= 0 && named(targets, base):
		return target, nil
	case index >= 0:
		return search(e, instance, base, index)
	}
	// The name of a program may itself end in _123.
	found, err := search(e, instance, name, -1)
	if err != nil && own != nil {
		return 0, fmt.Errorf("%w %s: process %d is %s", ErrInstance, instance, pid, own[0])
	}
	return found, err
}

// splitInstance takes NAME#INDEX, NAME_PID and NAME:PID apart. index is -1 and
// pid 0 if there is none.
func splitInstance(s string) (base string, index, pid int) {
	if n, err := strconv.Atoi(s); err == nil && n > 0 {
		return "", -1, n
	}
	i := strings.LastIndexAny(s, "#_:")
	if i <= 0 {
		return s, -1, 0
	}
	n, err := strconv.Atoi(s[i+1:])
	switch {
	case err != nil || n < 0:
		return s, -1, 0
	case s[i] == '#':
		return s[:i], n, 0
	case n == 0:
		return s, -1, 0
	}
	return s[:i], -1, n
}

// search looks through all processes for those of a name.
func search(e Env, instance, base string, index int) (int, error) {
	d, err := os.Open(e.Proc)
	if err != nil {
		return 0, err
	}
	defer d.Close()
	entries, err := d.Readdirnames(-1)
	if err != nil {
		return 0, err
	}
	type found struct {
		pid   int
		start float64
	}
	var all []found
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry)
		if err != nil || !named(names(e, pid), base) {
			continue
		}
		text, err := os.ReadFile(e.of(pid, "stat"))
		if err != nil {
			continue
		}
		start, _, _ := statFields(22)(text)
		all = append(all, found{pid, start})
	}
	slices.SortFunc(all, func(a, b found) int {
		if a.start != b.start {
			return int(a.start - b.start)
		}
		return a.pid - b.pid
	})
	switch {
	case index >= 0 && index < len(all):
		return all[index].pid, nil
	case index >= 0:
		return 0, fmt.Errorf("%w %s: %d processes have this name, and #0 is the first", ErrInstance, instance, len(all))
	case len(all) == 1:
		return all[0].pid, nil
	case len(all) == 0:
		return 0, fmt.Errorf("%w %s: no process has this name; (*) is the target", ErrInstance, instance)
	}
	var pids []string
	for _, f := range all[:min(len(all), 20)] {
		pids = append(pids, strconv.Itoa(f.pid))
	}
	return 0, fmt.Errorf("%w %s: %d processes have this name (PID %s): write (%s_%d) for one, or (*) for the target",
		ErrInstance, instance, len(all), strings.Join(pids, ", "), base, all[0].pid)
}

// names lists what a process is called; nil if there is none of this PID.
func names(e Env, pid int) []string {
	if pid <= 0 {
		return nil
	}
	comm, err := os.ReadFile(e.of(pid, "comm"))
	if err != nil {
		return nil
	}
	all := []string{strings.TrimSuffix(string(comm), "\n")}
	if exe, err := os.Readlink(e.of(pid, "exe")); err == nil {
		all = append(all, filepath.Base(strings.TrimSuffix(exe, " (deleted)")))
	}
	if line, err := os.ReadFile(e.of(pid, "cmdline")); err == nil {
		if command, _, _ := bytes.Cut(line, []byte{0}); len(command) > 0 {
			all = append(all, filepath.Base(string(command)))
		}
	}
	return all
}

func named(names []string, name string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) })
}
