package corepattern

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"procdump/capture"
	"procdump/internal/signals"
	"procdump/internal/sys/fsys"
	"procdump/snapshot"
)

// Exit codes of a handler. The kernel ignores them.
const (
	exitDumped = 0
	exitLost   = 1
)

// lastResort is how long after the time limit a handler ends that hangs.
const lastResort = 10 * time.Second

var errTimeLimit = errors.New("the time limit for a crash is over")

// Handle is the program that the kernel starts for a crash, with the arguments
// after Switch and the core in stdin, which it closes. It returns the exit code
// and ends this process itself where it hangs.
func (s System) Handle(ctx context.Context, args []string, stdin *os.File) (code int) {
	h := &handler{system: s, args: args, stdin: stdin, began: time.Now(), journal: journal{now: time.Now}}
	defer stdin.Close()
	defer func() {
		if r := recover(); r != nil {
			h.journal.lost(fmt.Sprintf("crash of %v not dumped: internal error: %v\n%s", h.crash, r, debug.Stack()))
			code = exitLost
		}
	}()
	if err := h.start(); err != nil {
		h.journal.lost("crash not dumped: " + err.Error())
		return exitLost
	}
	limit := h.set.TimeLimit
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errTimeLimit)
	defer cancel()
	hard := time.AfterFunc(limit+lastResort, func() {
		h.journal.lost(fmt.Sprintf("%s not dumped: it hung for longer than %v", h, limit))
		os.Exit(exitLost)
	})
	defer hard.Stop()
	if err := h.run(ctx); err != nil {
		h.journal.lost(fmt.Sprintf("%s not dumped: %v", h, err))
		return exitLost
	}
	return exitDumped
}

// handler is the handling of one crash.
type handler struct {
	system  System
	args    []string
	stdin   *os.File
	began   time.Time
	journal journal
	set     Settings
	mask    capture.Mask
	crash   Crash
	name    string            // of the process
	what    string            // signal and code, as far as known
	head    []byte            // of the core
	core    *snapshot.Process // what it says
}

func (h *handler) String() string {
	return fmt.Sprintf("%s (%d), user %d, %s", h.name, h.crash.PID, h.crash.UID, h.what)
}

// start reads the settings and arguments.
func (h *handler) start() error {
	var err error
	if h.crash, err = parseCrash(h.args); err != nil {
		return err
	}
	h.name, h.what = processName(h.crash), signals.Name(h.crash.Signal)
	st, err := h.system.readState()
	if err != nil {
		return fmt.Errorf("%v: %w", h, err)
	}
	h.set = st.Settings
	if err := checkFolder(h.set.Folder); err != nil {
		return fmt.Errorf("%v: %w", h, err)
	}
	h.journal.folder = h.set.Folder
	h.mask, err = h.set.mask()
	return err
}

// processName is the process's name: the kernel gives that of the thread.
func processName(c Crash) string {
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", c.PID))
	if err != nil {
		return c.Name
	}
	return strings.TrimSuffix(string(name), "\n")
}

// run dumps the process.
func (h *handler) run(ctx context.Context) error {
	if err := h.allow(ctx); err != nil {
		return err
	}
	slot, err := takeSlot(ctx, h.system.stateDir(), h.set.Parallel)
	if err != nil {
		return err
	}
	defer slot.Close()
	src, err := h.open(ctx)
	if err != nil {
		return err
	}
	defer src.Resume()
	return h.dump(ctx, src)
}

// allow applies the limit of crashes per minute.
func (h *handler) allow(ctx context.Context) error {
	if h.set.PerMinute == 0 {
		return nil
	}
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", h.crash.PID))
	if err != nil {
		exe = h.crash.Name
	}
	return h.ledger(ctx, false, func(l *ledger) error {
		if !l.allow(exe, h.set.PerMinute, time.Now()) {
			return fmt.Errorf("%s has crashed %d times within a minute, which is the limit", exe, h.set.PerMinute)
		}
		return nil
	})
}

// finish gives a dump to its owner and tells of it.
func (h *handler) finish(r capture.Result) {
	uid, gid := h.crash.owner(r.Process.Texts["status"])
	text := fmt.Sprintf("%v: %s, %s on disk, %.2f s", h, r.Path, capture.Bytes(uint64(r.Disk)), time.Since(h.began).Seconds())
	if err := os.Lchown(r.Path, uid, gid); err != nil {
		text += fmt.Sprintf("; it stays root's: %v", err)
	}
	if w := append(r.Warnings, r.Process.Info.Warnings...); len(w) > 0 {
		text += "; " + strings.Join(w, "; ")
	}
	h.journal.dumped(text)
}

// ledger runs f with the folder's ledger locked and writes what it changed.
func (h *handler) ledger(ctx context.Context, durable bool, f func(*ledger) error) error {
	lock, err := lockFile(ctx, filepath.Join(h.system.stateDir(), "lock.ledger"))
	if err != nil {
		return err
	}
	defer lock.Close()
	l := readLedger(h.set.Folder)
	return errors.Join(f(l), l.write(durable))
}

// reserve makes room for a dump of need bytes, waiting for handlers at work
// where they have reserved it.
func (h *handler) reserve(ctx context.Context, need uint64) error {
	for {
		err := h.ledger(ctx, false, func(l *ledger) error {
			now := time.Now()
			l.refresh(now, alive)
			free, err := fsys.Free(h.set.Folder)
			if err != nil {
				free = 1 << 62 // not known here
			}
			gone, err := l.makeRoom(h.set.Keep, need, uint64(free), now)
			h.tellRemoved(gone)
			if err == nil {
				l.Reserved = append(l.Reserved, reservation{PID: os.Getpid(), Bytes: need, Until: h.began.Add(h.set.TimeLimit + lastResort)})
			}
			return err
		})
		if !errors.Is(err, errWait) {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// settle gives the reservation back and lists the dumps. It happens whatever
// became of them, even after the time limit.
func (h *handler) settle(paths []string) {
	ctx, cancel := context.WithTimeout(context.Background(), lastResort)
	defer cancel()
	err := h.ledger(ctx, true, func(l *ledger) error {
		now := time.Now()
		l.release(os.Getpid())
		for _, p := range paths {
			l.add(p, now)
		}
		l.refresh(now, alive)
		// What the dumps have become in truth may be more than was thought.
		// That there is no room for a next one is the next one's matter.
		gone, _ := l.makeRoom(h.set.Keep, 0, 1<<62, now)
		h.tellRemoved(gone)
		return nil
	})
	if err != nil {
		h.journal.lost(fmt.Sprintf("%v: its dump is not counted: %v", h, err))
	}
}

func (h *handler) tellRemoved(gone []removed) {
	for _, r := range gone {
		h.journal.lost(fmt.Sprintf("removed %s: %s", filepath.Join(h.set.Folder, r.Name), r.Why))
	}
}
