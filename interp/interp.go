// Package interp finds the frames of scripts on the stacks of a snapshot:
// functions of Python, Node.js, Java, PHP and other languages whose
// programs run in a runtime, with file and line, between the native frames of
// that runtime.
//
// What it knows of the runtimes is that of go.opentelemetry.io/ebpf-profiler,
// the profiler of OpenTelemetry: its parts in Go find the runtimes in the
// process, and its compiled BPF programs, which walk the stacks, run in the
// package bpf below, over the snapshot's memory. No program is loaded into the
// kernel. No other package knows that module; the build tag nointerp leaves it
// and its programs, which are under GPL-2.0, out.
package interp

import (
	"errors"
	"path"
	"regexp"
	"strings"

	"procdump/image"
	"procdump/snapshot"
	"procdump/unwind"
)

// ErrNone means that the process has no runtime of scripts that is known.
var ErrNone = errors.New("no runtime of scripts")

// Frame is a frame of a stack.
type Frame struct {
	// PC is where a native frame stands, or goes on after a call if Return is
	// set; 0 for one of a script.
	PC     uint64
	Return bool
	// Script is the function of a script, nil for a native frame.
	Script *unwind.Script
}

// Stack is what was found of a thread's stack, the innermost frame first.
type Stack struct {
	Frames []Frame
	// Whole tells that the walk came to the outermost frame.
	Whole bool
}

// Scripts tells whether there is a frame of a script.
func (s *Stack) Scripts() bool {
	for i := range s.Frames {
		if s.Frames[i].Script != nil {
			return true
		}
	}
	return false
}

// Walker walks the stacks of one process.
type Walker interface {
	// Stack returns what is found of a thread's stack.
	Stack(t *snapshot.Thread) (Stack, error)
	// Attach has the walker walk another snapshot of the same process, with
	// what it has found out.
	Attach(p *snapshot.Process, set *image.Set) error
	// Close lets go of what the walker holds.
	Close()
}

// runtimes are names of the files of programs and libraries that run scripts.
var runtimes = regexp.MustCompile(`^(python\d?(\.\d+)?t?|libpython\d.*\.so.*|node(js)?|libnode\.so.*|libjvm\.so|` +
	`php(-fpm|-cgi)?(\d.*)?|libphp.*\.so|beam\.smp|libcoreclr\.so|luajit.*|libluajit.*\.so.*)$`)

// Has tells whether the process has a runtime of scripts that is known by its
// name.
func Has(p *snapshot.Process) bool {
	for i := range p.Modules {
		if runtimes.MatchString(path.Base(strings.TrimSuffix(p.Modules[i].Path, " (deleted)"))) {
			return true
		}
	}
	return false
}
