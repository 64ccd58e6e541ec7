package linux

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"procdump/internal/sys/fsys"
	"procdump/internal/sys/ptrace"
)

// tracedProcess is a process that a Tracer traces.
type tracedProcess struct {
	pid       int
	parent    int // who forked it; set while newborn
	formerTID int // of the thread that executed the present program
	init      bool
	newborn   bool // forked by a traced process, and not yet reported
	leaving   bool // to be let go: each thread as soon as it stops

	threads map[int]*tracedThread
	statusF int           // open /proc/PID/status; -1: not kept open
	turn    chan struct{} // holds a token while somebody holds the process
	hold    *hold         // who holds it; nil: nobody

	ending   bool  // it is about to end; threads that stop from now on end with it
	keep     int   // handlers of its end that are running
	status   int   // wait status, once known
	fatal    fatal // the signal that is about to end it
	told     int   // the signal that was reported as unhandled
	exitTold bool
}

// fatal is the signal that a process neither handles nor ignores.
type fatal struct {
	tid, signal int // 0: none
	siginfo     []byte
}

// threadState says why a thread is not looked at.
type threadState int

const (
	threadRunning   threadState = iota // it runs, or its stop is still to be handled
	threadEvent                        // its event is being handled
	threadHeld                         // it stands because its process is held
	threadUndecided                    // it stands until it is clear what its end means
)

// tracedThread is a thread of a tracedProcess.
type tracedThread struct {
	tid     int
	proc    *tracedProcess
	state   threadState
	status  int  // of the last stop
	handled bool // the event of this stop has been handled
	taken   bool // this stop is PTRACE_EVENT_EXEC, which waits return no more
	fresh   bool // created while traced, and not yet reported
	past    bool // beyond the stop at its end: it stops no more
	until   time.Time
}

func (t *Tracer) setState(th *tracedThread, s threadState) {
	if th.state != threadRunning {
		t.still--
	}
	if th.state = s; s != threadRunning {
		t.still++
	}
}

// options are those of PTRACE_SEIZE.
func (t *Tracer) options() int {
	o := ptrace.TraceClone | ptrace.TraceExec
	if t.o.Children {
		o |= ptrace.TraceFork | ptrace.TraceVfork
	}
	if t.o.ExitEvents || t.o.ThreadEvents || t.o.Unhandled {
		o |= ptrace.TraceExit
	}
	return o
}

// attach seizes every thread of a process, until no new one appears.
func (t *Tracer) attach(pid int) error {
	if p := t.procs[pid]; p != nil {
		if p.leaving {
			return fmt.Errorf("attach to process %d: it is still being let go: %w", pid, ErrTraced)
		}
		return nil
	}
	p := t.newProcess(pid)
	// A listing may end early when a thread dies under it.
	for quiet := 0; quiet < 2; quiet++ {
		n, err := t.seizeNew(p)
		if err != nil {
			t.leave(pid)
			return fmt.Errorf("attach to process %d: %w", pid, err)
		}
		if n > 0 {
			quiet = -1
		}
	}
	if len(p.threads) == 0 {
		t.leave(pid)
		return fmt.Errorf("attach to process %d: %w", pid, ErrGone)
	}
	return nil
}

// seizeNew seizes the threads of a process that are not traced yet, and returns
// how many there were.
func (t *Tracer) seizeNew(p *tracedProcess) (n int, err error) {
	ids, err := tids(p.pid)
	if err != nil {
		return 0, orGoneProc(err)
	}
	for _, tid := range ids {
		if t.threads[tid] != nil {
			continue
		}
		ok, err := seize(p.pid, tid, t.options())
		if err != nil {
			switch tracer := tracerOf(tid); tracer {
			case 0:
				return n, err
			case t.tid:
				// Its creator was seized, and it with it.
			default:
				return n, tracedError(tid, tracer)
			}
		}
		if ok || err != nil {
			t.addThread(p, tid)
			n++
		}
	}
	return n, nil
}

// tracerOf gives the thread that traces tid; 0: none.
func tracerOf(tid int) int {
	b, err := os.ReadFile(procPath(tid, "status"))
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(statusField(b, "TracerPid"))
	return n
}

func tracedError(tid, tracer int) error {
	name := ""
	if b, err := os.ReadFile(procPath(tracer, "status")); err == nil {
		name = statusField(b, "Name") + ", "
		if n, err := strconv.Atoi(statusField(b, "Tgid")); err == nil {
			tracer = n
		}
	}
	return fmt.Errorf("thread %d is %w (by %sPID %d): detach that one first, or end it", tid, ErrTraced, name, tracer)
}

func (t *Tracer) newProcess(pid int) *tracedProcess {
	p := &tracedProcess{pid: pid, threads: map[int]*tracedThread{}, statusF: -1, turn: make(chan struct{}, 1), formerTID: pid}
	if fd, err := syscall.Open(procPath(pid, "status"), syscall.O_RDONLY|syscall.O_CLOEXEC, 0); err == nil {
		if p.statusF = fd; fsys.MayKeep(fd) != nil {
			syscall.Close(fd)
			p.statusF = -1
		}
	}
	ids := strings.Fields(statusField(t.readStatus(p), "NSpid"))
	p.init = len(ids) > 0 && ids[len(ids)-1] == "1"
	t.procs[pid] = p
	return p
}

