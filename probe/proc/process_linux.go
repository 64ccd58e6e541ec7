package proc

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"

	"procdump/internal/sys/cpuclock"
)

// Process is a process that is sampled. It keeps up to three descriptors open
// until Close. One goroutine at a time may use it.
type Process struct {
	m     *machine
	pid   int32
	want  Want
	clock bool // CPU time comes from the process's clock, else from stat

	// Kept descriptors, -1 where there is none. statm of a process that has
	// ended is ESRCH, whoever has its PID now.
	statm, stat, task, fd int32

	start uint64 // ticks after boot: with the PID the identity of the process
	cpu   window

	last Sample        // without CPU and CPUSpan
	used time.Duration // the CPU time at that sample
	read time.Duration // when, by sinceStart; 0: never

	swap     uint64        // VmSwap, bytes
	swapAnon uint64        // the anonymous pages there were then
	swapRead time.Duration // when, by sinceStart; 0: never
}

// idleRefresh is how long the last sample is believed while the CPU clock stands
// still. A process that has not run has done nothing to its memory, threads and
// files; nor has it ended, since exiting takes CPU time. Most of many processes
// are idle, and this saves most of their price. But from outside, the kernel can
// take back memory under MADV_FREE, and another process that shares it can act.
// (Another process with the same PID has not the same CPU time, but by a chance
// of one in many thousands, and is found out then by the next refresh.)
const idleRefresh = 15 * time.Second

// swapRefresh is how long VmSwap is believed while resident memory stays as it
// is. Memory that moves to swap or back changes both.
const swapRefresh = 10 * time.Second

// Parts of RLIMIT_NOFILE: what saves most is kept open longest.
const (
	keepMain  = 0.75 // statm, stat
	keepExtra = 0.5  // task, fd
)

func itoa(n int32) string { return strconv.Itoa(int(n)) }

// Open finds a process and makes sure that what is wanted can be sampled. The
// error wraps ErrGone if there is no such process. The caller closes it.
func (r Root) Open(pid int, want Want) (*Process, error) {
	reserve()
	p := &Process{m: r.machine(), pid: int32(pid), want: want, statm: -1, stat: -1, task: -1, fd: -1}
	if err := p.open(); err != nil {
		p.Close()
		return nil, fmt.Errorf("open process %d: %w", pid, p.explain(err))
	}
	return p, nil
}

func (p *Process) open() (err error) {
	if p.pid <= 0 {
		return ErrGone
	}
	if p.m.procfs {
		// A descriptor of an ordinary file would outlive the file.
		if err := p.keep(); err != nil {
			return err
		}
	}
	var st stat
	if err := p.readStat(&st); err != nil {
		return err
	}
	if st.ended() {
		return ErrGone
	}
	p.start = st.start
	// A trial, of which nothing is kept: the first sample is the caller's.
	var trial Sample
	var used time.Duration
	return p.readAll(sinceStart(time.Now()), &used, &trial)
}

// keep opens the files that are read for every sample. statm comes first: from
// then on it is certain which process this is.
func (p *Process) keep() (err error) {
	if p.statm, err = keep(p.path("statm"), syscall.O_RDONLY, keepMain); err != nil {
		return err
	}
	if p.m.clocks {
		// It fails for a thread that is not the leader of its process, and in
		// sandboxes that know no such clocks.
		_, err := cpuclock.Process(int(p.pid))
		p.clock = err == nil
	}
	if p.needsStat() {
		if p.stat, err = keep(p.path("stat"), syscall.O_RDONLY, keepMain); err != nil {
			return err
		}
	}
	if p.want&Threads != 0 {
		if p.task, err = keep(p.path("task"), oPath, keepExtra); err != nil {
			return err
		}
	}
	if p.want&Files != 0 && p.m.fdSize {
		if p.fd, err = keep(p.path("fd"), oPath, keepExtra); err != nil {
			return err
		}
	}
	return nil
}

// explain adds the cause and the remedy to an error.
func (p *Process) explain(err error) error {
	var own *permissionError
	switch {
	case gone(err):
		if _, err := os.Stat(p.m.root); err != nil {
			return fmt.Errorf("%w (mount a proc file system there)", err)
		}
		return ErrGone
	case errors.As(err, &own):
		return err
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w (%s is mounted with hidepid, or a security module hides the process: run as root)", err, p.m.root)
	}
	return err
}

// Close releases the descriptors. Closing again does nothing.
func (p *Process) Close() {
	for _, fd := range []*int32{&p.statm, &p.stat, &p.task, &p.fd} {
		release(fd)
	}
}

