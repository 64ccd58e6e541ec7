package corepattern

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"procdump/internal/signals"
	"procdump/live/linux"
	"procdump/snapshot"
)

// source is a crashed process as capture.Job wants it.
type source struct {
	process *snapshot.Process
	begin   time.Time
	close   func() // its memory
	letGo   func() // lets the kernel go on
	stream  bool   // the memory is from the stream
	once    sync.Once
	took    time.Duration
}

func (s *source) Snapshot() *snapshot.Process { return s.process }

// Resume ends the reading. The process stays held until the dump is complete:
// whoever waits for its end finds the dump.
func (s *source) Resume() time.Duration {
	s.once.Do(func() {
		s.took = time.Since(s.begin)
		s.close()
	})
	return s.took
}

func (s *source) LetGo() { s.letGo() }

var errOther = errors.New("/proc shows another process")

// openHeld joins what the kernel's notes say with the process that the kernel
// holds. The caller calls close.
func openHeld(c Crash, core *snapshot.Process) (p *snapshot.Process, close func(), err error) {
	t, err := linux.Open(c.PID, linux.Options{})
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			t.Close()
		}
	}()
	seen := t.Snapshot()
	if !sameProgram(seen.Auxv, core.Auxv) {
		return nil, nil, fmt.Errorf("look at process %d: %w", c.PID, errOther)
	}
	s, err := t.Held(c.TID, joinThreads(seen, core, c))
	if err != nil {
		return nil, nil, err
	}
	p = s.Process
	p.Auxv = core.Auxv
	p.State = 0 // what /proc shows is the dumping
	p.Exception = exceptionOf(core, c)
	return p, func() { s.Resume(); t.Close() }, nil
}

// sameProgram compares auxiliary vectors: every execve(2) makes a new one. That
// of /proc may go on after the end of a 32-bit process's.
func sameProgram(proc, core []byte) bool {
	n := min(len(proc), len(core))
	return n > 0 && bytes.Equal(proc[:n], core[:n])
}

// joinThreads takes the threads from the core, crashed one first, with the
// names that /proc gives them. Their states are those of the dumping.
func joinThreads(p, core *snapshot.Process, c Crash) []snapshot.Thread {
	known := map[int]snapshot.Thread{}
	for _, t := range p.Threads {
		known[t.TID] = t
	}
	outer := outerTIDs(p)
	var out []snapshot.Thread
	for i := range core.Threads {
		t := core.Threads[i]
		if tid, ok := outer[t.TID]; ok {
			t.TID = tid
		}
		if i == 0 {
			t.TID = c.TID
		}
		if k, ok := known[t.TID]; ok {
			t.Name, t.Nice, t.StartTime = k.Name, k.Nice, k.StartTime
			if len(core.Threads) > 1 {
				t.UserTime, t.SystemTime = k.UserTime, k.SystemTime
			}
		}
		out = append(out, t)
	}
	return out
}

// exceptionOf is what killed the process.
func exceptionOf(core *snapshot.Process, c Crash) *snapshot.Exception {
	e := snapshot.Exception{Signal: c.Signal, Addr: core.Threads[0].Registers.PC()}
	if core.Exception != nil {
		e = *core.Exception
	}
	e.TID = c.TID
	return &e
}

// outerTIDs maps the thread IDs that the kernel writes into a core, which are
// those of the process's own PID namespace, to those of the initial one.
func outerTIDs(p *snapshot.Process) map[int]int {
	if len(p.Info.NSPID) < 2 {
		return nil
	}
	out := map[int]int{}
	for _, t := range p.Threads {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/status", p.PID, t.TID))
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(b), "\nNSpid:")
		ids, _, _ := strings.Cut(rest, "\n")
		if f := strings.Fields(ids); len(f) > 0 {
			if inner, err := strconv.Atoi(f[len(f)-1]); err == nil {
				out[inner] = t.TID
			}
		}
	}
	return out
}

// reason is what the dump says of why it was taken.
func reason(p *snapshot.Process) string {
	e := p.Exception
	return "Unhandled exception: " + signals.ExceptionText(e.Signal, int32(e.Code), e.Addr)
}
