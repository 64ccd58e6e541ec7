package hang

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/jezek/xgb"
	"github.com/jezek/xgb/xproto"
)

// ErrNoWindow means that the process has no window that can be asked.
var ErrNoWindow = errors.New("no window that answers pings")

// X11 pings the windows of a process as window managers do: a WM_PROTOCOLS
// message _NET_WM_PING, which the program has to send back to the root window
// (EWMH, "_NET_WM_PING"). Programs with a window that lists the protocol answer
// from their main loop, so that silence means that the loop stands still.
//
// A process is known by its windows' _NET_WM_PID and WM_CLIENT_MACHINE; in a
// PID namespace of its own, a program writes a PID that means another process
// outside, and its windows are not found.
type X11 struct {
	pid    int
	limit  time.Duration
	period time.Duration
	conn   *xgb.Conn
	wire   net.Conn // under conn: closing it ends every wait for a reply
	atoms  atoms
	clock  xproto.Window         // our own; its property events carry the server's time
	times  chan xproto.Timestamp // from the events to the round that waits for it

	mu      sync.Mutex
	windows map[xproto.Window]*pinged
	mute    int       // windows of the process that cannot be pinged
	busy    bool      // a round is under way
	began   time.Time // the last round
	alive   time.Time // the server's last answer, by our clock
	dead    error     // the connection's end
	running sync.WaitGroup
}

// pinged is a window and the ping that it has not answered yet.
type pinged struct {
	title    string
	answered bool
	waiting  bool
	sent     time.Time        // by our clock
	stamp    xproto.Timestamp // of the ping, by the server's
	last     xproto.Timestamp // of the latest repetition
}

// OpenX11 connects to the X server that shows the process's windows: that of
// our own DISPLAY and XAUTHORITY, or the process's. It is ErrNoDisplay if there
// is none, and, unless waiting is true, ErrNoWindow if the process has no window
// there that answers pings. The caller closes it.
func OpenX11(pid int, waiting bool) (*X11, error) {
	return openX11("/proc", pid, waiting)
}

func openX11(proc string, pid int, waiting bool) (*X11, error) {
	all := displays(proc, pid)
	if len(all) == 0 {
		return nil, fmt.Errorf("ask windows: %w", noDisplay(proc, pid))
	}
	var first error
	var spare *X11 // connected, but without windows
	for _, d := range all {
		x, err := d.open(pid)
		if err == nil && len(x.windows) > 0 {
			if spare != nil {
				spare.Close()
			}
			return x, nil
		}
		if err == nil && spare == nil {
			spare = x
			continue
		}
		if err == nil {
			x.Close()
		} else if first == nil {
			first = err
		}
	}
	switch {
	case spare == nil:
		return nil, fmt.Errorf("ask windows: %w", first)
	case waiting:
		return spare, nil
	}
	defer spare.Close()
	if spare.mute > 0 {
		return nil, fmt.Errorf("ask windows of process %d: %w: its %d windows do not list _NET_WM_PING", pid, ErrNoWindow, spare.mute)
	}
	return nil, fmt.Errorf("ask windows of process %d: %w: no window has its _NET_WM_PID", pid, ErrNoWindow)
}

// open connects and looks for the process's windows.
func (d display) open(pid int) (*X11, error) {
	conn, wire, err := d.connect()
	if err != nil {
		return nil, err
	}
	x := &X11{pid: pid, limit: Limit, period: Period, conn: conn, wire: wire, times: make(chan xproto.Timestamp, 1), windows: map[xproto.Window]*pinged{}}
	// A server that hangs must not hold up the caller.
	stop := time.AfterFunc(dialTime, x.hangUp)
	defer stop.Stop()
	x.atoms, err = internAtoms(conn)
	x.running.Add(1)
	go x.events()
	if err == nil {
		err = x.setUp()
	}
	if err != nil {
		x.Close()
		return nil, fmt.Errorf("%w at display %s: %w", ErrNoDisplay, d.name, err)
	}
	return x, nil
}

func (x *X11) setUp() (err error) {
	roots := xproto.Setup(x.conn).Roots
	if len(roots) == 0 {
		return errors.New("server has no screen")
	}
	for _, screen := range roots {
		// Answers are sent to the root window for whoever selects this.
		if err := xproto.ChangeWindowAttributesChecked(x.conn, screen.Root, xproto.CwEventMask,
			[]uint32{xproto.EventMaskSubstructureNotify}).Check(); err != nil {
			return err
		}
	}
	if x.clock, err = xproto.NewWindowId(x.conn); err != nil {
		return err
	}
	if err := xproto.CreateWindowChecked(x.conn, 0, x.clock, roots[0].Root, -1, -1, 1, 1, 0, xproto.WindowClassInputOnly, 0,
		xproto.CwEventMask, []uint32{xproto.EventMaskPropertyChange}).Check(); err != nil {
		return err
	}
	return x.refresh()
}

// events takes in what the server sends until the connection ends.
func (x *X11) events() {
	defer x.running.Done()
	for {
		event, err := x.conn.WaitForEvent()
		switch e := event.(type) {
		case xproto.ClientMessageEvent:
			x.answer(e)
		case xproto.PropertyNotifyEvent:
			select {
			case x.times <- e.Time:
			default:
			}
		case nil:
			if err == nil {
				x.mu.Lock()
				if x.dead == nil {
					x.dead = fmt.Errorf("ask windows: %w: the connection has ended", ErrNoDisplay)
				}
				x.mu.Unlock()
				close(x.times)
				return
			}
		}
	}
}

