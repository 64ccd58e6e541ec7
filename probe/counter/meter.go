package counter

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"procdump/internal/sys/fsys"
)

// mode is how readings become a value.
type mode int

const (
	gauge mode = iota // the reading
	rate              // its change per second
	ratio             // its change by the change of a second number
)

// reading is what a file says at one time.
type reading struct {
	num, den float64 // den only for a ratio
	at       time.Time
	none     bool // there is no reading yet
}

// sampler reads what a counter is made of.
type sampler interface {
	sample(now time.Time) (reading, error)
	Close() error
}

// meter makes values of readings.
type meter struct {
	name  string
	from  sampler
	mode  mode
	scale float64 // of the value; 0 is 1
	idle  bool    // a ratio by nothing is 0, not unknown

	last reading // the one before; its at is zero if there was none
	v    float64 // the last value, if ok
	ok   bool
}

// try reads once and forgets it.
func (m *meter) try() error {
	_, err := m.from.sample(time.Time{})
	return err
}

func (m *meter) Close() error { return m.from.Close() }

func (m *meter) Read(now time.Time) (float64, bool, error) {
	r, err := m.from.sample(now)
	if err != nil {
		return 0, false, fmt.Errorf("read counter %s: %w", m.name, err)
	}
	if r.none {
		return 0, false, nil
	}
	scale := m.scale
	if scale == 0 {
		scale = 1
	}
	if m.mode == gauge {
		v := r.num * scale
		return v, !math.IsNaN(v), nil
	}
	if !m.last.at.IsZero() && r.at.Equal(m.last.at) {
		return m.v, m.ok, nil // the same reading again
	}
	change, by := r.num-m.last.num, r.den-m.last.den
	if m.mode == rate {
		by = r.at.Sub(m.last.at).Seconds()
	}
	first := m.last.at.IsZero()
	switch {
	case !first && by == 0 && m.mode == ratio && !m.idle:
		// Not one tick has passed: measure from the same reading later.
		return m.v, m.ok, nil
	case first, change < 0, by < 0, math.IsNaN(change), math.IsNaN(by), by == 0 && !m.idle:
		// Numbers that fell belong to something that began anew.
		m.v, m.ok = 0, false
	case by == 0:
		m.v, m.ok = 0, true
	default:
		m.v, m.ok = change/by*scale, true
	}
	m.last = r
	return m.v, m.ok, nil
}

// get takes the numbers from the text of a file.
type get func(text []byte) (num, den float64, err error)

// file is a sampler of a file that is kept open and read anew each time.
type file struct {
	e   Env
	pid int // whose file it is; 0 is the machine's
	f   *os.File
	buf []byte
	get get
}

// maxFile bounds what is read of one file, in bytes. /proc/stat of 1,000
// processors with their interrupts is below 1 MiB.
const maxFile = 16 << 20

func openFile(e Env, pid int, path string, g get) (sampler, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, gone(e, pid, err)
	}
	if err := fsys.MayKeep(int(f.Fd())); err != nil {
		f.Close()
		return nil, fmt.Errorf("keep %s open: %w", path, err)
	}
	return &file{e: e, pid: pid, f: f, buf: make([]byte, 2048), get: g}, nil
}

func (f *file) Close() error { return f.f.Close() }

func (f *file) sample(now time.Time) (reading, error) {
	text, err := f.text()
	if err != nil {
		return reading{}, gone(f.e, f.pid, err)
	}
	num, den, err := f.get(text)
	if err != nil {
		return reading{}, fmt.Errorf("%s: %w", f.f.Name(), err)
	}
	return reading{num: num, den: den, at: now}, nil
}

// text reads the whole file into the buffer, which grows to what it needs.
func (f *file) text() ([]byte, error) {
	for {
		n, err := f.f.ReadAt(f.buf, 0)
		switch {
		case err == io.EOF:
			return f.buf[:n], nil
		case err != nil:
			return nil, err
		case len(f.buf) >= maxFile:
			return nil, fmt.Errorf("%s is longer than 16 MiB", f.f.Name())
		}
		f.buf = make([]byte, min(4*len(f.buf), maxFile))
	}
}

// of is a path under /proc/PID.
func (e Env) of(pid int, name string) string {
	return filepath.Join(e.Proc, strconv.Itoa(pid), name)
}

// isGone tells whether an error may mean that a process is no more.
func isGone(err error) bool { return errors.Is(err, fs.ErrNotExist) || isNoProcess(err) }

// errNoField means that a file lacks what the counter is made of.
var errNoField = fmt.Errorf("not in this kernel's file: %w", errors.ErrUnsupported)

// field returns the n-th blank-separated field of a line, from 0.
func field(line []byte, n int) []byte {
	for {
		line = bytes.TrimLeft(line, " \t")
		end := bytes.IndexAny(line, " \t\n")
		if end < 0 {
			end = len(line)
		}
		if n == 0 || end == len(line) {
			if n > 0 {
				return nil
			}
			return line[:end]
		}
		if line[end] == '\n' {
			return nil
		}
		line, n = line[end:], n-1
	}
}

// number reads a decimal number without making a string on the heap.
func number(b []byte) (float64, bool) {
	if len(b) == 0 {
		return 0, false
	}
	var n uint64
	for i, c := range b {
		if c < '0' || c > '9' || i > 18 {
			v, err := strconv.ParseFloat(string(b), 64)
			return v, err == nil && !math.IsInf(v, 0)
		}
		n = 10*n + uint64(c-'0')
	}
	return float64(n), true
}

func cutLine(text []byte) (line, rest []byte) {
	if i := bytes.IndexByte(text, '\n'); i >= 0 {
		return text[:i], text[i+1:]
	}
	return text, nil
}

// keyed finds the line that begins with key and a colon or a blank, and
// returns what follows.
func keyed(text []byte, key string) ([]byte, bool) {
	for len(text) > 0 {
		var line []byte
		line, text = cutLine(text)
		line = bytes.TrimLeft(line, " ")
		if len(line) <= len(key) || string(line[:len(key)]) != key {
			continue
		}
		rest := line[len(key):]
		if trimmed := bytes.TrimLeft(rest, " \t"); len(trimmed) > 0 && trimmed[0] == ':' {
			return trimmed[1:], true
		}
		if rest[0] == ' ' || rest[0] == '\t' {
			return rest, true
		}
	}
	return nil, false
}

// keyedNumber returns the number of a line, in bytes if it says kB.
func keyedNumber(text []byte, key string) (float64, bool) {
	rest, ok := keyed(text, key)
	if !ok {
		return 0, false
	}
	v, ok := number(field(rest, 0))
	if string(field(rest, 1)) == "kB" {
		v *= 1024
	}
	return v, ok
}