// StartTicks returns when the process was started, in 1/100 s after boot: field
// starttime of proc_pid_stat(5). With the PID it is the process's identity.
func (p *Process) StartTicks() uint64 { return p.start }

// PID returns the process's PID.
func (p *Process) PID() int { return int(p.pid) }

// Sample fills s with what is wanted. The time is that of this call: taken for
// many processes at once it is too early for the last of them, and their CPU is
// wrong by as much. The error wraps ErrGone if the process has ended.
func (p *Process) Sample(now time.Time, s *Sample) error {
	if err := p.sample(now, s); err != nil {
		return fmt.Errorf("sample process %d: %w", p.pid, p.explain(err))
	}
	return nil
}

// needsStat tells whether stat is read for every sample: for values that have
// no other source, or to recognise the process where no descriptor does.
func (p *Process) needsStat() bool {
	return p.want&CPU != 0 && !p.clock || p.want&Threads != 0 && !p.m.procfs || p.statm < 0
}

func (p *Process) sample(now time.Time, s *Sample) error {
	at := sinceStart(now)
	var used time.Duration
	if p.clock {
		var err error
		if used, err = cpuclock.Process(int(p.pid)); err == syscall.EINVAL {
			return ErrGone
		} else if err != nil {
			return fmt.Errorf("read CPU clock: %w", err)
		}
	}
	// A clock of 0 is that of any process that has not begun to run.
	idle := p.clock && used == p.used && used > 0
	if !idle || p.read == 0 || at < p.read || at-p.read >= idleRefresh {
		var new Sample
		if err := p.readAll(at, &used, &new); err != nil {
			return err
		}
		p.last, p.used, p.read = new, used, at
	}
	*s = p.last
	if p.want&CPU != 0 {
		long, short := p.cpu.add(at, used)
		s.CPU, s.CPUSpan, s.CPUNow, s.CPUNowSpan = long.cores, long.span, short.cores, short.span
	}
	return nil
}

// readAll fills s but for the CPU use, and, where the process has no clock, the
// CPU time used. It reads statm or stat last: if the process is there then, all
// that was read before, by PID or by path, was its own.
func (p *Process) readAll(at time.Duration, used *time.Duration, s *Sample) (err error) {
	if p.want&Threads != 0 && p.m.procfs {
		if s.Threads, err = p.threads(); err != nil {
			return err
		}
	}
	if p.want&Files != 0 {
		if s.Files, err = p.files(""); err != nil {
			return err
		}
	}
	anonymous, err := p.memory(s)
	if err != nil {
		return err
	}
	if p.want&Commit != 0 {
		if s.Commit, err = p.commit(at, anonymous); err != nil {
			return err
		}
	}
	if p.needsStat() {
		var st stat
		if err := p.readStat(&st); err != nil {
			return err
		}
		if st.start != p.start || st.ended() {
			return ErrGone
		}
		if !p.clock {
			*used = st.used
		}
		if p.want&Threads != 0 && !p.m.procfs {
			s.Threads = st.threads
		}
	}
	return nil
}

// memory returns the number of anonymous pages. A process without memory is at
// its end, a kernel thread, or one whose first thread has ended before others:
// these then answer for it, for its memory and its open files.
func (p *Process) memory(s *Sample) (anonymous uint64, err error) {
	size, anonymous, err := p.readStatm(p.statm, "statm")
	if err != nil || size > 0 {
		return anonymous, err
	}
	var st stat
	if err := p.readStat(&st); err != nil {
		return 0, err
	}
	switch {
	case st.start != p.start, st.ended():
		return 0, ErrGone
	case st.kernelThread:
		return 0, nil
	}
	tids, err := names(p.path("task"))
	if err != nil {
		return 0, err
	}
	for _, tid := range tids {
		size, anonymous, err := p.readStatm(-1, "task/"+tid+"/statm")
		if err != nil || size == 0 {
			continue // it ended too
		}
		if p.want&Files != 0 {
			s.Files, err = p.files("task/" + tid + "/")
		}
		return anonymous, err
	}
	return 0, ErrGone
}

// commit adds what is in swap.
func (p *Process) commit(now time.Duration, anonymous uint64) (uint64, error) {
	pages := anonymous * uint64(os.Getpagesize())
	if !p.m.swaps(now) {
		p.swap, p.swapRead = 0, 0
		return pages, nil
	}
	if p.swapRead == 0 || anonymous != p.swapAnon || now-p.swapRead >= swapRefresh || now < p.swapRead {
		var err error
		if p.swap, err = p.readSwap(); err != nil {
			return 0, err
		}
		p.swapAnon, p.swapRead = anonymous, now
	}
	return pages + p.swap, nil
}
