package bpf

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

// flow is what a watched process writes.
type flow struct {
	pid   int
	io    *os.File // /proc/PID/io, from when it is needed
	calls int64    // writes to whatever file, as last counted by the kernel

	// Whether it writes too much.
	from    time.Time // since then
	base    uint64    // and from this number of writes that were not read
	again   time.Time // until then it is known for it
	suspect bool      // perhaps it does: half-way
	skips   uint64    // so many were not read
	before  int64     // of so many altogether

	// What it writes while the programs are detached.
	begun bool
	noted uint64 // the drift, as a program noted it
	exact bool   // it can be noted
	drift int64  // when that began
	pace  int64  // calls at the last look
}

// usedSlack is how late the programs' time may be: by a tick of the kernel's timer.
const usedSlack = int64(10 * time.Millisecond)

// floods tells whether a process writes more than programs may see. monotonic
// is the time by which the limit goes.
func (f *flow) floods(l *limiter, now time.Time, monotonic int64) bool {
	skips := l.word(f.pid, accSkipped).Load()
	if now.Sub(f.from) > pauseWindow {
		f.from, f.base, f.suspect = now, skips, false
		return false
	}
	known := now.Before(f.again)
	if skips == f.base || !known && skips-f.base < pauseSkips/2 || l.mostUsed(f.pid)+usedSlack < monotonic {
		return false
	}
	if known {
		return true
	}
	if !f.suspect {
		f.suspect, f.skips = f.count(), skips
		f.before = f.calls
		return false
	}
	if skips-f.base < pauseSkips || !f.count() {
		return false
	}
	// The kernel does not count send(2) and its like: it could not be told how
	// many were missed.
	if f.calls-f.before < int64(skips-f.skips)/2 {
		f.from = time.Time{}
		return false
	}
	return true
}

// begin notes how much the process has written when the programs were detached.
func (f *flow) begin(l *limiter) {
	f.begun = true
	f.count()
	f.pace = f.calls
	f.exact = f.noted&1 != 0
	f.drift = int64(f.noted) >> 1
	if !f.exact {
		f.drift = f.calls - l.seen(f.pid)
	}
}

// count asks the kernel how many writes there were. It reports false if the
// process has ended, or the kernel does not say.
func (f *flow) count() bool {
	if f.io == nil {
		io, err := os.Open(fmt.Sprintf("/proc/%d/io", f.pid))
		if err != nil {
			return false
		}
		f.io = io
	}
	var buf [512]byte
	n, _ := f.io.ReadAt(buf[:], 0)
	_, rest, ok := bytes.Cut(buf[:n], []byte("\nsyscw: "))
	if !ok {
		return false
	}
	digits, _, _ := bytes.Cut(rest, []byte("\n"))
	calls, err := strconv.ParseInt(string(digits), 10, 64)
	if err == nil {
		f.calls = calls
	}
	return err == nil
}

func (f *flow) close() {
	if f.io != nil {
		_ = f.io.Close()
	}
}
