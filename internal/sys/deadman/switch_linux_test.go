package deadman

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// behaviour makes the test binary a process with a Switch.
const behaviour = "DEADMAN_TEST"

func TestMain(m *testing.M) {
	how := os.Getenv(behaviour)
	if how == "" {
		os.Exit(m.Run())
	}
	limit := 2 * time.Second
	if how == "stops" {
		limit = 200 * time.Millisecond
	}
	s, err := Arm(limit)
	if err != nil {
		panic(err)
	}
	switch how {
	case "stops":
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		time.Sleep(time.Minute)
	case "lives":
		for range 60 {
			time.Sleep(50 * time.Millisecond)
			if err := s.Alive(); err != nil {
				panic(err)
			}
		}
	}
	os.Exit(7)
}

func TestSwitch(t *testing.T) {
	for how, killed := range map[string]bool{"stops": true, "lives": false} {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), behaviour+"="+how)
		_ = cmd.Run()
		status := cmd.ProcessState.Sys().(syscall.WaitStatus)
		if killed != status.Signaled() || killed && status.Signal() != syscall.SIGKILL || !killed && status.ExitStatus() != 7 {
			t.Errorf("one that %s: %v", how, cmd.ProcessState)
		}
	}
}
