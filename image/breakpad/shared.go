package breakpad

import (
	"bufio"
	"errors"
	"io"
)

// What the symbol files of a process may cost together.
const (
	maxRecords = 2 << 20   // functions, public symbols, frames and names that are remembered, of 24 bytes
	maxPasses  = 4 << 30   // bytes that are looked through for them
	maxWork    = 256 << 20 // bytes that are read, and steps that are done, for what is asked then
	maxKept    = 1 << 19   // lines and inlined ranges of the functions that are kept, of 32 and 56 bytes
)

// errWork means that a bound of what the files may cost is reached.
var errWork = errors.New("the symbol files of the process are too large")

// Shared is what the symbol files of one process share: how much they may still
// cost, and the functions that were read last.
type Shared struct {
	records      int
	passes, work int64
	lines        *bufio.Reader
	bodies       map[place]*function
	kept         int
}

// place is that of a record.
type place struct {
	file *File
	at   int64
}

// NewShared returns what the files of a process share.
func NewShared() *Shared {
	return &Shared{records: maxRecords, passes: maxPasses, work: maxWork, bodies: map[place]*function{}, lines: bufio.NewReaderSize(nil, maxLine)}
}

// Exhausted tells that the files were asked for more than they may cost: what is
// asked from now on is not known.
func (s *Shared) Exhausted() bool { return s.work <= 0 }

// keep remembers a function.
func (s *Shared) keep(at place, fn *function) {
	n := 1
	if fn != nil {
		n += len(fn.lines) + len(fn.inline)
	}
	if s.kept += n; s.kept > maxKept {
		clear(s.bodies)
		s.kept = n
	}
	s.bodies[at] = fn
}

// reading is a part of a file that is read in steps, which costs as many bytes of
// what is left.
type reading struct {
	from, size int64
	step       int
	left       *int64
}

// source reads it.
type source struct {
	r io.ReaderAt
	reading
}

func (s *source) Read(b []byte) (int, error) {
	switch {
	case s.size <= 0:
		return 0, io.EOF
	case *s.left <= 0:
		return 0, errWork
	}
	n, err := s.r.ReadAt(b[:min(int64(len(b)), int64(s.step), s.size)], s.from)
	s.from, s.size, *s.left = s.from+int64(n), s.size-int64(n), *s.left-int64(n)
	if n > 0 {
		err = nil
	}
	return n, err
}
