package target

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"procdump/internal/sys/fsys"
)

// A procdump that watches PID 4711 listens on the abstract Unix socket (unix(7))
//
//	@procdump/4711/OWN-PID        or, where that name is taken, …/OWN-PID/2, …
//
// Another one connects and writes "cancel\n". The answer is "denied\n", or
// "done\n" when the first has let go of the target. Abstract names belong to a
// network namespace and vanish with their socket, so none is ever stale; they
// have no file mode, so both sides ask for the other's uid (SO_PEERCRED).
const (
	socketPrefix = "@procdump/"
	cancelWord   = "cancel"
	doneWord     = "done"
	deniedWord   = "denied"
	cancelWait   = 10 * time.Second
)

// Announce makes it known that this procdump watches target, so that
// "procdump -cancel" can end that. cancel is called at most once, in a
// goroutine of its own, when somebody with the same uid or root asks for it.
// Close the result when the target has been let go of: only then is the other
// one told so.
func Announce(target int, cancel func()) (io.Closer, error) {
	name := socketPrefix + strconv.Itoa(target) + "/" + strconv.Itoa(os.Getpid())
	for n := 1; ; n++ {
		address := name
		if n > 1 {
			address += "/" + strconv.Itoa(n)
		}
		l, err := net.Listen("unix", address)
		// Taken by another watch of ours, or by somebody who would like to
		// keep us from being cancelled.
		if errors.Is(err, syscall.EADDRINUSE) && n < 100 {
			continue
		}
		if err == nil {
			err = mayKeep(l)
		}
		if err != nil {
			return nil, fmt.Errorf("announce watch of PID %d: %w", target, err)
		}
		w := &watch{listener: l, cancel: cancel, released: make(chan struct{})}
		w.running.Go(w.serve)
		return w, nil
	}
}

// mayKeep closes a socket that takes one of the last descriptors.
func mayKeep(l net.Listener) error {
	raw, err := l.(*net.UnixListener).SyscallConn()
	if err == nil {
		cerr := raw.Control(func(fd uintptr) { err = fsys.MayKeep(int(fd)) })
		err = errors.Join(err, cerr)
	}
	if err != nil {
		l.Close()
	}
	return err
}

// watch is an announced target.
type watch struct {
	listener net.Listener
	cancel   func()
	once     sync.Once // cancel
	released chan struct{}
	closing  sync.Once
	running  sync.WaitGroup
}

// Close ends the announcement and tells who asked that the target is free. It
// waits for those answers to be written, not for their readers.
func (w *watch) Close() error {
	var err error
	w.closing.Do(func() {
		err = w.listener.Close()
		close(w.released)
	})
	w.running.Wait()
	return err
}

func (w *watch) serve() {
	for {
		conn, err := w.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of file descriptors, say: it may pass
			select {
			case <-w.released:
				return
			case <-time.After(100 * time.Millisecond):
				continue
			}
		}
		w.running.Go(func() { w.answer(conn) })
	}
}

func (w *watch) answer(conn net.Conn) {
	defer conn.Close()
	uid, err := peerUID(conn)
	if err != nil || uid != 0 && uid != os.Geteuid() {
		conn.SetDeadline(time.Now().Add(time.Second))
		fmt.Fprintln(conn, deniedWord)
		return
	}
	// Close must not wait for somebody who connects and says nothing.
	heard := make(chan struct{})
	defer close(heard)
	go func() {
		select {
		case <-w.released:
			conn.SetReadDeadline(time.Now().Add(time.Second))
		case <-heard:
		}
	}()
	line, err := bufio.NewReaderSize(conn, 64).ReadSlice('\n')
	if err != nil || strings.TrimSpace(string(line)) != cancelWord {
		return
	}
	w.once.Do(func() { go w.cancel() })
	<-w.released
	conn.SetWriteDeadline(time.Now().Add(time.Second))
	fmt.Fprintln(conn, doneWord)
}

