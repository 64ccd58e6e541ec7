package target

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// FS is the root of a proc file system. Files of sysfs are looked for beside
// it, in FS/../sys, so that a whole fixture tree can stand for a machine.
type FS string

// Proc is the proc file system of the running system.
const Proc FS = "/proc"

// maxFile bounds what is read of one file of /proc, in bytes. The longest is
// cmdline: as long as the program that rewrites it likes.
const maxFile = 4 << 20

func (fs FS) path(elem ...string) string {
	return filepath.Join(append([]string{string(fs)}, elem...)...)
}

// of is a path under /proc/PID.
func (fs FS) of(pid int, elem ...string) string {
	return fs.path(strconv.Itoa(pid), filepath.Join(elem...))
}

// sys is a path under /sys.
func (fs FS) sys(elem ...string) string {
	return fs.path("..", "sys", filepath.Join(elem...))
}

// self is procdump's own PID in the PID namespace that this /proc shows.
func (fs FS) self() int {
	link, err := os.Readlink(fs.path("self"))
	if err != nil {
		return 0
	}
	pid, _ := strconv.Atoi(link)
	return pid
}

// readFile reads at most maxFile bytes: files of /proc do not tell their size.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile))
}

// readText is a file's text without white space round it; "" if unreadable.
func readText(path string) string {
	b, err := readFile(path)
	if err != nil {
		return ""
	}
	return string(bytes.TrimSpace(bytes.TrimRight(b, "\x00")))
}

// eachLine calls f for each line of a file that may be long (a busy machine's
// tables of sockets). An unreadable file has none.
func eachLine(path string, f func(line string)) {
	file, err := os.Open(path)
	if err != nil {
		return
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		f(lines.Text())
	}
}

// numbers lists the entries of a folder that are numbers: PIDs, TIDs or file
// descriptors.
func numbers(path string) ([]int, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	var ns []int
	for _, name := range names {
		if n, err := strconv.Atoi(name); err == nil && n >= 0 {
			ns = append(ns, n)
		}
	}
	return ns, err
}

// stat is a /proc/PID/stat line (proc_pid_stat(5)).
type stat struct {
	comm             string
	state            byte
	ppid, pgrp       int
	flags            uint64
	utime, stime     uint64 // ticks of 1/100 s: USER_HZ is 100 on every Linux architecture but alpha
	threads          int
	start            uint64 // ticks after boot
	rss              uint64 // pages
	exit             int    // wait status
	kernel, finished bool
}

const pfKthread = 0x00200000 // PF_KTHREAD, <linux/sched.h>

// parseStat reads a stat line. The name is in parentheses and may itself hold
// blanks and parentheses: the last one closes it.
func parseStat(b []byte) (stat, bool) {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return stat{}, false
	}
	fields := strings.Fields(string(b[end+1:]))
	const first = 3 // the number of fields[0] in proc_pid_stat(5)
	if len(fields) <= 24-first || len(fields[0]) != 1 {
		return stat{}, false
	}
	number := func(field int) uint64 {
		if field-first >= len(fields) {
			return 0
		}
		n, _ := strconv.ParseUint(fields[field-first], 10, 64)
		return n
	}
	s := stat{
		comm: string(b[open+1 : end]), state: fields[0][0],
		ppid: int(number(4)), pgrp: int(number(5)), flags: number(9),
		utime: number(14), stime: number(15), threads: int(number(20)),
		start: number(22), rss: number(24), exit: int(number(52)),
	}
	s.kernel = s.flags&pfKthread != 0
	// A leader that ended before its threads is in state Z too, but the
	// process lives on.
	s.finished = s.state == 'X' || s.state == 'Z' && s.threads <= 1
	return s, true
}

func (fs FS) stat(pid int) (stat, bool) {
	s, err := fs.readStat(pid)
	return s, err == nil
}

func (fs FS) readStat(pid int) (stat, error) {
	b, err := readFile(fs.of(pid, "stat"))
	if err != nil {
		return stat{}, err
	}
	s, ok := parseStat(b)
	if !ok {
		return stat{}, fmt.Errorf("parse stat of process %d: %q", pid, b)
	}
	return s, nil
}

// status holds what is used of /proc/PID/status (proc_pid_status(5)).
type status struct {
	tgid, ppid, tracer     int
	uid, gid               [4]uint32 // real, effective, saved, file system
	capPrm, capEff, capBnd uint64
	seccomp                int
	noNewPrivs             bool
	nspid                  []int
}

func parseStatus(b []byte) status {
	var s status
	for line := range strings.Lines(string(b)) {
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		fields := strings.Fields(value)
		if len(fields) == 0 {
			continue
		}
		switch name {
		case "Tgid":
			s.tgid, _ = strconv.Atoi(fields[0])
		case "PPid":
			s.ppid, _ = strconv.Atoi(fields[0])
		case "TracerPid":
			s.tracer, _ = strconv.Atoi(fields[0])
		case "Uid":
			s.uid = parseIDs(fields)
		case "Gid":
			s.gid = parseIDs(fields)
		case "CapPrm":
			s.capPrm, _ = strconv.ParseUint(fields[0], 16, 64)
		case "CapEff":
			s.capEff, _ = strconv.ParseUint(fields[0], 16, 64)
		case "CapBnd":
			s.capBnd, _ = strconv.ParseUint(fields[0], 16, 64)
		case "Seccomp":
			s.seccomp, _ = strconv.Atoi(fields[0])
		case "NoNewPrivs":
			s.noNewPrivs = fields[0] == "1"
		case "NSpid":
			for _, f := range fields {
				n, _ := strconv.Atoi(f)
				s.nspid = append(s.nspid, n)
			}
		}
	}
	return s
}

func parseIDs(fields []string) (ids [4]uint32) {
	for i := range min(len(fields), len(ids)) {
		n, _ := strconv.ParseUint(fields[i], 10, 32)
		ids[i] = uint32(n)
	}
	return ids
}

func (fs FS) status(pid int) (status, bool) {
	s, err := fs.readStatus(pid)
	return s, err == nil
}

func (fs FS) readStatus(pid int) (status, error) {
	b, err := readFile(fs.of(pid, "status"))
	if err != nil {
		return status{}, err
	}
	return parseStatus(b), nil
}
