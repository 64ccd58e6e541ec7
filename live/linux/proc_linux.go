package linux

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// clockTick is USER_HZ, in which /proc counts time: 100 on every architecture
// procdump runs on, whatever CONFIG_HZ is (proc_pid_stat(5)).
const clockTick = 10 * time.Millisecond

// stat holds the fields of /proc/PID/stat that a dump needs.
type stat struct {
	comm                 string
	state                byte
	ppid, pgrp, session  int
	flags                uint64
	userTime, systemTime time.Duration
	nice                 int
	start                time.Duration // since boot
}

func parseStat(b []byte) (stat, error) {
	// comm is in parentheses and may itself hold any character but NUL.
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return stat{}, fmt.Errorf("parse stat: no command name in %q", b)
	}
	f := strings.Fields(string(b[end+1:]))
	if len(f) < 20 {
		return stat{}, fmt.Errorf("parse stat: %d fields", len(f))
	}
	num := func(i int) int64 { n, _ := strconv.ParseInt(f[i-3], 10, 64); return n } // field numbers of proc_pid_stat(5)
	return stat{
		comm: string(b[open+1 : end]), state: f[0][0],
		ppid: int(num(4)), pgrp: int(num(5)), session: int(num(6)), flags: uint64(num(9)),
		userTime: time.Duration(num(14)) * clockTick, systemTime: time.Duration(num(15)) * clockTick,
		nice: int(num(19)), start: time.Duration(num(22)) * clockTick,
	}, nil
}

func readStat(path string) (stat, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return stat{}, err
	}
	return parseStat(b)
}

// statusField returns the value of a "Name:\tvalue" line of /proc/PID/status.
func statusField(status []byte, name string) string {
	for line := range bytes.Lines(status) {
		if v, ok := bytes.CutPrefix(line, []byte(name+":")); ok {
			return string(bytes.TrimSpace(v))
		}
	}
	return ""
}

func statusSet(status []byte, name string) uint64 {
	n, _ := strconv.ParseUint(statusField(status, name), 16, 64)
	return n
}

// tids lists the threads of a process.
func tids(pid int) ([]int, error) {
	d, err := os.Open(procPath(pid, "task"))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	out := make([]int, 0, len(names))
	for _, n := range names {
		if tid, err := strconv.Atoi(n); err == nil {
			out = append(out, tid)
		}
	}
	return out, nil
}

func procPath(pid int, name ...string) string {
	return filepath.Join(append([]string{"/proc", strconv.Itoa(pid)}, name...)...)
}

func readText(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(string(b), "\n")
}

// nulList splits the NUL-terminated strings of cmdline and environ.
func nulList(b []byte) []string {
	b = bytes.TrimRight(b, "\x00")
	if len(b) == 0 {
		return nil
	}
	return strings.Split(string(b), "\x00")
}

// cutDeleted removes the kernel's mark from the path of a file that is gone.
func cutDeleted(path string) (string, bool) { return strings.CutSuffix(path, " (deleted)") }
