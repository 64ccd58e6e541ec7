package linux

import (
	"context"
	"testing"
	"time"

	"procdump/snapshot/snapshottest"
	"procdump/victims"
)

// cloned stops a process and clones it.
func cloned(t *testing.T, pid int) *Stopped {
	t.Helper()
	target, err := Open(pid, Options{Clone: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(target.Close)
	s, err := target.Stop(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Resume() })
	if err := s.Clone(CloneOptions{}); err != nil {
		t.Fatalf("%v (%v)", err, time.Since(s.begin))
	}
	return s
}

func TestCloneConformance(t *testing.T) {
	for _, name := range []string{"threads", "threads@i386", "threads@static", "goroutines"} {
		t.Run(name, func(t *testing.T) {
			v := victims.Start(t, name)
			s := cloned(t, v.PID)
			t.Logf("pause %v", s.pause)
			snapshottest.Run(t, s.Process)
			s.Resume()
		})
	}
}
