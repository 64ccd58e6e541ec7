package execgate

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"

	"procdump/internal/sys/deadman"
	"procdump/internal/sys/fanotify"
	"procdump/internal/sys/procconn"
)

// keeperName is argv[0] of a keeper. No shell starts procdump under such a name
// by accident.
const keeperName = "procdump: holds programs at their execution"

// keeperHeap is the size of the keeper's Go heap, in bytes, from which on
// garbage is collected: rarely, because everybody waits meanwhile.
const keeperHeap = 32 << 20

// The caller's first message are the words, each with a null byte. The
// keeper's is one byte of these, and the text of an error.
const (
	keeperReady byte = iota
	keeperDenied
	keeperUnsupported
	keeperFailed
)

// newcomerSize is the length of a later message: the number of the hold as
// u64, thread and process as u32, in the machine's byte order. The answer is
// the number.
const newcomerSize = 16

// What the keeper is is decided before main: nothing else of procdump may run
// in it.
func init() {
	if len(os.Args) == 2 && os.Args[0] == keeperName {
		if fd, err := strconv.Atoi(os.Args[1]); err == nil {
			keep(fd)
		}
		os.Exit(1)
	}
}

// keeper holds programs until the caller, at the other end of a socket, lets
// them go.
type keeper struct {
	group  *fanotify.Group
	sock   int
	x      executing
	alive  *deadman.Switch
	mounts *os.File // /proc/self/mountinfo
	rescan chan struct{}

	most    int  // how many are held at a time, at most
	silent  bool // the caller has not answered in time: nobody is held
	waiting []fanotify.Execution
	held    []held // the oldest first
	last    uint64
}

// held is a thread that is held.
type held struct {
	fanotify.Execution
	id    uint64
	until time.Time
}

// Each that is held, and each that is read, takes a descriptor, and without one
// to give the kernel refuses the execution.
const (
	maxHeld      = 400
	minHeld      = fanotify.MaxRead
	ownFiles     = 32 // descriptors for all else
	leastKeeping = ownFiles + minHeld + fanotify.MaxRead
)

// holds is how many can be held at a time.
func holds() (int, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, err
	}
	if limit.Cur < leastKeeping {
		return 0, fmt.Errorf("it needs %d descriptors, and the limit is %d: raise it (ulimit -n): %w", leastKeeping, limit.Cur, errors.ErrUnsupported)
	}
	return int(min(limit.Cur-ownFiles-fanotify.MaxRead, maxHeld)), nil
}

// keep is all that the keeper does. It returns when the caller has ended.
func keep(sock int) {
	runtime.LockOSThread()
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(keeperHeap)
	_ = os.WriteFile("/proc/self/comm", []byte("procdump-gate"), 0) // it would be "exe"
	syscall.CloseOnExec(sock)
	words := make([]byte, maxWords)
	n, err := syscall.Read(sock, words)
	if err != nil || syscall.SetNonblock(sock, true) != nil {
		return
	}
	k := &keeper{sock: sock, x: executing{match: newMatcher(splitWords(words[:n])), calls: map[int]seenCall{}}, rescan: make(chan struct{}, 1)}
	if err := k.open(); err != nil {
		kind := keeperFailed
		switch {
		case errors.Is(err, fs.ErrPermission):
			kind = keeperDenied
		case errors.Is(err, errors.ErrUnsupported):
			kind = keeperUnsupported
		}
		_, _ = syscall.Write(sock, append([]byte{kind}, err.Error()...))
		return
	}
	if runtime.NumCPU() > 1 {
		_ = procconn.Urgent() // not permitted: it is slower
	}
	if _, err := syscall.Write(sock, []byte{keeperReady}); err != nil {
		return
	}
	for k.turn(lifeLimit / 8) {
	}
}

// open begins to hold.
func (k *keeper) open() (err error) {
	// The process may hold cred_guard_mutex. Until then that was the very lock
	// that reading its system call and its memory takes (lock_trace, mm_access).
	if !since(5, 7) {
		return fmt.Errorf("it needs Linux 5.7, which lets others read what a process executes: %w", errors.ErrUnsupported)
	}
	if k.most, err = holds(); err != nil {
		return err
	}
	if k.group, err = fanotify.Open(); err != nil {
		return err
	}
	if k.mounts, err = os.Open("/proc/self/mountinfo"); err != nil {
		return err
	}
	if k.alive, err = deadman.Arm(lifeLimit); err != nil {
		return err
	}
	// The marking has a thread of its own, also the first time: from the first
	// mark on somebody must answer.
	m := &marker{proc: "/proc", mark: k.group.Mark}
	first := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		first <- m.scan()
		for range k.rescan {
			began := time.Now()
			_ = m.scan()
			// It is told once for many mounts, and takes a tenth of a CPU at most.
			time.Sleep(max(20*time.Millisecond, 9*time.Since(began)))
		}
	}()
	for {
		select {
		case err := <-first:
			return err
		default:
			if !k.turn(time.Millisecond) {
				return errors.New("the caller has ended")
			}
		}
	}
}

