//go:build !linux

package monitor

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"procdump/capture"
	"procdump/target"
)

// ErrGone means that the process has ended.
var ErrGone = errors.New("the process has ended")

func notHere(what string) error {
	return fmt.Errorf("%s: %w on %s yet", what, errors.ErrUnsupported, runtime.GOOS)
}

func (m *monitor) stopper(*watched) stopper {
	return func(context.Context, Prepare) (capture.Source, error) {
		return nil, notHere("dump a process")
	}
}

// tree is the tracer of a process and its descendants.
type tree struct {
	root, users       int
	rootGone, expects bool
}

func (m *monitor) keepSpares()                            {}
func (m *monitor) attach(int, func(), func(*tree, error)) {}
func (m *monitor) trace(int) (*tree, error)               { return nil, notHere("trace a process") }
func (m *monitor) release(*tree, int)                     {}
func (m *monitor) settle(*tree)                           {}
func (t *tree) detach(int)                                {}
func (t *tree) close()                                    {}
func tracedByUs(int) bool                                 { return false }

func kill(target.Process) error { return notHere("kill a process") }

func permitted(int) error { return nil }

func dumpedByOther(int) bool { return false }
