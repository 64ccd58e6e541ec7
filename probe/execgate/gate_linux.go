package execgate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"procdump/internal/sys/bpf"
	"procdump/internal/sys/procconn"
)

// Gate holds programs. Close it.
type Gate struct {
	o      Options
	closed chan struct{}
	pause  *bpf.ExecPause // nil: it is not needed, or cannot be had
	once   sync.Once
	done   sync.WaitGroup

	mu   sync.Mutex
	sock int // -1: there is no keeper at present
	keep *os.Process
	// first is added to the numbers of this keeper's holds: answers to an
	// earlier one must not reach it.
	first, last uint64
}

// startLimit is how long a keeper may take to begin, in seconds.
const startLimit = 10

// The pauses before a keeper that has ended is started again.
const (
	firstPause = time.Second
	lastPause  = time.Minute
)

// Open starts the keeper: what is executed after Open has returned is held. The
// error matches fs.ErrPermission where a privilege is lacking and
// errors.ErrUnsupported where the kernel cannot do it.
func Open(o Options) (*Gate, error) {
	words := joinWords(o.Words)
	if len(words) > maxWords {
		return nil, fmt.Errorf("hold new programs: %d bytes of words are too many", len(words))
	}
	// Its socket takes no empty message.
	if o.Words = splitWords(words); len(o.Words) == 0 {
		words = []byte{0}
	}
	g := &Gate{o: o, closed: make(chan struct{}), sock: -1}
	// Before Linux 6.8 whoever attaches gets in only when the process has gone
	// on (see Newcomer), and might be late.
	if !since(6, 8) {
		g.pause, _ = bpf.OpenExecPause()
	}
	opened := make(chan error)
	g.done.Go(func() {
		g.serve(words, opened)
		if g.pause != nil {
			g.pause.Close()
		}
	})
	if err := <-opened; err != nil {
		return nil, fmt.Errorf("hold new programs: %w", err)
	}
	return g, nil
}

// start starts a keeper and waits until it holds.
func (g *Gate) start(words []byte) (sock int, err error) {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("make sockets: %w", err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "keeper")
	// It has a session of its own: Ctrl-C and Ctrl-Z are not for it.
	p, err := os.StartProcess("/proc/self/exe", []string{keeperName, strconv.Itoa(3)},
		&os.ProcAttr{Dir: "/", Files: []*os.File{nil, nil, nil, theirs}, Sys: &syscall.SysProcAttr{Setsid: true}})
	theirs.Close()
	if err != nil {
		syscall.Close(pair[0])
		return -1, fmt.Errorf("start keeper: %w", err)
	}
	fail := func(err error) (int, error) {
		syscall.Close(pair[0])
		_ = p.Kill()
		_, _ = p.Wait()
		return -1, err
	}
	// Nothing that it does takes that long.
	_ = syscall.SetsockoptTimeval(pair[0], syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &syscall.Timeval{Sec: startLimit})
	var answer [1024]byte
	if _, err = syscall.Write(pair[0], words); err != nil {
		return fail(fmt.Errorf("tell keeper: %w", err))
	}
	n, err := read(pair[0], answer[:])
	switch {
	case err != nil:
		return fail(fmt.Errorf("hear from keeper: %w", err))
	case n == 0:
		return fail(ErrKeeper)
	case answer[0] == keeperDenied:
		return fail(&keeperError{string(answer[1:n]), fs.ErrPermission})
	case answer[0] == keeperUnsupported:
		return fail(&keeperError{string(answer[1:n]), errors.ErrUnsupported})
	case answer[0] != keeperReady:
		return fail(&keeperError{string(answer[1:n]), ErrKeeper})
	}
	_ = syscall.SetsockoptTimeval(pair[0], syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &syscall.Timeval{})
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.closed:
		return fail(ErrKeeper)
	default:
	}
	g.sock, g.keep, g.first = pair[0], p, g.last
	return pair[0], nil
}

// keeperError is an error in the keeper's words.
type keeperError struct {
	text string
	kind error
}

func (e *keeperError) Error() string { return e.text }
func (e *keeperError) Unwrap() error { return e.kind }

// read is read(2), again after a signal.
func read(fd int, b []byte) (int, error) {
	for {
		n, err := syscall.Read(fd, b)
		if err != syscall.EINTR {
			return n, err
		}
	}
}

// serve hands on who is held, until Close; keepers that end are replaced. It
// tells whether there is a first one.
func (g *Gate) serve(words []byte, opened chan<- error) {
	// The thread is never unlocked, so it ends with this goroutine: its
	// priority is not for others, and neither are its children. A tracing
	// thread that had the keeper as its child would wait for that.
	runtime.LockOSThread()
	sock, err := g.start(words)
	opened <- err
	if err != nil {
		return
	}
	if runtime.NumCPU() > 1 {
		_ = procconn.Urgent()
	}
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		began := time.Now()
		g.hear(sock)
		g.lose()
		if time.Since(began) > lastPause {
			pause = firstPause
		}
		err := error(ErrKeeper)
		for first := true; ; first = false {
			select {
			case <-g.closed:
				return
			default:
			}
			if first && g.o.Failed != nil {
				g.o.Failed(err)
			}
			select {
			case <-g.closed:
				return
			case <-time.After(pause):
			}
			if sock, err = g.start(words); err == nil {
				break
			}
			pause = min(2*pause, lastPause)
		}
	}
}

// hear hands on who is held, until the keeper ends or is closed.
func (g *Gate) hear(sock int) {
	var msg [newcomerSize]byte
	for {
		n, err := read(sock, msg[:])
		if err != nil || n != len(msg) {
			return
		}
		g.mu.Lock()
		g.last = g.first + binary.NativeEndian.Uint64(msg[:])
		id := g.last
		g.mu.Unlock()
		pid := int(binary.NativeEndian.Uint32(msg[12:]))
		if g.pause != nil {
			_ = g.pause.Add(pid)
		}
		g.o.Handle(Newcomer{TID: int(binary.NativeEndian.Uint32(msg[8:])), PID: pid, gate: g, id: id})
	}
}

// lose gives up the present keeper and waits for its end.
func (g *Gate) lose() {
	g.mu.Lock()
	p := g.keep
	syscall.Close(g.sock)
	g.sock, g.keep = -1, nil
	g.mu.Unlock()
	_ = p.Kill()
	_, _ = p.Wait()
}

// allow lets a program go on.
func (g *Gate) allow(id uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.sock < 0 || id <= g.first {
		return // its keeper has ended
	}
	var msg [8]byte
	binary.NativeEndian.PutUint64(msg[:], id-g.first)
	_, _ = syscall.Write(g.sock, msg[:])
}

// Close lets everybody go on and ends the keeper.
func (g *Gate) Close() {
	g.once.Do(func() {
		close(g.closed)
		g.mu.Lock()
		if g.sock >= 0 {
			_ = syscall.Shutdown(g.sock, syscall.SHUT_RDWR) // ends hear
		}
		g.mu.Unlock()
	})
	g.done.Wait()
}
