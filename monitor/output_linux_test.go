package monitor

import (
	"context"
	"errors"
	"io/fs"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"procdump/probe/output"
	"procdump/target"
	"procdump/victims/need"
)

// warnings keeps those that it is told of.
type warnings struct {
	Observer
	list chan string
}

func (w warnings) Watching(target.Process)                {}
func (w warnings) Event(target.Process, string)           {}
func (w warnings) Exited(target.Process, string)          {}
func (w warnings) Note(string)                            {}
func (w warnings) Failed(_ *target.Process, err error)    { w.list <- err.Error() }
func (w warnings) Warning(_ *target.Process, text string) { w.list <- text }

// TestFloodIsTold watches a process that does nothing but write: it is told that
// most of it is not looked at.
func TestFloodIsTold(t *testing.T) {
	need.Root(t)
	s, err := output.Open()
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, fs.ErrPermission) {
		need.Missing(t, "bpf", err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	c := exec.Command(need.Tool(t, "dd"), "if=/dev/zero", "of=/dev/null", "bs=1")
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { c.Process.Kill(); c.Wait() }()
	p, err := target.Get(c.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	told, ended := warnings{list: make(chan string, 100)}, make(chan Outcome)
	go func() {
		ended <- Run(ctx, Config{Rules: Rules{Output: true}, Scope: Scope{Processes: []target.Process{p}}, Observer: told})
	}()
	for patience := time.After(30 * time.Second); ; {
		select {
		case text := <-told.list:
			if !strings.Contains(text, "to whatever file, were not looked at") {
				continue
			}
		case <-patience:
			t.Error("nobody tells that a flood is not looked at")
		}
		break
	}
	cancel()
	<-ended
}
