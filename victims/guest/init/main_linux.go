package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"procdump/victims/guest/wire"
)

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "init: this is for the first process of a guest")
		os.Exit(1)
	}
	fmt.Println("init:", run())
	syscall.Sync()
	syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF)
}

// run returns only if it cannot go on.
func run() error {
	b, err := os.ReadFile(wire.ConfigFile)
	if err != nil {
		return err
	}
	var c wire.Config
	if err := json.Unmarshal(b, &c); err != nil {
		return fmt.Errorf("parse %s: %w", wire.ConfigFile, err)
	}
	if err := mountKernel(""); err != nil {
		return err
	}
	for _, file := range c.Modules {
		if err := loadModule(file, ""); err != nil {
			return err
		}
	}
	port, err := openPort()
	if err != nil {
		return err
	}
	if err := makeRoot(c); err != nil {
		return err
	}
	if err := syscall.Sethostname([]byte(c.Hostname)); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	if err := loopbackUp(); err != nil {
		return err
	}
	s := &server{out: port, programs: map[int]*program{}, byPID: map[int]*program{}}
	go s.reap()
	return s.serve(port)
}

// loadModule loads a kernel module that is not compressed.
func loadModule(file, parameters string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := initModule(b, parameters); err != nil && !errors.Is(err, syscall.EEXIST) {
		return fmt.Errorf("load module %s: %w", file, err)
	}
	return nil
}

// openPort opens the port to the test, which the kernel makes a moment after
// its module is there.
func openPort() (*os.File, error) {
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		names, _ := filepath.Glob("/sys/class/virtio-ports/*/name")
		for _, n := range names {
			if b, err := os.ReadFile(n); err == nil && strings.TrimSpace(string(b)) == wire.Port {
				return os.OpenFile("/dev/"+filepath.Base(filepath.Dir(n)), os.O_RDWR, 0)
			}
		}
	}
	return nil, errors.New("open the port to the test: there is none")
}

// server carries out requests.
type server struct {
	outMu sync.Mutex
	out   io.Writer

	mu       sync.Mutex
	programs map[int]*program // by the number of the request
	byPID    map[int]*program // those that have not ended
}

// send tells the test something. The line feed before it ends what an earlier
// boot may have left unfinished.
func (s *server) send(e wire.Event) {
	b, err := json.Marshal(e)
	if err != nil {
		return
	}
	s.outMu.Lock()
	defer s.outMu.Unlock()
	s.out.Write(append(append([]byte{'\n'}, b...), '\n'))
}

func (s *server) serve(in io.Reader) error {
	s.send(wire.Event{Kind: wire.EventHello, PID: os.Getpid()})
	r := bufio.NewReaderSize(in, 1<<16)
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			// The test has gone, or not come yet: QEMU ends soon, or it comes.
			time.Sleep(50 * time.Millisecond)
			continue
		}
		var q wire.Request
		if json.Unmarshal(line, &q) != nil {
			continue
		}
		if err := s.handle(q); err != nil {
			s.send(wire.Event{ID: q.ID, Kind: wire.EventError, Text: err.Error()})
		}
	}
}

func (s *server) handle(q wire.Request) error {
	switch q.Op {
	case wire.OpStart:
		return s.start(q)
	case wire.OpModule:
		if err := loadModule(q.Args[0], strings.Join(q.Args[1:], " ")); err != nil {
			return err
		}
	case wire.OpSignal, wire.OpInput:
		s.mu.Lock()
		p := s.programs[q.Target]
		s.mu.Unlock()
		if p == nil {
			return fmt.Errorf("no program of request %d", q.Target)
		}
		if err := p.order(q); err != nil {
			return err
		}
	default:
		return fmt.Errorf("unknown operation %q", q.Op)
	}
	s.send(wire.Event{ID: q.ID, Kind: wire.EventDone})
	return nil
}
