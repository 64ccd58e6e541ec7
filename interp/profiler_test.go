//go:build linux && amd64 && !nointerp

package interp

import (
	"io/fs"
	"testing"
	"time"

	"procdump/image"
	"procdump/snapshot"
)

// TestLate: what does not come back is left alone, and can read nothing any more.
func TestLate(t *testing.T) {
	p := &snapshot.Process{}
	set := image.NewSet(p, image.Options{})
	defer set.Close()
	w := &walker{patience: maxTime, cancel: func() {}, target: &target{p: p, set: set, budget: newBudget()}}
	defer w.Close()
	if err := w.ask(maxTime, func() error { return fs.ErrExist }); err != fs.ErrExist {
		t.Error(err)
	}
	if err := w.ask(maxTime, func() error { panic("broken") }); err == nil || err.Error() != damaged+": broken" {
		t.Error(err)
	}
	end := make(chan bool)
	defer close(end)
	if err := w.ask(time.Millisecond, func() error { <-end; return nil }); err != errLate {
		t.Error(err)
	}
	if err := w.ask(maxTime, func() error { t.Error("it was asked again"); return nil }); err != errLate {
		t.Error(err)
	}
	if _, err := w.target.file("/bin/sh"); err != fs.ErrClosed || w.target.read(make([]byte, 1), 0x1000) || w.target.reads != maxReads {
		t.Errorf("%v, %d reads left", err, w.target.reads)
	}
}
