// Package psi reads pressure stall information: the share of time in which
// tasks waited for a processor, for memory or for I/O, of the machine
// (/proc/pressure/cpu) or of a control group (cpu.pressure).
//
// A file has a "some" line and mostly a "full" one, as the kernel's
// Documentation/accounting/psi.rst describes:
//
//	some avg10=0.34 avg60=1.32 avg300=5.47 total=2917466231
//	full avg10=0.00 avg60=0.00 avg300=0.00 total=0
//
// "some" is the time in which at least one task waited, "full" that in which
// all of them did. The averages are percentages over 10, 60 and 300 seconds,
// total is in microseconds since boot. The kernel brings the averages up to
// date every two seconds.
package psi

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
	"strings"
	"time"

	"procdump/internal/sys/fsys"
)

// ErrOff means that the kernel keeps no pressure information: it was built
// without CONFIG_PSI, or with CONFIG_PSI_DEFAULT_DISABLED and booted without
// psi=1.
var ErrOff = fmt.Errorf("no pressure stall information: %w", errors.ErrUnsupported)

// ErrFormat means that the text is not that of a pressure file.
var ErrFormat = errors.New("psi: not a pressure file")

// Line is one line of a pressure file.
type Line struct {
	Avg10, Avg60, Avg300 float64       // percent
	Total                time.Duration // since boot
}

// Value returns the number that the file calls name: avg10, avg60 and avg300 in
// percent, total in microseconds.
func (l Line) Value(name string) (float64, bool) {
	switch name {
	case "avg10":
		return l.Avg10, true
	case "avg60":
		return l.Avg60, true
	case "avg300":
		return l.Avg300, true
	case "total":
		return float64(l.Total.Microseconds()), true
	}
	return 0, false
}

// Pressure is what a pressure file holds. Either line may be missing:
// irq.pressure has only "full", and kernels before 5.13 have no "full" for cpu.
type Pressure struct {
	Some, Full       Line
	HasSome, HasFull bool
}

// Line returns the line that the file calls kind, some or full.
func (p Pressure) Line(kind string) (Line, bool) {
	switch kind {
	case "some":
		return p.Some, p.HasSome
	case "full":
		return p.Full, p.HasFull
	}
	return Line{}, false
}

// Parse reads the text of a pressure file. Fields and lines that it does not
// know are passed over; a line of its own that is damaged is ErrFormat.
func Parse(text []byte) (Pressure, error) {
	var p Pressure
	for len(text) > 0 {
		var line []byte
		line, text = cutLine(text)
		switch kind, rest := cutField(line); string(kind) {
		case "some":
			if err := p.Some.parse(rest); err != nil {
				return Pressure{}, err
			}
			p.HasSome = true
		case "full":
			if err := p.Full.parse(rest); err != nil {
				return Pressure{}, err
			}
			p.HasFull = true
		}
	}
	if !p.HasSome && !p.HasFull {
		return Pressure{}, ErrFormat
	}
	return p, nil
}

// parse reads the fields that follow the line's kind. All four must be there.
func (l *Line) parse(fields []byte) error {
	seen := 0
	for len(fields) > 0 {
		var field []byte
		field, fields = cutField(fields)
		name, value, ok := bytes.Cut(field, []byte("="))
		if !ok {
			return fmt.Errorf("%w: field %q", ErrFormat, field)
		}
		var to *float64
		switch string(name) {
		case "avg10":
			to = &l.Avg10
		case "avg60":
			to = &l.Avg60
		case "avg300":
			to = &l.Avg300
		case "total":
			us, err := strconv.ParseUint(string(value), 10, 64)
			if err != nil || us > math.MaxInt64/1000 {
				return fmt.Errorf("%w: field %q", ErrFormat, field)
			}
			l.Total = time.Duration(us) * time.Microsecond
			seen++
			continue
		default:
			continue
		}
		v, err := strconv.ParseFloat(string(value), 64)
		if err != nil || math.IsNaN(v) || math.IsInf(v, 0) || v < 0 {
			return fmt.Errorf("%w: field %q", ErrFormat, field)
		}
		*to = v
		seen++
	}
	if seen != 4 {
		return fmt.Errorf("%w: %d of 4 fields", ErrFormat, seen)
	}
	return nil
}

func cutLine(text []byte) (line, rest []byte) {
	if i := bytes.IndexByte(text, '\n'); i >= 0 {
		return text[:i], text[i+1:]
	}
	return text, nil
}

func cutField(line []byte) (field, rest []byte) {
	line = bytes.TrimLeft(line, " \t")
	if i := bytes.IndexAny(line, " \t"); i >= 0 {
		return line[:i], bytes.TrimLeft(line[i:], " \t")
	}
	return line, nil
}

// File is an open pressure file. It is not safe for concurrent use.
type File struct {
	f   *os.File
	buf [512]byte // the two lines take at most 150 bytes
}

// Open opens a pressure file and reads it once, so that pressure information
// that is switched off is an error now (ErrOff) and not at the first sample.
// The caller closes the file.
func Open(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, explain(path, err)
	}
	if err := fsys.MayKeep(int(f.Fd())); err != nil {
		f.Close()
		return nil, fmt.Errorf("keep %s open: %w", path, err)
	}
	file := &File{f: f}
	if _, err := file.Read(); err != nil {
		f.Close()
		return nil, err
	}
	return file, nil
}

// Read returns the present pressure.
func (f *File) Read() (Pressure, error) {
	n, err := f.f.ReadAt(f.buf[:], 0)
	if err != nil && err != io.EOF {
		return Pressure{}, explain(f.f.Name(), err)
	}
	p, err := Parse(f.buf[:n])
	if err != nil {
		return Pressure{}, fmt.Errorf("read %s: %w", f.f.Name(), err)
	}
	return p, nil
}

// Close closes the file.
func (f *File) Close() error { return f.f.Close() }

// explain adds the remedy to what open and read say on a kernel that keeps no
// pressure information: without CONFIG_PSI there is no file, with it but
// without psi=1 reading is refused with EOPNOTSUPP (psi_show in the kernel's
// kernel/sched/psi.c). A control group may have it switched off by its file
// cgroup.pressure, which hides the pressure files (Linux 6.1 and later).
func explain(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) && strings.HasPrefix(filepath.Base(path), "irq") {
		if _, statErr := os.Stat(filepath.Join(filepath.Dir(path), strings.Replace(filepath.Base(path), "irq", "cpu", 1))); statErr == nil {
			return fmt.Errorf("%w of interrupts (%w): it needs Linux 6.1 built with CONFIG_IRQ_TIME_ACCOUNTING", ErrOff, err)
		}
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errors.ErrUnsupported) {
		return fmt.Errorf("%w (%w): boot with psi=1 on the kernel command line, on a kernel built with CONFIG_PSI; "+
			"for a control group it must be one of version 2 with 1 in its cgroup.pressure", ErrOff, pathError(path, err))
	}
	return err
}

// pathError makes sure that the message names the file.
func pathError(path string, err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return err
	}
	return &fs.PathError{Op: "read", Path: path, Err: err}
}
