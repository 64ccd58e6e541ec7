package victims

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// starts carries the starts of all victims to one thread that never ends: a
// parent-death signal is sent when the *thread* that started a program ends.
var starts = sync.OnceValue(func() chan func() {
	ch := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range ch {
			f()
		}
	}()
	return ch
})

// StartCommand starts a command that is killed when this process ends.
func StartCommand(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	started := make(chan error)
	starts() <- func() { started <- cmd.Start() }
	return <-started
}

func start(s Spec, command []string, exe string) (*Victim, error) {
	v := &Victim{Exe: exe, lines: make(chan string, 1024), stderr: &tail{}, exited: make(chan struct{})}
	v.cmd = exec.Command(command[0], command[1:]...)
	v.cmd.Dir = s.Dir
	v.cmd.Env = append(os.Environ(), s.Env...)
	if s.UID != 0 || s.GID != 0 {
		v.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: s.UID, Gid: s.GID}}
	}
	v.cmd.Stderr = v.stderr
	if s.Stderr != nil {
		v.cmd.Stderr = s.Stderr
	}
	var err error
	if v.stdin, err = v.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	// Not StdoutPipe: Wait would close it while the last lines are still in it.
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	v.cmd.Stdout = w
	err = StartCommand(v.cmd)
	w.Close()
	if err != nil {
		r.Close()
		return nil, err
	}
	v.PID = v.cmd.Process.Pid
	go func() { pump(r, v.lines); r.Close() }()
	go func() {
		awaitEnd(v.PID)
		v.err = v.cmd.Wait()
		close(v.exited)
	}()
	return v, nil
}

// awaitEnd returns when a child has ended. Waiting in waitid(2) before would
// swallow the stops of a child that a test of this process traces.
func awaitEnd(pid int) {
	for {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if _, rest, ok := strings.Cut(string(b), ") "); err != nil || !ok || rest[0] == 'Z' || rest[0] == 'X' {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// Signal sends the victim a signal.
func (v *Victim) Signal(sig syscall.Signal) error { return syscall.Kill(v.PID, sig) }

// State returns the state letter of the victim's leader (proc(5)).
func (v *Victim) State() byte {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", v.PID))
	if err != nil {
		return 0
	}
	_, rest, ok := strings.Cut(string(b), ") ")
	if !ok || rest == "" {
		return 0
	}
	return rest[0]
}

func killPID(pid int) { syscall.Kill(pid, syscall.SIGKILL) }

// lastDescendant follows the first children of a process to one without any.
func lastDescendant(pid int) int {
	for {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
		f := strings.Fields(string(b))
		if err != nil || len(f) == 0 {
			return pid
		}
		n, err := strconv.Atoi(f[0])
		if err != nil {
			return pid
		}
		pid = n
	}
}
