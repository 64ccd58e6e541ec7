package procevent

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"procdump/internal/sys/procconn"
)

// connection is an open process connector.
type connection interface {
	Read(events []procconn.Event, timeout time.Duration) (all []procconn.Event, lost bool, err error)
	Interrupt()
	Close() error
}

// Source is an open source of events. Close it.
type Source struct {
	options Options
	queue   *queue
	ended   chan struct{} // closed when no more events come
	conn    connection    // nil: polling from the beginning

	mu     sync.Mutex
	method string
	closed bool
}

// Open begins to notice events: what happens after Open has returned is seen.
// Without the process connector it polls, and Method says why; the error is
// that /proc cannot be read either.
func Open(o Options) (*Source, error) {
	s := newSource(o)
	why := ""
	switch {
	case o.Poll:
		why = "as asked for"
	case s.options.Proc != "/proc":
		why = "the process connector tells of this machine only, not of " + o.Proc
	default:
		conn, err := procconn.Open(procconn.Options{Events: wanted(o), ReceiveBuffer: o.ReceiveBuffer})
		if err == nil {
			s.listen(conn)
			return s, nil
		}
		why = err.Error()
	}
	p, err := newPoller(s.options)
	if err != nil {
		return nil, fmt.Errorf("notice processes: %w (%s)", err, why)
	}
	s.setMethod(why)
	go func() {
		defer close(s.ended)
		s.poll(p)
	}()
	go s.queue.deliver(s.ended)
	return s, nil
}

func newSource(o Options) *Source {
	if o.Proc == "" {
		o.Proc = "/proc"
	}
	if o.PollEvery <= 0 {
		o.PollEvery = defaultPollEvery
	}
	return &Source{options: o, queue: newQueue(o.Handle), ended: make(chan struct{}), method: "process connector"}
}

// wanted is the set of the connector's events. Forks and exits come with all
// the rest, because only among all events single lost ones are noticed; but
// who wants neither is spared those of every thread of the machine.
func wanted(o Options) procconn.What {
	if o.Fork || o.Exit {
		return 0
	}
	return procconn.PROC_EVENT_EXEC | procconn.PROC_EVENT_COMM
}

// Events is the channel of events, in the order in which they happened on each
// CPU. However late it is read, the source goes on; what no memory can hold
// becomes one Lost. It is closed by Close.
func (s *Source) Events() <-chan Event { return s.queue.out }

// Method says how events are noticed: "process connector", or "polling /proc
// every 10 ms: " and why. It may change from the first to the second.
func (s *Source) Method() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.method
}

func (s *Source) setMethod(why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.method = pollText(s.options.PollEvery, why)
}

// Urgent makes the calling goroutine's thread, to which it must be locked for
// good, run before ordinary ones as the listening thread does: SCHED_FIFO of
// priority 1, which needs CAP_SYS_NICE. It must mostly wait in system calls.
func Urgent() error { return procconn.Urgent() }

// Close ends the source and closes its channel; events that wait are dropped.
func (s *Source) Close() error {
	s.mu.Lock()
	first := !s.closed
	s.closed = true
	s.mu.Unlock()
	if first {
		close(s.queue.done)
		if s.conn != nil {
			s.conn.Interrupt()
		}
		<-s.ended
		if s.conn != nil {
			return s.conn.Close()
		}
	}
	<-s.ended
	return nil
}

// listen passes on what conn says, on a thread of its own. If conn fails for
// good, it polls.
func (s *Source) listen(conn connection) {
	s.conn = conn
	failed := make(chan error, 1)
	go func() {
		// The thread is never unlocked, so it ends with this goroutine: its
		// priority is not for others.
		runtime.LockOSThread()
		// On a single CPU it must stay ordinary: the Go runtime may let this
		// thread spin until a thread that it has just preempted (a collector's
		// that scans this stack) goes on. Without the privilege it does too.
		if runtime.NumCPU() > 1 {
			_ = procconn.Urgent()
		}
		failed <- newListener(s.options, s.queue).run(conn)
	}()
	go func() {
		defer close(s.ended)
		err := <-failed
		if errors.Is(err, procconn.ErrClosed) {
			return
		}
		s.setMethod(err.Error())
		p, err := newPoller(s.options)
		s.queue.add([]Event{{Kind: Lost, Time: time.Now()}})
		if err != nil {
			s.setMethod(err.Error())
			return
		}
		s.poll(p)
	}()
	go s.queue.deliver(s.ended)
}

// poll looks at /proc until Close.
func (s *Source) poll(p *poller) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-s.queue.done:
			return
		case <-timer.C:
		}
		start := time.Now()
		events, err := p.look(start)
		if err != nil {
			s.setMethod(err.Error())
			events = []Event{{Kind: Lost, Time: start}}
		}
		s.queue.add(events)
		timer.Reset(p.pause(time.Since(start)))
	}
}
