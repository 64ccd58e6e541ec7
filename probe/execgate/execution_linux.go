package execgate

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"syscall"
	"time"

	"procdump/internal/sys/procmem"
)

// Limits of what is read of the arguments; what has more options is held, to be
// on the safe side.
const (
	maxArgs = 24
	maxText = 256 // bytes of an argument
)

// executing reads what a thread that waits in execve(2) is about to execute.
// Its buffers are used again.
type executing struct {
	match matcher
	path  [4096]byte
	text  [maxText]byte
	small [512]byte

	filled int // of small: the system call
	calls  map[int]seenCall
}

// wanted tells whether the program is to be held. In doubt it is.
//
// One execve(2) opens several files: the program and, if that is a script, its
// interpreter. The interpreter's path is looked at, too: it may say what no
// other does where it is found by a symbolic link or by binfmt_misc.
func (x *executing) wanted(tid, fd int) bool {
	file, argv, width, ok := x.call(tid)
	if !ok {
		return true
	}
	call, now := string(x.small[:x.filled]), time.Now()
	last, again := x.calls[tid]
	again = again && last.call == call && now.Sub(last.at) < callLimit
	var wanted bool
	switch {
	case again && last.wanted: // it has been held for this call
	case again:
		wanted = x.matchFile(fd)
	default:
		wanted = x.matchProgram(tid, fd, file, argv, width)
	}
	if len(x.calls) >= maxCalls {
		clear(x.calls)
	}
	x.calls[tid] = seenCall{call, now, wanted || again && last.wanted}
	return wanted
}

// matchFile compares the path of an open file.
func (x *executing) matchFile(fd int) bool {
	n, err := syscall.Readlink("/proc/self/fd/"+strconv.Itoa(fd), x.path[:])
	return err != nil || x.match.match(x.path[:n])
}

// matchProgram looks at all that names the program of an execve(2).
func (x *executing) matchProgram(tid, fd int, file, argv uint64, width int) bool {
	if len(x.match) == 0 || x.matchFile(fd) {
		return true
	}
	if n, err := syscall.Pread(fd, x.text[:], 0); err == nil && bytes.HasPrefix(x.text[:n], []byte("#!")) {
		line, _, _ := bytes.Cut(x.text[:n], []byte{'\n'})
		if x.match.match(line) {
			return true
		}
	}
	if matches, _ := x.matchString(tid, file); matches {
		return true
	}
	var pointers [8 * maxArgs]byte
	n, err := procmem.ReadV(tid, pointers[:width*maxArgs], []procmem.Vec{{Addr: argv, Size: uint64(width * maxArgs)}})
	if err != nil {
		return true
	}
	for i := 0; i+width <= n; i += width {
		p := uint64(binary.NativeEndian.Uint32(pointers[i:]))
		if width == 8 {
			p = binary.NativeEndian.Uint64(pointers[i:])
		}
		if p == 0 {
			return false
		}
		matches, option := x.matchString(tid, p)
		if matches || i > 0 && !option {
			return matches
		}
	}
	return true // there are more
}

// seenCall is the system call in which a thread was when it was asked about.
type seenCall struct {
	call   string
	at     time.Time
	wanted bool // the thread was held
}

const (
	maxCalls = 4096
	// callLimit is how long a thread stays in one execve(2), at most: a later
	// one may have the same arguments at the same addresses.
	callLimit = HoldLimit + time.Second
)

// linker tells whether the file is the program interpreter of an ELF file,
// which the kernel opens after each dynamically linked program.
func (x *executing) linker(fd int) bool {
	n, err := syscall.Readlink("/proc/self/fd/"+strconv.Itoa(fd), x.path[:])
	if err != nil {
		return false
	}
	name := x.path[bytes.LastIndexByte(x.path[:n], '/')+1 : n]
	return bytes.HasPrefix(name, []byte("ld-linux")) || bytes.HasPrefix(name, []byte("ld-musl"))
}

// matchString compares the string at an address, or its first maxText bytes. An
// option begins with a dash.
func (x *executing) matchString(tid int, addr uint64) (matches, option bool) {
	// A read must not cross into a page that may not be there.
	const page = 4096
	n := 0
	for n < len(x.text) {
		want := min(len(x.text)-n, page-int((addr+uint64(n))%page))
		got, err := procmem.ReadV(tid, x.text[n:n+want], []procmem.Vec{{Addr: addr + uint64(n), Size: uint64(want)}})
		if err != nil || got == 0 {
			break
		}
		if end := bytes.IndexByte(x.text[n:n+got], 0); end >= 0 {
			n += end
			return x.match.match(x.text[:n]), n > 0 && x.text[0] == '-'
		}
		n += got
	}
	// Long, or not readable.
	return n == 0 || x.match.match(x.text[:n]), n > 0 && x.text[0] == '-'
}

// execCalls are the numbers of execve and execveat, of 64-bit and 32-bit
// programs. A thread that waits for us is in one of them: no other call has
// one of these numbers and executes something.
type execCall struct {
	number int64
	width  int // of a pointer, in bytes
	at     int // the argument that is the file's path
}

// The kernel wakes the keeper just before the thread begins to wait. Until it
// does, it is looked at again: napTimes times at most.
const (
	nap      = 20 * time.Microsecond
	napTimes = 50
)

// call reads the arguments of the system call (proc_pid_syscall(5)): the
// addresses of the path and of the arguments, and the width of a pointer in
// bytes.
func (x *executing) call(tid int) (file, argv uint64, width int, ok bool) {
	fd, err := syscall.Open("/proc/"+strconv.Itoa(tid)+"/syscall", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return 0, 0, 0, false
	}
	defer syscall.Close(fd)
	var fields [][]byte
	for naps := 0; len(fields) < 7; naps++ {
		if naps > 0 {
			pause := syscall.NsecToTimespec(int64(nap))
			_ = syscall.Nanosleep(&pause, nil)
		}
		n, err := syscall.Pread(fd, x.small[:], 0)
		if err != nil || naps > napTimes {
			return 0, 0, 0, false
		}
		x.filled = n
		fields = bytes.Fields(x.small[:n]) // "running" until then
	}
	number, err := strconv.ParseInt(string(fields[0]), 10, 64)
	if err != nil {
		return 0, 0, 0, false
	}
	for _, c := range execCalls {
		if c.number != number {
			continue
		}
		file, err1 := strconv.ParseUint(string(fields[1+c.at]), 0, 64)
		argv, err2 := strconv.ParseUint(string(fields[2+c.at]), 0, 64)
		return file, argv, c.width, err1 == nil && err2 == nil
	}
	return 0, 0, 0, false
}
