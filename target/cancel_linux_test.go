package target

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// freePID is a number that no process has: the largest PIDs are 2^22.
var nextPID atomic.Int64

func freePID() int { return 1<<23 + os.Getpid()<<4 + int(nextPID.Add(1)) }

func TestCancelNone(t *testing.T) {
	pid := freePID()
	n, err := Cancel(pid)
	if n != 0 {
		t.Errorf("cancelled %d", n)
	}
	expectError(t, err, ErrNotWatched, "no procdump watches PID "+strconv.Itoa(pid))
}

func TestCancelSeveral(t *testing.T) {
	pid, other := freePID(), freePID()
	a := start(t, "announce", nil, strconv.Itoa(pid))
	b := start(t, "announce", nil, strconv.Itoa(pid))
	c := start(t, "announce", nil, strconv.Itoa(other))
	n, err := Cancel(pid)
	if n != 2 || err != nil {
		t.Errorf("cancelled %d, %v", n, err)
	}
	for _, v := range []*victim{a, b} {
		if line := v.line(t); line != fmt.Sprint("cancelled ", pid) {
			t.Error(line)
		}
	}
	if len(Proc.watches(other)) != 1 {
		t.Error("the watch of another target is gone")
	}
	if n, err := Cancel(other); n != 1 || err != nil {
		t.Errorf("cancelled %d, %v", n, err)
	}
	if line := c.line(t); line != fmt.Sprint("cancelled ", other) {
		t.Error(line)
	}
}

// One procdump may watch several targets, and one target twice.
func TestCancelOneOfMany(t *testing.T) {
	pid, other := freePID(), freePID()
	var count [3]atomic.Int32
	var closers [3]io.Closer
	for i, p := range []int{pid, pid, other} {
		var err error
		var self atomic.Pointer[io.Closer]
		closers[i], err = Announce(p, func() {
			count[i].Add(1)
			for self.Load() == nil {
				time.Sleep(time.Millisecond)
			}
			(*self.Load()).Close()
		})
		if err != nil {
			t.Fatal(err)
		}
		self.Store(&closers[i])
	}
	n, err := Cancel(pid)
	if n != 2 || err != nil {
		t.Errorf("cancelled %d, %v", n, err)
	}
	if count[0].Load() != 1 || count[1].Load() != 1 || count[2].Load() != 0 {
		t.Errorf("calls: %d %d %d", count[0].Load(), count[1].Load(), count[2].Load())
	}
	if err := closers[2].Close(); err != nil {
		t.Error(err)
	}
	_, err = Cancel(other)
	expectError(t, err, ErrNotWatched)
}

// Cancel returns when the target has been let go of, not before.
func TestCancelWaits(t *testing.T) {
	pid := freePID()
	asked := make(chan struct{})
	c, err := Announce(pid, func() { close(asked) })
	if err != nil {
		t.Fatal(err)
	}
	result := make(chan error, 2)
	for range 2 { // two who ask, one call
		go func() {
			n, err := Cancel(pid)
			if n != 1 && err == nil {
				err = fmt.Errorf("cancelled %d", n)
			}
			result <- err
		}()
	}
	<-asked
	select {
	case err := <-result:
		t.Fatalf("answered before the watch was closed: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	c.Close()
	for range 2 {
		// The second may come too late to find anything.
		if err := <-result; err != nil && !errors.Is(err, ErrNotWatched) {
			t.Error(err)
		}
	}
	if err := c.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
}

// A procdump that is killed has let go of its target.
func TestCancelKilled(t *testing.T) {
	pid := freePID()
	v := start(t, "announce", nil, strconv.Itoa(pid), strconv.Itoa(freePID()))
	v.Process.Kill()
	v.Wait()
	_, err := Cancel(pid)
	expectError(t, err, ErrNotWatched)
}

func TestCancelDenied(t *testing.T) {
	needRoot(t)
	pid := freePID()
	v := start(t, "announce", nil, strconv.Itoa(pid))
	r, out := ask(t, "cancel", asNobody, strconv.Itoa(pid))
	if !r.Denied || !strings.HasPrefix(out, "0\n") || !strings.Contains(r.Text, "root (uid 0)") || !strings.Contains(r.Text, strconv.Itoa(v.pid())) {
		t.Error(out)
	}
	if len(Proc.watches(pid)) != 1 {
		t.Error("the watch is gone")
	}
	// Root may cancel anybody's.
	pid = freePID()
	start(t, "announce", asNobody, strconv.Itoa(pid))
	if n, err := Cancel(pid); n != 1 || err != nil {
		t.Errorf("cancelled %d, %v", n, err)
	}
	// And a user his own.
	pid = freePID()
	start(t, "announce", asNobody, strconv.Itoa(pid))
	if r, out := ask(t, "cancel", asNobody, strconv.Itoa(pid)); r.Text != "" || !strings.HasPrefix(out, "1\n") {
		t.Error(out)
	}
}

// Who connects and says nothing, or nonsense, changes nothing and does not
// hold up Close.
func TestCancelNonsense(t *testing.T) {
	pid := freePID()
	c, err := Announce(pid, func() { t.Error("cancelled") })
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", "hello\n", "cancelled\n", strings.Repeat("x", 1000)} {
		conn, err := net.Dial("unix", Proc.watches(pid)[0])
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.Write([]byte(text))
	}
	time.Sleep(20 * time.Millisecond) // let the nonsense be read before Close
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// Somebody who takes the name does not keep procdump from being cancelled.
func TestAnnounceTakenName(t *testing.T) {
	pid := freePID()
	l, err := net.Listen("unix", fmt.Sprintf("@procdump/%d/%d", pid, os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprintln(conn, "nonsense")
			conn.Close()
		}
	}()
	defer l.Close()
	cancelled := make(chan struct{})
	c, err := Announce(pid, func() { close(cancelled) })
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		<-cancelled
		c.Close()
	}()
	n, err := Cancel(pid)
	if n != 1 || err == nil || !strings.Contains(err.Error(), "not a procdump") {
		t.Errorf("cancelled %d, %v", n, err)
	}
}
