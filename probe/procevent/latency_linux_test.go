package procevent

import (
	"os/exec"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"procdump/victims/need"
)

// TestLatency prints how long after the execve of a process of 5 ms its event
// arrives at Handle and in the channel, on a machine as idle as it is and with
// all CPUs busy.
func TestLatency(t *testing.T) {
	if !need.Long() {
		t.Skip("long")
	}
	for _, busy := range []int{0, runtime.NumCPU()} {
		var handled, received []time.Duration
		s := open(t, Options{Handle: func(e Event) bool {
			if e.Kind == Exec {
				handled = append(handled, time.Since(e.Time))
			}
			return true
		}})
		t.Log(s.Method())
		done := make(chan struct{})
		go func() {
			defer close(done)
			for e := range s.Events() {
				if e.Kind == Exec {
					received = append(received, time.Since(e.Time))
				}
			}
		}()
		var loops []*exec.Cmd
		for range busy {
			c := exec.Command("sh", "-c", "while :; do :; done")
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			loops = append(loops, c)
		}
		if err := exec.Command("sh", "-c", "i=0; while [ $i -lt 400 ]; do sleep 0.005; i=$((i+1)); done").Run(); err != nil {
			t.Error(err)
		}
		for _, c := range loops {
			syscall.Kill(c.Process.Pid, syscall.SIGKILL)
			c.Wait()
		}
		s.Close()
		<-done
		report(t, busy, "Handle", handled)
		report(t, busy, "channel", received)
	}
}

func report(t *testing.T, busy int, what string, all []time.Duration) {
	t.Helper()
	if len(all) < 400 {
		t.Errorf("%s: %d of 400 processes seen", what, len(all))
		return
	}
	slices.Sort(all)
	at := func(percent int) time.Duration { return all[(len(all)-1)*percent/100].Round(time.Microsecond) }
	t.Logf("%d busy loops, exec to %s (%d): median %v, 95 %% %v, 99 %% %v, most %v", busy, what, len(all), at(50), at(95), at(99), at(100))
}
