package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// followLimit ends waiting for an event that does not come.
const followLimit = time.Minute

// event is what the benchmark needs of procdump's JSON events.
type event struct {
	Event         string
	Time          time.Time
	PID           int
	Message       string
	ElapsedMicros int64
}

// follower is a procdump that watches.
type follower struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when all is read

	mu       sync.Mutex
	list     []event // all but what the process wrote
	observed int     // the number of those
	err      error
}

// follow starts procdump with -json and waits until it says that it watches
// the given number of processes, or, with none, that it waits for one.
func (b *bench) follow(processes int, argv ...string) (*follower, error) {
	f := &follower{cmd: exec.Command(b.procdump, append([]string{"-json"}, argv...)...), done: make(chan struct{})}
	// It must not outlive the benchmark.
	f.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	f.cmd.Stderr = os.Stderr
	out, err := f.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start procdump: %w", err)
	}
	if err := f.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start procdump: %w", err)
	}
	go f.read(out)
	kind, n := "watching", processes
	if processes == 0 {
		kind, n = "note", 1
	}
	if err := f.wait(kind, n); err != nil {
		f.end()
		return nil, err
	}
	return f, nil
}

func (f *follower) pid() int { return f.cmd.Process.Pid }

// read takes in the events. Of what the process wrote only the number counts:
// to decode those lines would cost more than to make them.
func (f *follower) read(out io.Reader) {
	defer close(f.done)
	in := bufio.NewReaderSize(out, 1<<20)
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return
		}
		f.mu.Lock()
		if bytes.HasPrefix(line, []byte(`{"event":"observed"`)) {
			f.observed++
		} else {
			var e event
			if err := json.Unmarshal(line, &e); err != nil && f.err == nil {
				f.err = fmt.Errorf("read procdump's events: %w", err)
			}
			if (e.Event == "error" || e.Event == "failed") && f.err == nil {
				f.err = errors.New("procdump: " + e.Message)
			}
			f.list = append(f.list, e)
		}
		f.mu.Unlock()
	}
}

// events returns those of a kind so far.
func (f *follower) events(kind string) (list []event, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.list {
		if e.Event == kind {
			list = append(list, e)
		}
	}
	return list, f.err
}

// wait waits until there are n events of a kind.
func (f *follower) wait(kind string, n int) error {
	for deadline := time.Now().Add(followLimit); ; time.Sleep(time.Millisecond) {
		ended := false
		select {
		case <-f.done:
			ended = true
		default:
		}
		list, err := f.events(kind)
		switch {
		case err != nil:
			return err
		case len(list) >= n:
			return nil
		case ended || time.Now().After(deadline):
			return fmt.Errorf("procdump: %d events %q, not %d", len(list), kind, n)
		}
	}
}

// seen waits until n things are observed, or no more come, and tells how many.
func (f *follower) seen(n int) int {
	for last, since := -1, time.Now(); ; time.Sleep(10 * time.Millisecond) {
		f.mu.Lock()
		now := f.observed
		f.mu.Unlock()
		if now != last {
			last, since = now, time.Now()
		}
		if now >= n || time.Since(since) > time.Second {
			return min(now, n)
		}
	}
}

// end ends procdump as Ctrl-C does.
func (f *follower) end() {
	f.cmd.Process.Signal(syscall.SIGINT)
	kill := time.AfterFunc(10*time.Second, func() { f.cmd.Process.Kill() })
	<-f.done
	f.cmd.Wait()
	kill.Stop()
}
