package procconn

import (
	"errors"
	"fmt"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	defaultBuffer = 32 << 20
	// beatEvery is the silence after which the kernel is asked for a sign of life.
	beatEvery = time.Second
)

// Conn is an open process connector. One goroutine at a time may Read.
type Conn struct {
	options   Options
	socket    *socket
	interrupt int // eventfd that ends Read

	filtered bool // the kernel leaves out what is not wanted
	noFilter bool // its filter does not work
	lost     bool // to be reported when the socket has been empty
	late     int  // events read since the loss
	silence  time.Duration
	seqs     map[uint32]uint32
	pending  []Event // read while opening
}

// Open begins to listen: what happens after Open has returned is seen. The
// error is an *UnavailableError where this kernel, this namespace or the lack
// of privileges forbids it.
func Open(o Options) (*Conn, error) {
	if o.ReceiveBuffer == 0 {
		o.ReceiveBuffer = defaultBuffer
	}
	interrupt, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("open eventfd: %w", err)
	}
	c := &Conn{options: o, interrupt: interrupt, noFilter: o.Events == 0}
	if err := c.connect(); err != nil {
		unix.Close(interrupt)
		return nil, explain(err)
	}
	return c, nil
}

// Filtered tells whether the kernel leaves out what is not wanted.
func (c *Conn) Filtered() bool { return c.filtered }

// Interrupt ends a Read, now or later, with ErrClosed. Any goroutine may call
// it before Close.
func (c *Conn) Interrupt() { unix.Write(c.interrupt, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }

// Close lets the connector go. Nobody may be reading.
func (c *Conn) Close() error {
	c.socket.close()
	return unix.Close(c.interrupt)
}

// connect makes c.socket.
func (c *Conn) connect() error {
	// The kernel counts its listeners, and wrongly where another program has
	// stopped listening twice: then it starts to send, and answers, only at
	// the next new socket or the one after.
	var tried []*socket
	defer func() {
		for _, s := range tried {
			s.close()
		}
	}()
	for {
		s, err := openSocket(c.options.ReceiveBuffer)
		if err != nil {
			return err
		}
		events, err := s.listen()
		if errors.Is(err, errNoAnswer) && len(tried) < 2 && initialNamespace("pid", 0xEFFFFFFC) && initialNamespace("user", 0xEFFFFFFD) {
			tried = append(tried, s)
			continue
		}
		if err != nil {
			s.close()
			return err
		}
		c.socket, c.filtered, c.lost, c.seqs = s, false, false, map[uint32]uint32{}
		c.pending = append(c.pending, events...)
		break
	}
	if c.noFilter {
		return nil
	}
	c.noFilter = !c.filter()
	if c.noFilter && c.filtered {
		// The kernel stopped sending: only a new socket makes it start again.
		c.socket.close()
		return c.connect()
	}
	return nil
}

// filter asks the kernel to leave out what is not wanted. Kernels before 6.6
// pass over the request. Some later ones take an event that every listener's
// filter left out for the lack of listeners, and stop sending: which of the
// three this is shows in what comes of two changes of this thread's name, the
// first left out by the filter, the second not. c.filtered tells afterwards
// whether the kernel knows filters, the result whether they are of use.
func (c *Conn) filter() bool {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	wanted := c.options.Events &^ PROC_EVENT_COMM
	if c.socket.send(0, wanted) != nil || rename() != nil ||
		c.socket.send(0, wanted|PROC_EVENT_COMM) != nil || rename() != nil {
		return false
	}
	names := 0
	tid := unix.Gettid()
	for {
		from := len(c.pending)
		var err error
		c.pending, err = c.socket.receive(c.pending)
		for _, e := range c.pending[from:] {
			if e.What == PROC_EVENT_COMM && e.TID == tid {
				names++
			}
		}
		if errors.Is(err, unix.ENOBUFS) {
			// Too busy to tell: a silence would be noticed later.
			c.lost, c.filtered = true, true
			return true
		}
		if errors.Is(err, unix.EAGAIN) {
			break
		}
	}
	c.filtered = names != 2
	return names == 1
}

// rename gives this thread the name that it has: an event for every listener.
func rename() error {
	var name [16]byte
	if err := unix.Prctl(unix.PR_GET_NAME, uintptr(unsafe.Pointer(&name[0])), 0, 0, 0); err != nil {
		return err
	}
	return unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&name[0])), 0, 0, 0)
}