func (t *Tracer) addThread(p *tracedProcess, tid int) *tracedThread {
	th := &tracedThread{tid: tid, proc: p}
	t.threads[tid], p.threads[tid] = th, th
	return th
}

// adopt takes a thread into the books that the kernel has attached by itself.
// creator is the process that made it, if that is known.
func (t *Tracer) adopt(tid int, creator *tracedProcess) *tracedThread {
	if creator != nil && syscall.Access(procPath(creator.pid, "task", strconv.Itoa(tid)), 0) == nil {
		th := t.addThread(creator, tid) // by far the most frequent case
		th.fresh = true
		return th
	}
	b, err := os.ReadFile(procPath(tid, "status"))
	if err != nil {
		return nil
	}
	pid, _ := strconv.Atoi(statusField(b, "Tgid"))
	parent, _ := strconv.Atoi(statusField(b, "PPid"))
	p := t.procs[pid]
	if p == nil {
		p = t.newProcess(pid)
		if creator == nil {
			creator = t.procs[parent]
		} else {
			parent = creator.pid // PPid is another one after CLONE_PARENT
		}
		p.parent, p.newborn = parent, true
		p.leaving = !t.o.Children || creator != nil && creator.leaving
	}
	th := t.addThread(p, tid)
	th.fresh = true
	return th
}

// executed follows execve(2): the process has one thread now, which has the
// leader's ID.
func (t *Tracer) executed(th *tracedThread) {
	p := th.proc
	for _, other := range p.threads {
		if other != th {
			t.remove(other)
		}
	}
	former, _ := ptrace.EventMessage(th.tid)
	p.formerTID = int(former)
	p.ending, p.exitTold, p.told, p.fatal = false, false, 0, fatal{}
	th.past, th.fresh = false, false
}

func (t *Tracer) remove(th *tracedThread) {
	t.setState(th, threadRunning)
	delete(t.threads, th.tid)
	delete(th.proc.threads, th.tid)
}

// forget removes a thread, and its process with the last one.
func (t *Tracer) forget(th *tracedThread) {
	t.remove(th)
	if len(th.proc.threads) == 0 {
		t.drop(th.proc)
	}
}

// drop removes a process that is not traced any more.
func (t *Tracer) drop(p *tracedProcess) {
	if t.procs[p.pid] != p {
		return
	}
	delete(t.procs, p.pid)
	if p.statusF >= 0 {
		_ = syscall.Close(p.statusF)
		p.statusF = -1
	}
	if p.hold != nil {
		p.hold.step()
	}
	if !p.leaving {
		t.emit(nil, &TraceEvent{Kind: EventGone, PID: p.pid, TID: p.pid, Status: p.status})
	}
}

// leave begins to let a process go, and tells whether some of it is still to go.
func (t *Tracer) leave(pid int) (busy bool) {
	p := t.procs[pid]
	if p == nil {
		return false
	}
	p.leaving = true
	if len(p.threads) == 0 {
		t.drop(p)
		return false
	}
	for _, th := range p.threads {
		if th.state == threadUndecided {
			t.setState(th, threadRunning)
		}
		if th.state == threadRunning && !th.past {
			if errors.Is(ptrace.Interrupt(th.tid), syscall.ESRCH) {
				continue // its end is about to be seen
			}
			busy = true
		}
	}
	return busy && p.hold == nil
}

// readStatus reads /proc/PID/status through the descriptor kept open, or one
// for this time where there are too few to keep. The result is valid until the
// next call.
func (t *Tracer) readStatus(p *tracedProcess) []byte {
	fd := p.statusF
	if fd < 0 {
		var err error
		if fd, err = syscall.Open(procPath(p.pid, "status"), syscall.O_RDONLY|syscall.O_CLOEXEC, 0); err != nil {
			return nil
		}
		defer syscall.Close(fd)
	}
	for {
		n, err := syscall.Pread(fd, t.text, 0)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return nil
		case n < len(t.text):
			return t.text[:n]
		default: // a member of very many groups
			t.text = make([]byte, 2*len(t.text))
		}
	}
}

// defaultAction tells whether a process neither handles nor ignores a signal.
// It allocates nothing: some programs take ten thousand signals a second.
func (t *Tracer) defaultAction(p *tracedProcess, sig int) bool {
	b := t.readStatus(p)
	ignored, ok1 := statusMask(b, "\nSigIgn:\t")
	caught, ok2 := statusMask(b, "\nSigCgt:\t")
	return ok1 && ok2 && !SignalSet(ignored|caught).Has(sig)
}

var digitOf = func() (d [256]int8) {
	for i := range d {
		d[i] = -1
	}
	for i, c := range "0123456789abcdef" {
		d[c] = int8(i)
	}
	return d
}()

func statusMask(status []byte, name string) (mask uint64, ok bool) {
	i := bytes.Index(status, []byte(name)) // the compiler allocates nothing for this conversion
	if i < 0 {
		return 0, false
	}
	for _, c := range status[i+len(name):] {
		d := digitOf[c]
		if d < 0 {
			break
		}
		mask, ok = mask<<4|uint64(d), true
	}
	return mask, ok
}

// ownChild tells whether a zombie is a process that procdump itself started.
func ownChild(tid int) bool {
	b, err := os.ReadFile(procPath(tid, "status"))
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	return statusField(b, "Tgid") == strconv.Itoa(tid) && statusField(b, "PPid") == strconv.Itoa(os.Getpid())
}
