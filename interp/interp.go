// Package interp finds the frames of scripts on the stacks of a snapshot:
// functions of Python, Node.js, Java, PHP, Ruby, Perl and other languages whose
// programs run in a runtime, with file and line, between the native frames of
// that runtime.
//
// It reads the data of Ruby and Perl itself. What it knows of the others is that
// of go.opentelemetry.io/ebpf-profiler, the profiler of OpenTelemetry: its parts
// in Go find the runtimes in the process, and its compiled BPF programs, which
// walk the stacks, run in the package bpf below, over the snapshot's memory. No
// program is loaded into the kernel. No other package knows that module; the
// build tag nointerp leaves it and its programs, which are under GPL-2.0, out,
// and with them all languages but Ruby and Perl.
package interp

import (
	"errors"
	"regexp"

	"procdump/arch"
	"procdump/image"
	"procdump/internal/guard"
	"procdump/snapshot"
	"procdump/unwind"
)

// ErrNone means that the process has no runtime of scripts that is known.
var ErrNone = errors.New("no runtime of scripts")

// damaged is said of a panic of what is made for sound processes.
const damaged = "find the functions of scripts: the runtime's data are damaged"

// Walker walks the stacks of one process.
type Walker interface {
	// Stack returns a thread's native stack with the functions of scripts in
	// it, or as it is if there are none. What it reads for that is bounded, for a
	// stack and for all of them: more is an error.
	Stack(t *snapshot.Thread, native *unwind.Stack) (unwind.Stack, error)
	// Attach has the walker walk another snapshot of the same process, with
	// what it has found out.
	Attach(p *snapshot.Process, set *image.Set) error
	// Close lets go of what the walker holds.
	Close()
}

// New returns a walker of a process, whose memory and files it reads through the
// set. A process without a runtime that is known is ErrNone. A process may have
// several: with another error there may be a walker for the others.
func New(p *snapshot.Process, set *image.Set) (Walker, error) {
	var all walkers
	var errs []error
	add := func(find func(*snapshot.Process, *image.Set) (Walker, error)) {
		var w Walker
		err := guard.Do(damaged, func() (err error) { w, err = find(p, set); return err })
		if err != nil {
			errs = append(errs, err)
		} else if w != nil {
			all = append(all, w)
		}
	}
	if p.Machine() == arch.AMD64 {
		add(newRuby)
		add(newPerl)
	}
	if profiled(p) {
		add(newProfiler)
	}
	switch {
	case len(all) > 0:
		return all, errors.Join(errs...)
	case len(errs) > 0:
		return nil, errors.Join(errs...)
	}
	return nil, ErrNone
}

// walkers are those of a process with several runtimes.
type walkers []Walker

func (all walkers) Stack(t *snapshot.Thread, native *unwind.Stack) (unwind.Stack, error) {
	s := *native
	var errs []error
	for _, w := range all {
		err := guard.Do(damaged, func() error {
			more, err := w.Stack(t, &s)
			s = more
			return err
		})
		if err != nil {
			errs = append(errs, err)
		}
	}
	return s, errors.Join(errs...)
}

func (all walkers) Attach(p *snapshot.Process, set *image.Set) error {
	var errs []error
	for _, w := range all {
		errs = append(errs, w.Attach(p, set))
	}
	return errors.Join(errs...)
}

func (all walkers) Close() {
	for _, w := range all {
		w.Close()
	}
}

// runtimes are names of the files of programs and libraries that run scripts and
// that the profiler knows.
var runtimes = regexp.MustCompile(`^(python\d?(\.\d+)?t?|libpython\d.*\.so.*|node(js)?|libnode\.so.*|libjvm\.so|` +
	`php(-fpm|-cgi)?(\d.*)?|libphp.*\.so|beam\.smp|libcoreclr\.so|luajit.*|libluajit.*\.so.*)$`)

// profiled tells whether the process has a runtime that the profiler knows, by
// its name.
func profiled(p *snapshot.Process) bool {
	for i := range p.Modules {
		if runtimes.MatchString(baseName(&p.Modules[i])) {
			return true
		}
	}
	return false
}

// Slow tells whether the process has a runtime that takes long to find out about.
func Slow(p *snapshot.Process) bool {
	return profiles && p.Machine() == arch.AMD64 && profiled(p)
}
