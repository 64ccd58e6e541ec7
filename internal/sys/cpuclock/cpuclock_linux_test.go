package cpuclock

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// TestProcess compares the clock with what wait4(2) accounts to an ended child.
func TestProcess(t *testing.T) {
	c := exec.Command("/bin/sh", "-c", "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; kill -STOP $$")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	pid := c.Process.Pid
	defer c.Process.Kill()
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, syscall.WUNTRACED, nil); err != nil || !status.Stopped() {
		t.Fatalf("child: %v, status %#x", err, status)
	}
	got, err := Process(pid)
	if err != nil {
		t.Fatal(err)
	}
	c.Process.Kill()
	var usage syscall.Rusage
	if _, err := syscall.Wait4(pid, &status, 0, &usage); err != nil {
		t.Fatal(err)
	}
	want := time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	if d := want - got; got <= 0 || d < -5*time.Millisecond || d > 20*time.Millisecond {
		t.Errorf("the clock says %v, wait4 %v", got, want)
	}
	if _, err := Process(pid); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("clock of a process that is gone: %v", err)
	}
}

func TestOwn(t *testing.T) {
	before, err := Process(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; ; n++ {
		after, err := Process(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		if after < before {
			t.Fatalf("the clock went back from %v to %v", before, after)
		}
		if after > before {
			break
		}
	}
}

func BenchmarkProcess(b *testing.B) {
	pid := os.Getppid()
	for b.Loop() {
		if _, err := Process(pid); err != nil {
			b.Fatal(err)
		}
	}
}
