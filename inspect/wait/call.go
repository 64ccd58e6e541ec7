package wait

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"procdump/arch"
	"procdump/snapshot"
)

// Call is a system call that a thread is in.
type Call struct {
	Number int
	Name   string // "" if it is not one of those that threads wait in
	Args   [4]uint64
}

// convention is how a machine's programs call the kernel (syscall(2)).
type convention struct {
	number, result string
	args           [4]string
	names          map[int]string
	// instructions are those that call; all have two bytes.
	instructions []string
	// load and zero set the register of the number, the former to the four
	// bytes that follow it.
	load byte
	zero string
}

var conventions = map[arch.Machine]*convention{
	arch.AMD64: {
		number: "orig_rax", result: "rax", args: [4]string{"rdi", "rsi", "rdx", "r10"}, names: namesAMD64,
		instructions: []string{"\x0f\x05"}, load: 0xb8, zero: "\x31\xc0",
	},
	arch.I386: {
		number: "orig_eax", result: "eax", args: [4]string{"ebx", "ecx", "edx", "esi"}, names: namesI386,
		instructions: []string{"\xcd\x80", "\x0f\x34", "\x0f\x05"}, load: 0xb8, zero: "\x31\xc0",
	},
}

// interrupted tells whether a result is that of a call that a thread is still
// in: the kernel has it in the register when it stops the thread within the
// call (include/linux/errno.h; ENOSYS is there from the beginning on).
func interrupted(result uint64, m arch.Machine) bool {
	n := int64(result)
	if m.PointerSize() == 4 {
		n = int64(int32(result))
	}
	const eintr, enosys, restartSys, restartNoIntr, restartNoHand, restartBlock = -4, -38, -512, -513, -514, -516
	switch n {
	case eintr, enosys, restartSys, restartNoIntr, restartNoHand, restartBlock:
		return true
	}
	return false
}

// callOf finds the system call that a thread is in; nil: none. Its registers are
// as they were when it called, but for the result.
func (w *Waits) callOf(t *snapshot.Thread) *Call {
	c := conventions[w.p.Machine()]
	r := &t.Registers
	if c == nil || r.Machine != w.p.Machine() {
		return nil
	}
	result, ok := r.GP(c.result)
	// Those of a thread that did not stop are what the kernel says of its call,
	// and no more; in real ones a bit of the flags is always set.
	flags, _ := r.GP("eflags")
	if !ok || flags != 0 && !interrupted(result, w.p.Machine()) {
		return nil
	}
	const instruction, load = 2, 5 // bytes
	code := make([]byte, load+instruction)
	if n, _ := w.memory.ReadMemory(code, r.PC()-uint64(len(code))); n < len(code) {
		return nil
	}
	calls := false
	for _, i := range c.instructions {
		calls = calls || strings.HasSuffix(string(code), i)
	}
	if !calls {
		return nil
	}
	number, ok := r.GP(c.number)
	again := c.names[int(int32(number))] == restarted
	if !ok || int32(number) < 0 || again {
		// Minidumps have no place for the number, and one that the kernel makes a
		// second time has another. As a rule it is set just before the call.
		switch before := code[:load]; {
		case before[0] == c.load:
			number = uint64(binary.LittleEndian.Uint32(before[1:]))
		case strings.HasSuffix(string(before), c.zero):
			number = 0
		case !again:
			return nil
		}
	}
	call := &Call{Number: int(int32(number)), Name: c.names[int(int32(number))]}
	for i, name := range c.args {
		call.Args[i], _ = r.GP(name)
	}
	return call
}

// text says in words what a call waits for.
func (w *Waits) text(c *Call) string {
	switch {
	case c.Name == "":
		return fmt.Sprintf("system call %d", c.Number)
	case strings.HasPrefix(c.Name, "poll"), strings.HasPrefix(c.Name, "ppoll"):
		return c.Name + w.polled(c)
	case strings.HasPrefix(c.Name, "nanosleep"):
		return c.Name + w.duration(c.Args[0], w.p.Machine().PointerSize())
	case strings.HasPrefix(c.Name, "clock_nanosleep"):
		const absolute = 1 // TIMER_ABSTIME
		if c.Args[1]&absolute != 0 {
			return c.Name + " until a moment"
		}
		size := w.p.Machine().PointerSize()
		if strings.HasSuffix(c.Name, "_time64") {
			size = 8
		}
		return c.Name + w.duration(c.Args[2], size)
	case c.Name == "wait4", c.Name == "waitpid":
		return c.Name + child(int32(c.Args[0]))
	case c.Name == "waitid":
		const pid = 1 // P_PID
		if c.Args[0] == pid {
			return c.Name + child(int32(c.Args[1]))
		}
		return c.Name + child(-1)
	case ofFD[c.Name]:
		s := c.Name + " of " + w.file(int(int32(c.Args[0])))
		if strings.HasPrefix(c.Name, "epoll_") {
			s += limit(int32(c.Args[3]))
		}
		return s
	}
	return c.Name
}

// child is a process that is waited for.
func child(pid int32) string {
	if pid > 0 {
		return fmt.Sprintf(" for process %d", pid)
	}
	return " for a child"
}

// limit is a time in milliseconds that a call may take.
func limit(ms int32) string {
	if ms < 0 {
		return ""
	}
	return ", at most " + (time.Duration(ms) * time.Millisecond).String()
}

// file is an open file.
func (w *Waits) file(fd int) string {
	if target, ok := w.files[fd]; ok {
		return fmt.Sprintf("fd %d (%s)", fd, target)
	}
	return fmt.Sprintf("fd %d", fd)
}

// polled are the files of an array of struct pollfd: {int fd; short events,
// revents}.
func (w *Waits) polled(c *Call) string {
	const entry, most = 8, 6
	n := min(c.Args[1], most)
	b := make([]byte, n*entry)
	if k, _ := w.memory.ReadMemory(b, c.Args[0]); k < len(b) {
		return ""
	}
	var all []string
	for ; len(b) > 0; b = b[entry:] {
		all = append(all, w.file(int(int32(binary.LittleEndian.Uint32(b)))))
	}
	s := ""
	if len(all) > 0 {
		s = " of " + strings.Join(all, ", ")
	}
	if c.Args[1] > most {
		s += " and more"
	}
	if c.Name == "poll" {
		s += limit(int32(c.Args[2]))
	}
	return s
}

// duration is what a struct timespec holds, whose numbers have size bytes.
func (w *Waits) duration(addr uint64, size int) string {
	b := make([]byte, 2*size)
	if k, _ := w.memory.ReadMemory(b, addr); k < len(b) {
		return ""
	}
	s, ns := binary.LittleEndian.Uint64(append(b[:size:size], 0, 0, 0, 0)), binary.LittleEndian.Uint64(append(b[size:], 0, 0, 0, 0))
	const most = 100 * 365 * 86400 // seconds
	if s > most || ns >= 1e9 {
		return ""
	}
	return " of " + (time.Duration(s)*time.Second + time.Duration(ns)).String()
}
