package hang

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// DState watches for a thread in uninterruptible sleep (state D): one that
// waits in the kernel, mostly for a disk or a network file system, and that no
// signal wakes, not even SIGKILL.
//
// Being in state D at each look does not make a thread hung: one that reads a
// slow disk all the time is, too. As the kernel's own detector does
// (kernel/hung_task.c), it is hung if it has not been switched to meanwhile.
type DState struct {
	proc    string
	pid     int
	limit   time.Duration
	stat    *os.File // of the process; reading it fails once it has ended
	buf     []byte
	blocked map[int]blocked
}

// blocked is a thread in state D.
type blocked struct {
	since    time.Time
	switches uint64 // context switches so far
}

// OpenDState prepares watching a process; proc is the root of the proc file
// system, "" for /proc.
func OpenDState(proc string, pid int) (*DState, error) {
	if proc == "" {
		proc = "/proc"
	}
	d := &DState{proc: proc, pid: pid, limit: Limit, buf: make([]byte, 64<<10), blocked: map[int]blocked{}}
	var err error
	if d.stat, err = os.Open(filepath.Join(proc, strconv.Itoa(pid), "stat")); err != nil {
		return nil, fmt.Errorf("watch for uninterruptible sleep: %w", d.gone(err))
	}
	return d, nil
}

// Close ends the watch.
func (d *DState) Close() error { return d.stat.Close() }

// Forget drops what was seen.
func (d *DState) Forget() { clear(d.blocked) }

// Check looks at every thread once.
func (d *DState) Check(now time.Time) (State, string, error) {
	n, err := d.stat.ReadAt(d.buf, 0)
	if err != nil && err != io.EOF {
		return Unknown, "", fmt.Errorf("watch for uninterruptible sleep: %w", d.gone(err))
	}
	state, threads, ok := threadStat(d.buf[:n])
	if !ok {
		return Unknown, "", fmt.Errorf("watch for uninterruptible sleep: %s is not a stat line", d.stat.Name())
	}
	tids := []string{strconv.Itoa(d.pid)}
	if threads > 1 || state == 'Z' {
		if tids, err = readNames(d.path("task")); err != nil {
			return Unknown, "", fmt.Errorf("watch for uninterruptible sleep: %w", d.gone(err))
		}
	} else if state != 'D' {
		clear(d.blocked)
		return Answering, "", nil
	}
	present := make(map[int]bool)
	worst := 0 // the thread that has slept longest
	for _, name := range tids {
		tid, err := strconv.Atoi(name)
		if err != nil || !d.look(now, tid, name) {
			continue
		}
		present[tid] = true
		if worst == 0 || d.blocked[tid].since.Before(d.blocked[worst].since) {
			worst = tid
		}
	}
	for tid := range d.blocked {
		if !present[tid] {
			delete(d.blocked, tid)
		}
	}
	if worst == 0 {
		return Answering, "", nil
	}
	age := now.Sub(d.blocked[worst].since)
	reason := d.reason(worst, age)
	if age >= d.limit {
		return Hung, reason, nil
	}
	return Silent, reason, nil
}

func (d *DState) path(elem ...string) string {
	return filepath.Join(append([]string{d.proc, strconv.Itoa(d.pid)}, elem...)...)
}

// look tells whether a thread is in state D, and notes since when.
func (d *DState) look(now time.Time, tid int, name string) bool {
	text, ok := d.read(d.path("task", name, "stat"))
	if !ok {
		return false // the thread has ended
	}
	if state, _, ok := threadStat(text); !ok || state != 'D' {
		return false
	}
	// What a control group's freezer holds looks the same, but waits for
	// nothing (__refrigerator of version 1, do_freezer_trap of version 2).
	switch d.wchan(name) {
	case "__refrigerator", "do_freezer_trap":
		return false
	}
	text, ok = d.read(d.path("task", name, "status"))
	if !ok {
		return false
	}
	voluntary, ok := statusNumber(text, "voluntary_ctxt_switches:")
	forced, found := statusNumber(text, "nonvoluntary_ctxt_switches:")
	if !ok || !found {
		return false
	}
	switches := voluntary + forced
	if b, ok := d.blocked[tid]; ok && b.switches == switches {
		return true
	}
	d.blocked[tid] = blocked{since: now, switches: switches}
	return true
}

// wchan is the kernel function in which a thread sleeps; "" if unknown: it is
// shown only to those who may trace the process.
func (d *DState) wchan(tid string) string {
	text, ok := d.read(d.path("task", tid, "wchan"))
	if !ok || string(text) == "0" {
		return ""
	}
	return strings.TrimSpace(string(text))
}

func (d *DState) reason(tid int, age time.Duration) string {
	name := strconv.Itoa(tid)
	thread := "thread " + name
	if comm, ok := d.read(d.path("task", name, "comm")); ok {
		thread += fmt.Sprintf(" (%s)", bytes.TrimSpace(comm))
	}
	if where := d.wchan(name); where != "" {
		return fmt.Sprintf("%s in uninterruptible sleep (state D) in %s for %s", thread, where, seconds(age))
	}
	return fmt.Sprintf("%s in uninterruptible sleep (state D) for %s", thread, seconds(age))
}

// read reads a small file into the buffer, where it stays until the next one.
func (d *DState) read(path string) ([]byte, bool) {
	f, err := os.Open(path)
	if err != nil {
		return nil, false
	}
	defer f.Close()
	n, err := f.Read(d.buf)
	return d.buf[:n], err == nil || err == io.EOF
}

// gone makes ErrGone of the errors of files of a process that has ended.
func (d *DState) gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || isNoProcess(err) {
		return fmt.Errorf("%w: PID %d", ErrGone, d.pid)
	}
	return err
}

func readNames(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}

// threadStat takes the state and the number of threads from a stat line
// (proc_pid_stat(5)). The name is in parentheses and may hold some itself.
func threadStat(text []byte) (state byte, threads int, ok bool) {
	i := bytes.LastIndexByte(text, ')')
	if i < 0 {
		return 0, 0, false
	}
	fields := bytes.Fields(text[i+1:])
	if len(fields) < 18 || len(fields[0]) != 1 {
		return 0, 0, false
	}
	n, err := strconv.Atoi(string(fields[20-3]))
	return fields[0][0], n, err == nil
}

// statusNumber is the number of a line of /proc/PID/status.
func statusNumber(text []byte, key string) (uint64, bool) {
	for line := range bytes.Lines(text) {
		if rest, ok := bytes.CutPrefix(line, []byte(key)); ok {
			n, err := strconv.ParseUint(string(bytes.TrimSpace(rest)), 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}
