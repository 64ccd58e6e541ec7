package rescue

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"procdump/internal/sys/kmsg"
)

// logger tells what is done: on the console, in the kernel's log, and in the
// record.
type logger struct {
	mu      sync.Mutex
	start   time.Time
	console *os.File // nil: there is none, or the kernel's log shows there
	kmsg    *os.File // nil: there is none
	lines   []string
	// beat is the time of the last progress, in nanoseconds since start. It has
	// no lock: who asks for it must not wait for a console that hangs.
	beat atomic.Int64
}

// maxLines bounds the lines that the record keeps.
const maxLines = 200

func newLogger() *logger { return &logger{start: time.Now()} }

// open opens console and kernel log, once /dev and /proc are mounted.
func (l *logger) open() {
	// The kernel lets a program write ten lines in five seconds, or all of them.
	os.WriteFile("/proc/sys/kernel/printk_devkmsg", []byte("on\n"), 0)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kmsg, _ = os.OpenFile(kmsg.File, os.O_WRONLY, 0)
	level := 0
	if b, err := os.ReadFile("/proc/sys/kernel/printk"); err == nil {
		fmt.Sscan(string(b), &level)
	}
	if l.kmsg == nil || level <= int(kmsg.Info) {
		l.console, _ = os.OpenFile("/dev/console", os.O_WRONLY, 0)
	}
}

// printf tells a line.
func (l *logger) printf(format string, args ...any) {
	line := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "; ")
	l.alive()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.lines) < maxLines {
		l.lines = append(l.lines, fmt.Sprintf("[%8.3f] %s", time.Since(l.start).Seconds(), line))
	}
	if l.kmsg != nil {
		_ = kmsg.Write(l.kmsg, kmsg.Info, line) // the record has the line as well
	}
	if l.console != nil {
		fmt.Fprintf(l.console, "procdump: %s\r\n", line)
	}
}

// alive notes that there is progress.
func (l *logger) alive() { l.beat.Store(int64(time.Since(l.start))) }

// last tells a line, but waits for the console no longer than that.
func (l *logger) last(limit time.Duration, format string, args ...any) {
	told := make(chan struct{})
	go func() {
		defer close(told)
		l.printf(format, args...)
	}()
	select {
	case <-told:
	case <-time.After(limit):
	}
}

// idle is how long there has been no progress.
func (l *logger) idle() time.Duration { return time.Since(l.start) - time.Duration(l.beat.Load()) }

func (l *logger) said() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.lines...)
}