// answer takes in a message to a root window. The window manager's pings are
// answered there, too: ours are told by their time.
func (x *X11) answer(e xproto.ClientMessageEvent) {
	if e.Format != 32 || e.Type != x.atoms.protocols || len(e.Data.Data32) < 3 || xproto.Atom(e.Data.Data32[0]) != x.atoms.ping {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	w := x.windows[xproto.Window(e.Data.Data32[2])]
	if w == nil || !w.waiting {
		return
	}
	// The server's time is in milliseconds and begins anew after 49 days.
	if xproto.Timestamp(e.Data.Data32[1])-w.stamp <= w.last-w.stamp {
		w.waiting, w.answered = false, true
	}
}

// refresh looks which windows the process has now.
func (x *X11) refresh() error {
	found, mute, err := windowsOf(x.conn, x.atoms, x.pid)
	if err != nil {
		return err
	}
	titles := make(map[xproto.Window]string, len(found))
	for _, w := range found {
		titles[w] = title(x.conn, x.atoms, w)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.mute, x.alive = mute, time.Now()
	for w := range x.windows {
		if _, ok := titles[w]; !ok {
			delete(x.windows, w)
		}
	}
	for w, name := range titles {
		if x.windows[w] == nil {
			x.windows[w] = &pinged{}
		}
		x.windows[w].title = name
	}
	return nil
}

// round looks for windows and pings those that owe no answer.
func (x *X11) round() error {
	if err := x.refresh(); err != nil {
		return err
	}
	now, err := x.serverTime()
	if err != nil {
		return err
	}
	for _, w := range x.due(now) {
		message := xproto.ClientMessageEvent{Format: 32, Window: w, Type: x.atoms.protocols,
			Data: xproto.ClientMessageDataUnionData32New([]uint32{uint32(x.atoms.ping), uint32(now), uint32(w), 0, 0})}
		xproto.SendEvent(x.conn, false, w, xproto.EventMaskNoEvent, string(message.Bytes()))
	}
	return nil
}

// due marks the windows that a ping is sent to now: those that owe no answer,
// and those that are hung, as they may have dropped the first.
func (x *X11) due(stamp xproto.Timestamp) []xproto.Window {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.alive = time.Now()
	var due []xproto.Window
	for id, w := range x.windows {
		switch {
		case !w.waiting:
			w.waiting, w.sent, w.stamp, w.last = true, x.alive, stamp, stamp
		case x.alive.Sub(w.sent) >= x.limit:
			w.last = stamp
		default:
			continue
		}
		due = append(due, id)
	}
	return due
}

// serverTime has a property of our window changed, which the server tells us
// with its time.
func (x *X11) serverTime() (xproto.Timestamp, error) {
	select {
	case <-x.times: // left behind by a round that did not wait for it
	default:
	}
	xproto.ChangeProperty(x.conn, xproto.PropModeAppend, x.clock, x.atoms.name, x.atoms.utf8, 8, 0, nil)
	t, ok := <-x.times
	if !ok {
		return 0, ErrNoDisplay
	}
	return t, nil
}

// Check begins a round if none is under way and it is time for one. A window
// is hung if the server has answered us Limit after a ping that the window has
// not answered: a server that hangs makes no program look hung.
func (x *X11) Check(now time.Time) (State, string, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.dead != nil {
		return Unknown, "", x.dead
	}
	if !x.busy && (x.began.IsZero() || now.Sub(x.began) >= x.period) {
		x.busy, x.began = true, now
		x.running.Add(1)
		go func() {
			defer x.running.Done()
			err := x.round()
			x.mu.Lock()
			defer x.mu.Unlock()
			x.busy = false
			if err != nil && x.dead == nil {
				x.dead = fmt.Errorf("ask windows: %w: %w", ErrNoDisplay, err)
			}
		}()
	}
	if x.busy && now.Sub(x.began) >= x.limit {
		return Unknown, "the X server does not answer", nil
	}
	return x.judge()
}

// judge takes the window that has been silent longest. The lock is held.
func (x *X11) judge() (State, string, error) {
	var worst *pinged
	answered := false
	for _, w := range x.windows {
		answered = answered || w.answered
		if w.waiting && (worst == nil || w.sent.Before(worst.sent)) {
			worst = w
		}
	}
	silent := time.Duration(0)
	if worst != nil {
		silent = x.alive.Sub(worst.sent)
	}
	switch {
	case len(x.windows) == 0:
		return Unknown, fmt.Sprintf("process %d has no window that answers pings", x.pid), nil
	case worst != nil && silent >= x.limit:
		return Hung, fmt.Sprintf("%s has not answered _NET_WM_PING for %s", worst.title, seconds(silent)), nil
	case worst != nil && silent >= x.period:
		return Silent, fmt.Sprintf("%s has not answered _NET_WM_PING for %s", worst.title, seconds(silent)), nil
	case answered:
		return Answering, "", nil
	}
	return Unknown, "no ping answered yet", nil
}

// Forget drops the pings that are not answered yet.
func (x *X11) Forget() {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, w := range x.windows {
		*w = pinged{title: w.title}
	}
}

// hangUp ends the connection. The library's own way waits for the server.
func (x *X11) hangUp() { x.wire.Close() }

// Close ends the connection.
func (x *X11) Close() error {
	x.mu.Lock()
	if x.dead == nil {
		x.dead = fmt.Errorf("ask windows: %w: closed", ErrNoDisplay)
	}
	x.mu.Unlock()
	x.hangUp()
	x.running.Wait()
	return nil
}
