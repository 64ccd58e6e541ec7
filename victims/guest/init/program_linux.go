package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"procdump/victims/guest/wire"
)

// program is one that the test has asked for.
type program struct {
	pid     int
	input   *os.File
	outputs sync.WaitGroup
	exited  chan syscall.WaitStatus // receives one
}

func (s *server) start(q wire.Request) error {
	for _, e := range q.Env {
		if path, ok := strings.CutPrefix(e, "PATH="); ok {
			os.Setenv("PATH", path)
		}
	}
	path, err := exec.LookPath(q.Args[0])
	if err != nil {
		return err
	}
	var pipes [3][2]*os.File // read and write ends
	for i := range pipes {
		if pipes[i][0], pipes[i][1], err = os.Pipe(); err != nil {
			return fmt.Errorf("make pipe: %w", err)
		}
	}
	// The lock makes reap, which may see the end of the program at once, wait
	// until the program is known. Not package os/exec: its Wait and reap would
	// take each other's children.
	s.mu.Lock()
	pid, err := syscall.ForkExec(path, q.Args, &syscall.ProcAttr{
		Dir:   q.Dir,
		Env:   q.Env,
		Files: []uintptr{pipes[0][0].Fd(), pipes[1][1].Fd(), pipes[2][1].Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	p := &program{pid: pid, input: pipes[0][1], exited: make(chan syscall.WaitStatus, 1)}
	if err == nil {
		s.programs[q.ID], s.byPID[pid] = p, p
	}
	s.mu.Unlock()
	for _, f := range []*os.File{pipes[0][0], pipes[1][1], pipes[2][1]} {
		f.Close()
	}
	if err != nil {
		for _, f := range []*os.File{pipes[0][1], pipes[1][0], pipes[2][0]} {
			f.Close()
		}
		return fmt.Errorf("run %s: %w", path, err)
	}
	s.send(wire.Event{ID: q.ID, Kind: wire.EventStarted, PID: pid})
	p.outputs.Add(2)
	go s.pump(p, q.ID, wire.EventStdout, pipes[1][0])
	go s.pump(p, q.ID, wire.EventStderr, pipes[2][0])
	go s.await(p, q.ID)
	return nil
}

// pump passes on what a program writes.
func (s *server) pump(p *program, id int, kind string, from io.ReadCloser) {
	defer p.outputs.Done()
	defer from.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			s.send(wire.Event{ID: id, Kind: kind, Data: buf[:n]})
		}
		if err != nil {
			return
		}
	}
}

// await tells the end of a program, after all that it wrote. A process that it
// left behind may hold its outputs open: what that writes still comes, later.
func (s *server) await(p *program, id int) {
	status := <-p.exited
	written := make(chan struct{})
	go func() { p.outputs.Wait(); close(written) }()
	select {
	case <-written:
	case <-time.After(time.Second):
	}
	p.input.Close()
	e := wire.Event{ID: id, Kind: wire.EventExit, Code: status.ExitStatus()}
	if status.Signaled() {
		e.Code, e.Signal = 128+int(status.Signal()), int(status.Signal())
	}
	s.send(e)
}

// order gives a program a signal or input.
func (p *program) order(q wire.Request) error {
	if q.Op == wire.OpSignal {
		if err := syscall.Kill(p.pid, syscall.Signal(q.Signal)); err != nil {
			return fmt.Errorf("signal process %d: %w", p.pid, err)
		}
		return nil
	}
	if len(q.Data) == 0 {
		return p.input.Close()
	}
	_, err := p.input.Write(q.Data)
	return err
}

// reap takes the ends of all children: programs, and orphans, which are nobody's.
func (s *server) reap() {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case err == syscall.EINTR:
			continue
		case err != nil: // no child at present
			time.Sleep(5 * time.Millisecond)
			continue
		}
		s.mu.Lock()
		if p := s.byPID[pid]; p != nil {
			delete(s.byPID, pid)
			p.exited <- status
		}
		s.mu.Unlock()
	}
}
