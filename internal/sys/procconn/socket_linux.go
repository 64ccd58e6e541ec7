package procconn

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	batch       = 64  // messages read with one system call
	messageSize = 256 // bytes: an event's message has 76
)

// errNoAnswer says that the kernel took a request and did not answer.
var errNoAnswer = errors.New("procconn: no answer")

// socket is one netlink socket that listens to the process connector.
type socket struct {
	fd   int
	port uint32

	msgs  [batch]mmsghdr
	iovs  [batch]unix.Iovec
	names [batch]unix.RawSockaddrNetlink
	bufs  [batch][messageSize]byte
}

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	unix.Msghdr
	len uint32
	_   [4]byte
}

// openSocket makes a socket in the connector's multicast group. It listens only
// when the kernel has been asked to send.
func openSocket(receiveBuffer int) (*socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_CONNECTOR)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	s := &socket{fd: fd}
	// The kernel counts twice what is asked for, for its own overhead.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer); err != nil {
			s.close()
			return nil, fmt.Errorf("set receive buffer: %w", err)
		}
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (CN_IDX_PROC - 1)}); err != nil {
		s.close()
		return nil, fmt.Errorf("join the connector's group: %w", err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		s.close()
		return nil, fmt.Errorf("read port of netlink socket: %w", err)
	}
	if nl, ok := name.(*unix.SockaddrNetlink); ok {
		s.port = nl.Pid
	}
	for i := range s.msgs {
		s.iovs[i].Base = &s.bufs[i][0]
		s.iovs[i].SetLen(messageSize)
		s.msgs[i].Name = (*byte)(unsafe.Pointer(&s.names[i]))
		s.msgs[i].Iov = &s.iovs[i]
		s.msgs[i].SetIovlen(1)
	}
	return s, nil
}

// close lets the socket go. PROC_CN_MCAST_IGNORE is not sent before: kernels
// that reset their count of listeners when a message reached nobody (since
// Linux 6.8) would count below 0, and the next listener, of any program, would
// hear nothing.
func (s *socket) close() { unix.Close(s.fd) }

// receive appends the events that are there, at most batch messages, without
// waiting: unix.EAGAIN is none, unix.ENOBUFS that some were lost.
func (s *socket) receive(events []Event) ([]Event, error) {
	for i := range s.msgs {
		s.msgs[i].Namelen = unix.SizeofSockaddrNetlink
	}
	n, _, e := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.msgs[0])), batch, unix.MSG_DONTWAIT, 0, 0)
	runtime.KeepAlive(s)
	if e != 0 {
		return events, e
	}
	var first error
	for i := range int(n) {
		m := &s.msgs[i]
		// Port 0 is the kernel: other programs may send to the group too.
		if m.Namelen != unix.SizeofSockaddrNetlink || s.names[i].Pid != 0 {
			continue
		}
		if m.Flags&unix.MSG_TRUNC != 0 {
			continue // no event is that long
		}
		var err error
		if events, err = Parse(s.bufs[i][:min(m.len, messageSize)], events); err != nil && first == nil {
			first = err
		}
	}
	return events, first
}

// wait waits for messages, or for interrupt (-1: none) to become readable.
func (s *socket) wait(interrupt int, timeout time.Duration) (readable, interrupted bool, err error) {
	fds := [2]unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}, {Fd: int32(interrupt), Events: unix.POLLIN}}
	for {
		ts := unix.NsecToTimespec(int64(max(timeout, 0)))
		_, err := unix.Ppoll(fds[:], &ts, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return false, false, fmt.Errorf("wait for process events: %w", err)
		}
		return fds[0].Revents != 0, fds[1].Revents != 0, nil
	}
}

func (s *socket) send(ack uint32, events What) error {
	b := appendRequest(nil, s.port, ack, events)
	if err := unix.Sendto(s.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("ask for process events: %w", err)
	}
	return nil
}

// listen asks for all events and waits for the kernel's answer. It returns the
// events that came after it.
func (s *socket) listen() ([]Event, error) {
	for range 3 {
		// The answer is known by this number alone: its sequence number is the
		// kernel's own (cn_proc.c, send_msg), and answers go to all listeners.
		ack := rand.Uint32()
		if err := s.send(ack, 0); err != nil {
			return nil, err
		}
		events, err := s.answer(ack + 1)
		if !errors.Is(err, unix.ENOBUFS) {
			return events, err
		}
		// The answer may be among what was lost.
	}
	return nil, errNoAnswer
}

// answer waits for the kernel's answer and returns the events after it.
func (s *socket) answer(ack uint32) (events []Event, err error) {
	const patience = 200 * time.Millisecond // it is there when the request is sent
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		events, err = s.receive(events[:0])
		for i, e := range events {
			if e.What != PROC_EVENT_NONE || e.Ack != ack {
				continue
			}
			if e.Status != 0 {
				return nil, fmt.Errorf("ask for process events: %w", unix.Errno(e.Status))
			}
			return events[i+1:], nil
		}
		switch {
		case errors.Is(err, unix.ENOBUFS):
			return nil, err
		case errors.Is(err, unix.EAGAIN):
			if _, _, err := s.wait(-1, time.Until(deadline)); err != nil {
				return nil, err
			}
		}
	}
	return nil, errNoAnswer
}

// explain turns the reason why a socket could not be opened into one for the
// user.
func explain(err error) error {
	u := &UnavailableError{Err: err}
	switch {
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EAFNOSUPPORT):
		u.Cause, u.Remedy = "this kernel has no connector (CONFIG_CONNECTOR)", "modprobe cn loads it where it is a module"
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		u.Cause, u.Remedy = "it needs the capability CAP_NET_ADMIN", "run procdump as root"
	case errors.Is(err, unix.ECONNREFUSED):
		u.Cause, u.Remedy = "procdump runs in a network namespace of its own", "run it in that of the host (docker run --network=host --pid=host)"
	case errors.Is(err, errNoAnswer):
		u.Err = nil
		switch {
		case !initialNamespace("pid", 0xEFFFFFFC):
			u.Cause, u.Remedy = "procdump runs in a PID namespace of its own", "run it in that of the host (docker run --network=host --pid=host)"
		case !initialNamespace("user", 0xEFFFFFFD):
			u.Cause, u.Remedy = "procdump runs in a user namespace of its own", "run it as root of the host, not of a rootless container"
		default:
			u.Cause, u.Remedy = "the kernel does not answer", "it may lack CONFIG_PROC_EVENTS: zgrep PROC_EVENTS /proc/config.gz /boot/config-*"
		}
	default:
		return err
	}
	return u
}

// initialNamespace tells whether procdump is in the namespace with which the
// kernel started, by the fixed number that this has (<linux/proc_ns.h>).
func initialNamespace(kind string, inode uint32) bool {
	link, err := os.Readlink("/proc/self/ns/" + kind)
	return err != nil || link == fmt.Sprintf("%s:[%d]", kind, inode)
}
