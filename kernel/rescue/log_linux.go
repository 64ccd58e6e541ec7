package rescue

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// kmsgLevel is the level of our lines in the kernel's log: informational.
const kmsgLevel = 6

// logger tells what is done: on the console, in the kernel's log, and in the
// record.
type logger struct {
	mu      sync.Mutex
	start   time.Time
	console *os.File // nil: there is none, or the kernel's log shows there
	kmsg    *os.File // nil: there is none
	lines   []string
	beat    time.Time // of the last progress
}

// maxLines bounds the lines that the record keeps.
const maxLines = 200

func newLogger() *logger { return &logger{start: time.Now(), beat: time.Now()} }

// open opens console and kernel log, once /dev and /proc are mounted.
func (l *logger) open() {
	// The kernel lets a program write ten lines in five seconds, or all of them.
	os.WriteFile("/proc/sys/kernel/printk_devkmsg", []byte("on\n"), 0)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kmsg, _ = os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	level := 0
	if b, err := os.ReadFile("/proc/sys/kernel/printk"); err == nil {
		fmt.Sscan(string(b), &level)
	}
	if l.kmsg == nil || level <= kmsgLevel {
		l.console, _ = os.OpenFile("/dev/console", os.O_WRONLY, 0)
	}
}

// printf tells a line.
func (l *logger) printf(format string, args ...any) {
	line := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "; ")
	l.mu.Lock()
	defer l.mu.Unlock()
	l.beat = time.Now()
	if len(l.lines) < maxLines {
		l.lines = append(l.lines, fmt.Sprintf("[%8.3f] %s", time.Since(l.start).Seconds(), line))
	}
	if l.kmsg != nil {
		fmt.Fprintf(l.kmsg, "<%d>procdump: %s\n", kmsgLevel, line)
	}
	if l.console != nil {
		fmt.Fprintf(l.console, "procdump: %s\r\n", line)
	}
}

// alive notes that there is progress.
func (l *logger) alive() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.beat = time.Now()
}

// idle is how long there has been no progress.
func (l *logger) idle() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Since(l.beat)
}

func (l *logger) said() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.lines...)
}