// turn waits for something to do, for that long at most, and does it. It tells
// whether the caller is still there.
func (k *keeper) turn(longest time.Duration) bool {
	_ = k.alive.Alive()
	if len(k.held) > 0 {
		longest = min(longest, max(0, time.Until(k.held[0].until)))
	}
	readable, changed, err := k.group.Wait(longest, k.sock, int(k.mounts.Fd()))
	if err != nil || readable && !k.answers() {
		return false
	}
	if changed {
		select {
		case k.rescan <- struct{}{}:
		default:
		}
	}
	if k.waiting, err = k.group.Read(k.waiting[:0], fanotify.MaxRead); err != nil {
		return false
	}
	for _, e := range k.waiting {
		k.arrived(e)
	}
	now := time.Now()
	for len(k.held) > 0 && !now.Before(k.held[0].until) {
		k.silent = true
		k.group.Allow(k.held[0].Execution)
		k.held = k.held[1:]
	}
	return true
}

// arrived holds a thread or lets it go on.
func (k *keeper) arrived(e fanotify.Execution) {
	if k.x.linker(e.FD) {
		// The program that needs it has been seen to.
		_ = k.group.Ignore(e.FD)
		k.group.Allow(e)
		return
	}
	// Threads of other PID namespaces have no number here.
	if e.TID <= 0 || k.silent || len(k.held) >= k.most || !k.x.wanted(e.TID, e.FD) {
		k.group.Allow(e)
		return
	}
	k.last++
	var msg [newcomerSize]byte
	binary.NativeEndian.PutUint64(msg[:], k.last)
	binary.NativeEndian.PutUint32(msg[8:], uint32(e.TID))
	binary.NativeEndian.PutUint32(msg[12:], uint32(processOf(e.TID)))
	if _, err := syscall.Write(k.sock, msg[:]); err != nil {
		k.group.Allow(e) // the caller is too slow, or has ended
		return
	}
	k.held = append(k.held, held{e, k.last, time.Now().Add(HoldLimit)})
}

// processOf gives the process of a thread: the thread itself, nearly always.
func processOf(tid int) int {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(tid) + "/status")
	if err != nil {
		return tid
	}
	for line := range bytes.Lines(text) {
		if rest, ok := bytes.CutPrefix(line, []byte("Tgid:")); ok {
			if pid, err := strconv.Atoi(string(bytes.TrimSpace(rest))); err == nil {
				return pid
			}
		}
	}
	return tid
}

// answers lets those go on that the caller has seen to. It tells whether there
// is still a caller.
func (k *keeper) answers() bool {
	var msg [8]byte
	for {
		n, err := syscall.Read(k.sock, msg[:])
		switch {
		case err == syscall.EAGAIN || err == syscall.EINTR:
			return true
		case err != nil || n == 0:
			return false
		case n != len(msg):
			continue
		}
		k.silent = false
		id := binary.NativeEndian.Uint64(msg[:])
		for i := range k.held {
			if k.held[i].id == id {
				k.group.Allow(k.held[i].Execution)
				k.held = append(k.held[:i], k.held[i+1:]...)
				break
			}
		}
	}
}

// since tells whether the kernel is of this version or a later one.
func since(major, minor int) bool {
	var u syscall.Utsname
	if syscall.Uname(&u) != nil {
		return false
	}
	var release []byte
	for _, c := range u.Release {
		if c == 0 {
			break
		}
		release = append(release, byte(c))
	}
	var a, b int
	_, err := fmt.Sscanf(string(release), "%d.%d", &a, &b)
	return err == nil && (a > major || a == major && b >= minor)
}

// IsKeeper tells whether a process holds programs for some procdump.
func IsKeeper(pid int) bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	return err == nil && bytes.HasPrefix(text, []byte(keeperName+"\x00"))
}
