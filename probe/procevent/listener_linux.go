package procevent

import (
	"os"
	"time"

	"procdump/internal/sys/procconn"
)

// listener makes events of processes of the kernel's events of threads.
type listener struct {
	options Options
	queue   *queue
	self    int
	stats   statReader

	kernel []procconn.Event
	events []Event
	boot   time.Time // when the clock of the kernel's events was 0

	// leaving are the processes whose first thread has ended while others were
	// there. They end with the last.
	leaving map[int]leaver
	counted time.Time     // when their threads were
	recheck time.Duration // until that is due again
}

type leaver struct{ parent, status int }

// Threads that are on their way out take some time; a process without its
// first thread may live long.
const (
	recheckFirst = time.Millisecond
	recheckLast  = 100 * time.Millisecond
)

func newListener(o Options, q *queue) *listener {
	return &listener{options: o, queue: q, self: os.Getpid(), stats: statReader{root: o.Proc}, leaving: map[int]leaver{}}
}

// run passes events on until the connector fails or is interrupted.
func (l *listener) run(conn connection) error {
	for {
		timeout := time.Duration(0)
		if len(l.leaving) > 0 {
			timeout = l.recheck
		}
		var lost bool
		var err error
		l.kernel, lost, err = conn.Read(l.kernel[:0], timeout)
		if len(l.kernel) > 0 {
			l.boot = procconn.Boot()
		}
		for i := range l.kernel {
			l.take(&l.kernel[i])
		}
		l.countThreads()
		if lost {
			l.events = append(l.events, Event{Kind: Lost, Time: time.Now()})
		}
		if len(l.events) > 0 {
			l.queue.add(l.events)
			l.events = l.events[:0]
		}
		if err != nil {
			return err
		}
		select {
		case <-l.queue.done:
			return procconn.ErrClosed
		default:
		}
	}
}

// take turns one event of the kernel into those of l.events.
func (l *listener) take(k *procconn.Event) {
	switch k.What {
	case procconn.PROC_EVENT_EXEC:
		// A thread that is not the first takes its place, and its id.
		delete(l.leaving, k.PID)
		l.add(k, Event{Kind: Exec, PID: k.PID})
	case procconn.PROC_EVENT_FORK:
		if k.PID != k.TID {
			return
		}
		if old, ok := l.leaving[k.PID]; ok {
			// Its id is in use again.
			l.exit(k, k.PID, old)
		}
		if l.options.Fork {
			l.add(k, Event{Kind: Fork, PID: k.PID, Parent: k.ParentPID})
		}
	case procconn.PROC_EVENT_COMM:
		// Names of procdump itself are the connector's signs of life.
		if l.options.Rename && k.PID == k.TID && k.PID != l.self {
			l.add(k, Event{Kind: Rename, PID: k.PID})
		}
	case procconn.PROC_EVENT_EXIT:
		if !l.options.Exit {
			return
		}
		if k.PID == k.TID {
			l.leave(k)
		} else if old, ok := l.leaving[k.PID]; ok {
			// All threads have the status with which one of them ends the
			// process; a thread that only ends itself has 0.
			if k.Status != 0 {
				old.status = k.Status
				l.leaving[k.PID] = old
			}
			l.recheck = recheckFirst
		}
	}
}

// leave notes the end of a first thread. Others may live on, or one of them
// may be taking its place to execute a program.
func (l *listener) leave(k *procconn.Event) {
	old := leaver{k.ParentPID, k.Status}
	if s, ok := l.stats.read(k.PID); !ok || s.ended() {
		l.exit(k, k.PID, old)
		return
	}
	l.leaving[k.PID] = old
	l.recheck = recheckFirst
}

func (l *listener) exit(k *procconn.Event, pid int, old leaver) {
	delete(l.leaving, pid)
	l.add(k, Event{Kind: Exit, PID: pid, Parent: old.parent, Status: old.status})
}

// countThreads finds out which of the leaving have ended.
func (l *listener) countThreads() {
	if len(l.leaving) == 0 || time.Since(l.counted) < l.recheck {
		return
	}
	for pid, old := range l.leaving {
		if s, ok := l.stats.read(pid); !ok || s.ended() {
			l.exit(nil, pid, old)
		}
	}
	l.counted = time.Now()
	l.recheck = min(2*l.recheck, recheckLast)
}

// add appends e with the time of k, or the present one if that is nil.
func (l *listener) add(k *procconn.Event, e Event) {
	if e.Time = time.Now(); k != nil {
		e.Time = l.boot.Add(time.Duration(k.Monotonic))
	}
	l.events = append(l.events, e)
}
