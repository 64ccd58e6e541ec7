package interp

import (
	"testing"

	"procdump/arch"
	"procdump/snapshot"
)

// TestSlow: nothing is looked at before the process stands still where nothing
// can be found then.
func TestSlow(t *testing.T) {
	for _, c := range []struct {
		path    string
		machine arch.Machine
		want    bool
	}{
		{"/usr/bin/python3.11", arch.AMD64, profiles},
		{"/usr/lib/libjvm.so (deleted)", arch.AMD64, profiles},
		{"/usr/bin/python3.11", arch.I386, false},
		{"/usr/bin/perl", arch.AMD64, false},
		{"/usr/bin/cat", arch.AMD64, false},
	} {
		p := &snapshot.Process{System: snapshot.System{Machine: c.machine}, Modules: []snapshot.Module{{Path: c.path}}}
		if got := Slow(p); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}
