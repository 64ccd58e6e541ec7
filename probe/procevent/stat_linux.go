package procevent

import (
	"bytes"
	"strconv"
	"syscall"
)

// stat is what is used of /proc/PID/stat (proc_pid_stat(5)).
type stat struct {
	comm    string
	state   byte
	parent  int
	kernel  bool // a kernel thread
	exiting bool // the first thread is on its way out
	threads int
	start   uint64 // clock ticks after boot: with the PID the identity of a process
	// code and stack are where the program's code and stack begin: another
	// program begins elsewhere, thanks to randomised addresses. They are 0
	// or 1 for whoever may not trace the process.
	code, stack uint64
}

// ended tells that the last thread has ended or is about to.
func (s *stat) ended() bool {
	return s.state == 'X' || s.threads <= 1 && (s.state == 'Z' || s.exiting)
}

// changed says how the process differs from what it was: it executed another
// program, or has another name. Where the addresses cannot be read, another
// name is taken for another program.
func (s *stat) changed(old *stat) (kind Kind, changed bool) {
	known := func(n uint64) bool { return n > 1 }
	switch {
	case known(s.stack) && known(old.stack):
		if s.stack != old.stack || s.code != old.code {
			return Exec, true
		}
		return Rename, s.comm != old.comm
	default:
		return Exec, s.comm != old.comm
	}
}

// statReader reads many stat files with one buffer.
type statReader struct {
	root string
	path []byte
	buf  [2048]byte
}

func (r *statReader) read(pid int) (stat, bool) {
	r.path = append(r.path[:0], r.root...)
	r.path = append(r.path, '/')
	r.path = strconv.AppendInt(r.path, int64(pid), 10)
	r.path = append(r.path, "/stat"...)
	fd, err := syscall.Open(string(r.path), syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return stat{}, false
	}
	defer syscall.Close(fd)
	n, err := syscall.Read(fd, r.buf[:])
	if err != nil {
		return stat{}, false
	}
	return parseStat(r.buf[:n])
}

// Flags of <linux/sched.h>.
const (
	pfExiting = 0x4
	pfKthread = 0x200000
)

// parseStat reads a stat line. The name is in parentheses and may itself hold
// blanks and parentheses: the last one closes it.
func parseStat(b []byte) (stat, bool) {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return stat{}, false
	}
	s := stat{comm: string(b[open+1 : end])}
	rest, field := b[end+1:], 2
	for len(rest) > 0 && field < 28 {
		rest = bytes.TrimLeft(rest, " \n")
		i := bytes.IndexAny(rest, " \n")
		if i < 0 {
			i = len(rest)
		}
		if i == 0 {
			break
		}
		field++
		s.set(field, rest[:i])
		rest = rest[i:]
	}
	return s, field >= 22
}

func (s *stat) set(field int, text []byte) {
	var n uint64
	if field > 3 {
		for _, c := range text {
			if c < '0' || c > '9' {
				return // a negative number: none of those that are used
			}
			n = 10*n + uint64(c-'0')
		}
	}
	switch field {
	case 3:
		s.state = text[0]
	case 4:
		s.parent = int(n)
	case 9:
		s.exiting, s.kernel = n&pfExiting != 0, n&pfKthread != 0
	case 20:
		s.threads = int(n)
	case 22:
		s.start = n
	case 26:
		s.code = n
	case 28:
		s.stack = n
	}
}
