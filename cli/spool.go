package cli

import (
	"io"
	"sync"
)

// spool writes texts in the order in which they were put, from a goroutine of
// its own: whoever puts one never waits for a terminal that is held (Ctrl-S)
// or a pipe that nobody reads, since a target may be stopped meanwhile.
type spool struct {
	mu      sync.Mutex
	changed sync.Cond // items, writing or closed
	items   []spoolItem
	writing bool
	closed  bool
}

type spoolItem struct {
	w    io.Writer
	text []byte
}

func newSpool() *spool {
	s := new(spool)
	s.changed.L = &s.mu
	go s.run()
	return s
}

// put queues text for w. Errors of w are not reported: there is nobody to
// report them to.
func (s *spool) put(w io.Writer, text []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.items = append(s.items, spoolItem{w, text})
	s.changed.Broadcast()
}

// idle tells whether all that was put has been written.
func (s *spool) idle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.items) == 0 && !s.writing
}

// length is how many texts wait to be written.
func (s *spool) length() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.items)
}

// flush waits until all that was put has been written.
func (s *spool) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.items) > 0 || s.writing {
		s.changed.Wait()
	}
}

// close flushes and ends the goroutine. What is put later is dropped.
func (s *spool) close() {
	s.mu.Lock()
	s.closed = true
	s.changed.Broadcast()
	s.mu.Unlock()
	s.flush()
}

func (s *spool) run() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for len(s.items) == 0 {
			if s.closed {
				return
			}
			s.changed.Wait()
		}
		item := s.items[0]
		s.items[0] = spoolItem{}
		s.items = s.items[1:]
		s.writing = true
		s.mu.Unlock()
		item.w.Write(item.text)
		s.mu.Lock()
		s.writing = false
		s.changed.Broadcast()
	}
}
