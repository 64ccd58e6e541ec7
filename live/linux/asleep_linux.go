package linux

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"procdump/arch"
	"procdump/snapshot"
)

// Where no thread of a process can be stopped, because each waits in the
// kernel, uninterruptibly, it stands still by itself: for a dead file server, or
// for its vfork child. That is what one wants a dump of. Of such a thread
// /proc/PID/task/TID/syscall (proc(5)) tells the system call, its arguments, the
// stack pointer and the program counter; the other registers are not to be had.

// allAsleep tells whether all of the threads that did not stop are in
// uninterruptible sleep.
func allAsleep(lost []missed) bool {
	for _, l := range lost {
		if l.state != 'D' {
			return false
		}
	}
	return len(lost) > 0
}

// partly says what is known of the registers of a thread that did not stop.
const partly = "; only its system call, program counter and stack pointer are known"

// asleep reads the thread of a process that stands still by itself.
func (t *Target) asleep(tid int) (snapshot.Thread, bool) {
	th, err := t.readThread(tid)
	if err != nil {
		return th, false
	}
	text, err := os.ReadFile(procPath(t.PID, "task", strconv.Itoa(tid), "syscall"))
	if err != nil {
		return th, false
	}
	var ok bool
	th.Registers, ok = parseSyscall(string(text), programMachine(tid))
	return th, ok
}

// callRegisters are those that a system call's number and its arguments are
// passed in (syscall(2)), then stack pointer and program counter.
var callRegisters = map[arch.Machine][]string{
	arch.AMD64: {"orig_rax", "rdi", "rsi", "rdx", "r10", "r8", "r9", "rsp", "rip"},
	arch.I386:  {"orig_eax", "ebx", "ecx", "edx", "esi", "edi", "ebp", "esp", "eip"},
	arch.ARM64: {"x8", "x0", "x1", "x2", "x3", "x4", "x5", "sp", "pc"},
}

// parseSyscall makes registers of a text such as "61 0x5 0x7ffc 0x0 0x0 0x0 0x0
// 0x7ffcf0 0x7f9ab4", or "-1 0x7ffcf0 0x7f9ab4" outside any system call.
func parseSyscall(text string, m arch.Machine) (arch.Registers, bool) {
	r := arch.Registers{Machine: m}
	names := callRegisters[m]
	words := strings.Fields(text)
	if len(words) == 3 && len(names) > 2 {
		names = []string{names[0], names[len(names)-2], names[len(names)-1]}
	}
	if len(names) == 0 || len(words) != len(names) {
		return r, false // "running"
	}
	for i, w := range words {
		v, err := strconv.ParseInt(w, 0, 64)
		u := uint64(v)
		if err != nil {
			if u, err = strconv.ParseUint(w, 0, 64); err != nil {
				return r, false
			}
		}
		r.SetGP(names[i], u)
	}
	return r, r.SP() != 0
}

// programMachine is the machine that the program of a thread is made for.
func programMachine(tid int) arch.Machine {
	var ident [5]byte
	f, err := os.Open(procPath(tid, "exe"))
	if err == nil {
		_, err = f.ReadAt(ident[:], 0)
		f.Close()
	}
	const elfClass32 = 1
	if m := hostMachine(); err != nil || m != arch.AMD64 || ident[4] != elfClass32 {
		return m
	}
	return arch.I386
}

// readAsleep makes the threads of a process that stands still by itself.
func (s *Stopped) readAsleep(t *Target, lost []missed) error {
	p := s.Process
	for i, l := range lost {
		if th, ok := t.asleep(l.tid); ok {
			p.Threads = append(p.Threads, th)
			lost[i].why += partly
		}
	}
	if len(p.Threads) == 0 {
		return fmt.Errorf("stop process %d: %w", t.PID, noneStopped(lost))
	}
	return nil
}