// Read appends events to events; it waits for the first, at most for timeout if
// that is not 0, and then returns none. lost says that before
// the next Read's events some were lost, how many cannot be known: everything
// that is derived from events is to be looked at anew. It may come without
// events. After an error other than ErrClosed the connector is of no more use.
func (c *Conn) Read(events []Event, timeout time.Duration) (all []Event, lost bool, err error) {
	pause := beatEvery
	if timeout > 0 {
		pause = min(pause, timeout)
	}
	for {
		from := len(events)
		if len(c.pending) > 0 {
			events, c.pending = append(events, c.pending...), nil
			return events, c.gap(events[from:]), nil
		}
		events, err = c.socket.receive(events)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
		case errors.Is(err, unix.ENOBUFS), errors.Is(err, errOverrun):
			c.lost, c.late = true, 0
			continue
		case errors.Is(err, errFormat):
			return events, true, nil
		case err != nil:
			return events, false, fmt.Errorf("read process events: %w", err)
		default:
			if len(events) > from {
				return c.got(events, from)
			}
			continue
		}
		if c.lost {
			return events, true, c.recover()
		}
		readable, interrupted, err := c.socket.wait(c.interrupt, pause)
		if err != nil {
			return events, false, err
		}
		if interrupted {
			return events, false, ErrClosed
		}
		if readable {
			c.silence = 0
			continue
		}
		if c.silence += pause; c.silence >= beatEvery {
			c.silence = 0
			if alive, err := c.beat(); !alive {
				return events, true, err
			}
		}
		if timeout > 0 {
			return events, false, nil
		}
	}
}

// got ends a Read that has got events. After a loss the kernel adds nothing
// until the socket has been empty: that is when all has been read that it can
// hold, at the latest.
func (c *Conn) got(events []Event, from int) (all []Event, lost bool, err error) {
	const least = 512 // bytes that a message takes of the buffer, at least
	lost = c.gap(events[from:])
	if c.late += len(events) - from; c.lost && c.late > 2*c.options.ReceiveBuffer/least {
		return events, true, c.recover()
	}
	return events, lost, nil
}

// gap notices lost events by the numbers that each CPU gives to its own. The
// kernel also numbers events that its filter leaves out.
func (c *Conn) gap(events []Event) bool {
	if c.filtered {
		return false
	}
	gap := false
	for _, e := range events {
		last, known := c.seqs[e.CPU]
		step := int32(e.Seq - last)
		gap = gap || known && step > 1
		if !known || step > 0 {
			c.seqs[e.CPU] = e.Seq
		}
	}
	return gap
}

// recover goes on after a loss. Kernels that reset their count of listeners
// when a message reached nobody send nothing more to a socket that has been
// full.
func (c *Conn) recover() error {
	c.lost = false
	clear(c.seqs)
	_, err := c.beat()
	return err
}

// beat makes sure that the kernel still sends events: it causes one, which is
// there when the call returns. If not, a new socket takes the place of this
// one, and events may have been lost.
func (c *Conn) beat() (alive bool, err error) {
	if err := rename(); err != nil {
		return false, fmt.Errorf("cause a process event: %w", err)
	}
	c.pending, err = c.socket.receive(c.pending)
	if errors.Is(err, unix.ENOBUFS) {
		c.lost, c.late = true, 0
	}
	if !errors.Is(err, unix.EAGAIN) {
		return true, nil
	}
	old := c.socket
	c.noFilter = true // it may be what has silenced the kernel
	if err := c.connect(); err != nil {
		return false, explain(err)
	}
	old.close()
	return false, nil
}
