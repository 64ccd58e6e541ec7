package fanotify

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Group is an open fanotify group. One goroutine at a time may Read; the rest
// any may call at any time before Close.
type Group struct {
	fd  int
	buf [MaxRead * unix.FAN_EVENT_METADATA_LEN]byte
}

// Open makes a group that is asked about nothing yet. The error matches
// fs.ErrPermission where a privilege is lacking and errors.ErrUnsupported where
// the kernel cannot do it.
func Open() (*Group, error) {
	fd, err := unix.FanotifyInit(unix.FAN_CLASS_CONTENT|unix.FAN_CLOEXEC|unix.FAN_NONBLOCK|unix.FAN_UNLIMITED_QUEUE|unix.FAN_REPORT_TID,
		unix.O_RDONLY|unix.O_LARGEFILE|unix.O_CLOEXEC)
	switch {
	case err == nil:
		return &Group{fd: fd}, nil
	case errors.Is(err, unix.EPERM):
		return nil, fmt.Errorf("it needs CAP_SYS_ADMIN in the first user namespace: run as root, outside of containers: %w", fs.ErrPermission)
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EINVAL):
		return nil, fmt.Errorf("it needs Linux 5.0 with CONFIG_FANOTIFY_ACCESS_PERMISSIONS: %w", errors.ErrUnsupported)
	}
	return nil, fmt.Errorf("open fanotify group: %w", err)
}

// Mark has the group asked about every execution of a file of the file system
// that path is on, in whatever mount namespace.
func (g *Group) Mark(path string) error {
	err := unix.FanotifyMark(g.fd, unix.FAN_MARK_ADD|unix.FAN_MARK_FILESYSTEM, unix.FAN_OPEN_EXEC_PERM, unix.AT_FDCWD, path)
	if errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("mark file system of %s: it needs Linux 5.0 with CONFIG_FANOTIFY_ACCESS_PERMISSIONS: %w", path, errors.ErrUnsupported)
	}
	if err != nil {
		return fmt.Errorf("mark file system of %s: %w", path, err)
	}
	return nil
}

// Ignore has the group not asked about the execution of the open file any more.
func (g *Group) Ignore(fd int) error {
	return unix.FanotifyMark(g.fd, unix.FAN_MARK_ADD|unix.FAN_MARK_IGNORED_MASK|unix.FAN_MARK_IGNORED_SURV_MODIFY,
		unix.FAN_OPEN_EXEC_PERM, fd, "")
}

// Wait waits until somebody waits for an answer, the socket can be read, the
// mount table changes (its file is /proc/PID/mountinfo, proc_pid_mountinfo(5)),
// or the time is over. It tells of the latter two.
func (g *Group) Wait(timeout time.Duration, socket, mounts int) (readable, changed bool, err error) {
	fds := [...]unix.PollFd{{Fd: int32(g.fd), Events: unix.POLLIN}, {Fd: int32(socket), Events: unix.POLLIN},
		{Fd: int32(mounts), Events: unix.POLLPRI}}
	// A timeout is rounded up, or the last millisecond would be spent looping.
	_, err = unix.Poll(fds[:], int((timeout+time.Millisecond-1)/time.Millisecond))
	if errors.Is(err, unix.EINTR) {
		return false, false, nil
	}
	if err != nil {
		return false, false, fmt.Errorf("poll: %w", err)
	}
	return fds[1].Revents != 0, fds[2].Revents != 0, nil
}

// MaxRead is the largest number of executions that one Read takes.
const MaxRead = 64

// Read appends those who wait and have not been read yet, most of them at most;
// it does not wait. Each takes a descriptor: the kernel refuses the execution
// for which there is none.
func (g *Group) Read(all []Execution, most int) ([]Execution, error) {
	n, err := unix.Read(g.fd, g.buf[:min(most, MaxRead)*unix.FAN_EVENT_METADATA_LEN])
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return all, nil
	case err != nil:
		return all, fmt.Errorf("read fanotify events: %w", err)
	}
	for b := g.buf[:n]; len(b) >= unix.FAN_EVENT_METADATA_LEN; {
		e := (*unix.FanotifyEventMetadata)(unsafe.Pointer(&b[0]))
		if e.Event_len < unix.FAN_EVENT_METADATA_LEN || int(e.Event_len) > len(b) || e.Vers != unix.FANOTIFY_METADATA_VERSION {
			return all, fmt.Errorf("read fanotify events: %w: version %d", errors.ErrUnsupported, e.Vers)
		}
		if e.Fd >= 0 {
			all = append(all, Execution{TID: int(e.Pid), FD: int(e.Fd)})
		}
		b = b[e.Event_len:]
	}
	return all, nil
}

// Allow lets a thread go on and closes the file.
func (g *Group) Allow(e Execution) {
	var r [8]byte // struct fanotify_response
	binary.NativeEndian.PutUint32(r[:], uint32(e.FD))
	binary.NativeEndian.PutUint32(r[4:], unix.FAN_ALLOW)
	_, _ = unix.Write(g.fd, r[:]) // ENOENT: it was killed meanwhile
	_ = unix.Close(e.FD)
}

// Close ends the group: all who wait go on.
func (g *Group) Close() error { return unix.Close(g.fd) }
