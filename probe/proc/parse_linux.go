package proc

import (
	"bytes"
	"errors"
	"time"
)

// clockTick is USER_HZ, in which /proc counts time: 100 on every architecture
// procdump runs on, whatever CONFIG_HZ is (proc_pid_stat(5)).
const clockTick = 10 * time.Millisecond

// stat is what is used of /proc/PID/stat (proc_pid_stat(5)).
type stat struct {
	state        byte
	flags        uint64
	used         time.Duration // user and system time
	threads      int
	start        uint64 // ticks after boot
	kernelThread bool
}

const pfKthread = 0x00200000 // PF_KTHREAD, linux/sched.h

var errFormat = errors.New("unknown format")

// parseStat reads a stat line. The name is in parentheses and may itself hold
// blanks and parentheses: the last one closes it. (The line is at most one page
// long, and cut off behind the fields that are used.)
func parseStat(b []byte) (s stat, err error) {
	end := bytes.LastIndexByte(b, ')')
	if end < 0 {
		return s, errFormat
	}
	b = b[end+1:]
	const state, flags, utime, stime, threads, start = 3, 9, 14, 15, 20, 22
	for field := state; field <= start; field++ {
		var text []byte
		if text, b = word(b); len(text) == 0 {
			return s, errFormat
		}
		switch field {
		case state:
			if len(text) != 1 || text[0]|0x20 < 'a' || text[0]|0x20 > 'z' {
				return s, errFormat
			}
			s.state = text[0]
		case flags:
			s.flags = number(text)
		case utime, stime:
			s.used += time.Duration(number(text)) * clockTick
		case threads:
			s.threads = int(number(text))
		case start:
			s.start = number(text)
		}
	}
	s.kernelThread = s.flags&pfKthread != 0
	return s, nil
}

// ended tells that no thread is left. A leader that ended before its threads is
// a zombie too, but the process lives on.
func (s stat) ended() bool { return (s.state == 'Z' || s.state == 'X') && s.threads <= 1 }

// parseStatm reads resident and shared pages of /proc/PID/statm
// (proc_pid_statm(5)). What is resident and not shared is anonymous: shared is
// RssFile + RssShmem. A size of 0 means that there is no memory at all.
func parseStatm(b []byte) (size, anonymous uint64, err error) {
	var fields [3]uint64 // size, resident, shared
	for i := range fields {
		var text []byte
		if text, b = word(b); len(text) == 0 {
			return 0, 0, errFormat
		}
		fields[i] = number(text)
	}
	size, anonymous = fields[0], fields[1]
	// The kernel's counters are not read at one instant.
	anonymous -= min(anonymous, fields[2])
	return size, anonymous, nil
}

// parseKB finds the line "name: value kB" and returns bytes.
func parseKB(b []byte, name string) (size uint64, ok bool) {
	for len(b) > 0 {
		var line []byte
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			line, b = b[:i], b[i+1:]
		} else {
			line, b = b, nil
		}
		if len(line) > len(name) && line[len(name)] == ':' && string(line[:len(name)]) == name {
			text, _ := word(line[len(name)+1:])
			return number(text) * 1024, len(text) > 0
		}
	}
	return 0, false
}

// word returns the first word of b and what follows it.
func word(b []byte) (text, rest []byte) {
	blank := func(c byte) bool { return c == ' ' || c == '\t' || c == '\n' }
	for len(b) > 0 && blank(b[0]) {
		b = b[1:]
	}
	for i, c := range b {
		if blank(c) {
			return b[:i], b[i:]
		}
	}
	return b, nil
}

// number reads decimal digits, up to the first other character.
func number(b []byte) (n uint64) {
	for _, c := range b {
		if c < '0' || c > '9' {
			break
		}
		n = n*10 + uint64(c-'0')
	}
	return n
}