func peerUID(conn net.Conn) (int, error) {
	unix, ok := conn.(*net.UnixConn)
	if !ok {
		return 0, errors.New("get peer of socket: not a Unix socket")
	}
	raw, err := unix.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *syscall.Ucred
	var errCred error
	if err := raw.Control(func(fd uintptr) {
		cred, errCred = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}); err != nil {
		return 0, err
	}
	if errCred != nil {
		return 0, fmt.Errorf("get peer of socket: %w", errCred)
	}
	return int(cred.Uid), nil
}

// Cancel asks every procdump that watches target to stop that gracefully, and
// waits up to ten seconds until they have let go of it. n is how many did. The
// error matches ErrNotWatched if there is none, ErrDenied if one belongs to
// another user.
func Cancel(target int) (n int, err error) { return Proc.Cancel(target) }

// Cancel looks for the watches in fs.
func (fs FS) Cancel(target int) (n int, err error) {
	addresses := fs.watches(target)
	if len(addresses) == 0 {
		return 0, &Error{Kind: ErrNotWatched, PID: target, Cause: fmt.Sprintf("no procdump watches PID %d", target),
			Remedy: "only those of this network namespace (container) are found"}
	}
	results := make(chan error, len(addresses))
	for _, address := range addresses {
		go func() { results <- requestCancel(address) }()
	}
	var problems []error
	gone := 0
	for range addresses {
		switch err := <-results; {
		case err == nil:
			n++
		case errors.Is(err, ErrNotWatched):
			gone++
		default:
			problems = append(problems, err)
		}
	}
	if n == 0 && len(problems) == 0 && gone > 0 {
		return 0, &Error{Kind: ErrNotWatched, PID: target, Cause: fmt.Sprintf("no procdump watches PID %d any more", target)}
	}
	return n, errors.Join(problems...)
}

// watches lists the sockets of procdumps that watch target (proc_pid_net(5)):
//
//	Num       RefCount Protocol Flags    Type St Inode Path
//	0000000000000000: 00000002 00000000 00010000 0001 01 21045 @procdump/4711/99
func (fs FS) watches(target int) []string {
	const listening = "00010000" // __SO_ACCEPTCON
	prefix := socketPrefix + strconv.Itoa(target) + "/"
	var addresses []string
	eachLine(fs.path("net", "unix"), func(line string) {
		fields := strings.Fields(line)
		if len(fields) == 8 && fields[3] == listening && strings.HasPrefix(fields[7], prefix) {
			addresses = append(addresses, fields[7])
		}
	})
	return addresses
}

func requestCancel(address string) error {
	pid, _, _ := strings.Cut(strings.Split(address, "/")[2], "/")
	conn, err := net.DialTimeout("unix", address, cancelWait)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return &Error{Kind: ErrNotWatched, Cause: "procdump (" + pid + ") has just ended", Err: err}
	}
	if err != nil {
		return fmt.Errorf("cancel procdump (%s): %w", pid, err)
	}
	defer conn.Close()
	owner, err := peerUID(conn)
	if err != nil {
		return fmt.Errorf("cancel procdump (%s): %w", pid, err)
	}
	conn.SetDeadline(time.Now().Add(cancelWait))
	// A refusal may come, and the other end close, before this is written.
	_, writeErr := fmt.Fprintln(conn, cancelWord)
	answer, err := io.ReadAll(io.LimitReader(conn, 64))
	switch word := strings.TrimSpace(string(answer)); {
	case word == doneWord:
		return nil
	case word == deniedWord:
		return &Error{Kind: ErrDenied, Cause: fmt.Sprintf("procdump (%s) belongs to %s", pid, userText(newReader(Proc).userName(uint32(owner)), uint32(owner))),
			Remedy: "cancel it as that user or as root"}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("cancel procdump (%s): no answer within %v: it still writes a dump, or hangs; kill -9 %s leaves its target running", pid, cancelWait, pid)
	case word == "" && (err == nil || errors.Is(err, syscall.ECONNRESET) || writeErr != nil):
		return nil // it ended without a word; the kernel has detached the target
	default:
		return fmt.Errorf("cancel procdump (%s): answer %q: not a procdump", pid, word)
	}
}
