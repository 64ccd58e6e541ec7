package e2e

import (
	"testing"
	"time"

	"procdump/victims"
)

// TestKillAfterLastDump: -k ends the process after the last of its dumps.
func TestKillAfterLastDump(t *testing.T) {
	for what, trigger := range map[string][]string{
		"no trigger": {"-n", "3", "-s", "0"},
		"threshold":  {"-n", "3", "-ml", "1000", "-s", "0"},
		"signal":     {"-n", "3", "-sig", "USR1"},
	} {
		t.Run(what, func(t *testing.T) {
			v := victims.Start(t, "trouble")
			w := watch(t, append(trigger, "-k", pidArg(v), "FOLDER")...)
			if what == "signal" {
				w.await("watching", 1)
				tell(t, v, "handle 10")
				for n := 1; n <= 3; n++ {
					tell(t, v, "raise 10")
					w.await("complete", n)
				}
			}
			if code := w.end(); code != 0 {
				t.Errorf("exit code %d, want 0", code)
			}
			if n := len(w.events("complete")); n != 3 {
				t.Errorf("%d dumps, want 3", n)
			}
			select {
			case <-v.Exited():
			case <-time.After(victims.Timeout):
				t.Error("it was not killed")
			}
		})
	}
}

// TestKillOnlyAfterLastDump: it lives on if procdump is ended before.
func TestKillOnlyAfterLastDump(t *testing.T) {
	v := victims.Start(t, "trouble")
	w := watch(t, "-n", "2", "-s", "1000", "-k", pidArg(v), "FOLDER")
	w.await("complete", 1)
	w.stop()
	if s := v.State(); s != 'S' {
		t.Errorf("the process is in state %c after one of two dumps", s)
	}
}
