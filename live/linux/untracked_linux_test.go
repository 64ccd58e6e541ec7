package linux

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"procdump/victims/need"
)

// TestPreCopyOfUntracked makes one of a process whose memory others may write to
// unseen, and makes it so in the middle of one. What is only alike does not matter.
func TestPreCopyOfUntracked(t *testing.T) {
	need.Root(t)
	file := filepath.Join(t.TempDir(), "file")
	for _, c := range []struct{ what, why string }{
		{"plain " + file, ""},
		{"direct " + file, "O_DIRECT"},
		{"device /dev/vfio/7", "/dev/vfio/7"},
		{"device /dev/infiniband/uverbs0", "/dev/infiniband/uverbs0"},
		{"device /dev/dri/renderD128", "/dev/dri/renderD128"},
		{"device /dev/kfd", "/dev/kfd"},
		{"device /dev/nvidia0", "/dev/nvidia0"},
		{"device /dev/video0", ""},
		{"uring", "io_uring"},
		{"pin", "pinned"},
		{"userfault", "userfaultfd"},
	} {
		t.Run(strings.NewReplacer(file, "file", "/", "_").Replace(c.what), func(t *testing.T) {
			t.Parallel()
			v := startProgram(t, "devices", "")
			begin := func() {
				if answer := v.ask(t, c.what); answer != "done" {
					need.Missing(t, "kernel", c.what+": "+answer)
				}
			}
			copies := func(when string, why string, stop func(*Target) func(context.Context) (*Stopped, error)) {
				t.Helper()
				target, err := Open(v.pid, Options{Clone: true})
				if err != nil {
					t.Fatal(err)
				}
				defer target.Close()
				err = target.PreCopy(context.Background(), spooled(t), stop(target))
				var no *NoClone
				switch {
				case why == "" && err != nil:
					t.Errorf("%s: %v", when, err)
				case why != "" && (!errors.As(err, &no) || !strings.Contains(no.Why, why)):
					t.Errorf("%s: error %v, want one about %s", when, err, why)
				}
				if why != "" && c.what != "userfault" { // of which it has one itself
					checkUntracked(t, v.pid)
				}
			}
			plainly := func(*Target) func(context.Context) (*Stopped, error) { return nil }
			begin()
			copies("before", c.why, plainly)
			if answer := v.ask(t, "close"); answer != "done" {
				t.Fatal(answer)
			}
			eventually(t, "it is over", func() bool {
				target, err := Open(v.pid, Options{Clone: true})
				if err != nil {
					t.Fatal(err)
				}
				defer target.Close()
				return target.untracked() == ""
			})
			copies("after", "", plainly)
			copies("meanwhile", c.why, func(target *Target) func(context.Context) (*Stopped, error) {
				return func(ctx context.Context) (*Stopped, error) {
					begin() // what was looked at before the stop did not have it
					return target.Stop(ctx)
				}
			})
		})
	}
}
