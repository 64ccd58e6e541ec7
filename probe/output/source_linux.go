package output

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"procdump/internal/sys/bpf"
	"procdump/internal/sys/procmem"
)

// lineQueue is how many lines wait for the reader of Lines. When it is full,
// the ring buffer of the kernel fills up, and then pieces are lost.
const lineQueue = 1024

// Source reads the output of any number of processes.
type Source struct {
	writes *bpf.Writes
	lines  chan Line
	done   chan struct{}
	ended  chan struct{}
	once   sync.Once
	unread atomic.Uint64 // pieces
	beyond atomic.Uint64 // lines, beyond the limit
}

// Open begins to watch, no process as yet. The error says what is missing. The
// caller closes the Source.
func Open() (*Source, error) {
	w, err := bpf.OpenWrites()
	if err != nil {
		return nil, err
	}
	s := &Source{writes: w, lines: make(chan Line, lineQueue), done: make(chan struct{}), ended: make(chan struct{})}
	go s.run()
	return s, nil
}

// Method says how the output is read, in words.
func (s *Source) Method() string { return s.writes.Method() }

// Add begins to watch a process. procdump cannot watch itself: what it shows
// would be new output.
func (s *Source) Add(pid int) error {
	if pid == os.Getpid() {
		return errors.New("watch output: procdump cannot watch its own")
	}
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err != nil {
		return fmt.Errorf("watch output of process %d: %w", pid, err)
	}
	return s.writes.Watch(pid)
}

// Remove ends the watching of a process. Lines that it has written before may
// still come.
func (s *Source) Remove(pid int) { _ = s.writes.Unwatch(pid) }

// Lines yields the lines in the order in which they were written. It is closed
// by Close.
func (s *Source) Lines() <-chan Line { return s.lines }

// Lost returns how many writes, 4 KiB pieces or lines of them, are missing:
// because they were beyond the limit (see the package comment), because Lines was
// not read fast enough or because their memory could not be read.
func (s *Source) Lost() uint64 { return s.writes.Lost() + s.unread.Load() + s.beyond.Load() }

// Missed returns how many of the lost ones are writes that were not looked at,
// because all watched processes wrote too much (see the package comment). It
// counts their writes to all files.
func (s *Source) Missed() uint64 { return s.writes.Missed() }

// Close ends the watching. The watched processes do not notice.
func (s *Source) Close() {
	s.once.Do(func() {
		close(s.done)
		s.writes.Close()
		<-s.ended
	})
}

func (s *Source) run() {
	defer close(s.ended)
	defer close(s.lines)
	split := newSplitter(func(l Line) {
		select {
		case s.lines <- l:
		case <-s.done:
		}
	})
	var p bpf.Piece
	var until time.Time
	var buf [bpf.PieceBytes]byte
	for {
		err := s.writes.Read(&p, until)
		switch {
		case err == nil:
			if len(p.Data) < p.Size {
				// A page that was not in memory when the program looked, such
				// as a constant's, is there for a reader that may wait for it.
				n, _ := procmem.ReadV(p.PID, buf[:p.Size], []procmem.Vec{{Addr: p.Addr, Size: uint64(p.Size)}})
				p.Data = buf[:n]
				if n < p.Size {
					s.unread.Add(1)
				}
			}
			split.add(p, p.At)
			s.beyond.Store(split.lost)
			if until.IsZero() && split.pending() {
				until = time.Now().Add(partialWait)
			}
		case !errors.Is(err, bpf.ErrTimeout):
			return
		}
		if until.IsZero() {
			continue
		}
		if now := time.Now(); !now.Before(until) {
			until = split.flush(now)
		}
	}
}
