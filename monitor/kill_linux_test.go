package monitor

import (
	"os/exec"
	"syscall"
	"testing"
	"time"

	"procdump/target"
)

func sleeper(t *testing.T) (*exec.Cmd, target.Process) {
	t.Helper()
	c := exec.Command("sleep", "1000")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	p, err := target.Get(c.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return c, p
}

// TestKillAfterClockStep: the time of day may have been set since the process
// was found.
func TestKillAfterClockStep(t *testing.T) {
	c, p := sleeper(t)
	before := identify(p)
	p.Start = p.Start.Add(-time.Hour)
	if identify(p) != before {
		t.Error("another time of day makes another process")
	}
	if err := kill(p); err != nil {
		t.Fatal(err)
	}
	err := c.Wait()
	if s, ok := c.ProcessState.Sys().(syscall.WaitStatus); !ok || s.Signal() != syscall.SIGKILL {
		t.Errorf("the process ended otherwise: %v", err)
	}
	if err := kill(p); err != nil {
		t.Errorf("a process that has ended: %v", err)
	}
}

// TestKillNotAnother: a later process with the PID lives on.
func TestKillNotAnother(t *testing.T) {
	_, p := sleeper(t)
	time.Sleep(30 * time.Millisecond) // the start is counted in 10 ms
	c, other := sleeper(t)
	if identify(p) == identify(other) {
		t.Fatal("two processes are one")
	}
	p.PID = other.PID
	if err := kill(p); err != nil {
		t.Fatal(err)
	}
	if err := c.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("another process was killed: %v", err)
	}
	if now, err := target.Get(other.PID); err != nil || now.Zombie {
		t.Errorf("another process was killed: %v", err)
	}
}
