package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"procdump/victims"
	"procdump/victims/need"
)

// TestCloneAndKill: with -k the process is killed as soon as there is a clone,
// and the dump is whole even so.
func TestCloneAndKill(t *testing.T) {
	need.Root(t)
	for _, name := range []string{"shm", "threads@i386"} {
		t.Run(name, func(t *testing.T) {
			var args []string
			if name == "shm" {
				args = []string{t.TempDir()}
			}
			v := victims.Start(t, name, args...)
			wantWholeAndKilled(t, v, "1", "clone")
		})
	}
}

// TestCloneAndKillContainer: a process of a container is killed when the dump is
// written, for its clone would be killed with the container's first process.
func TestCloneAndKillContainer(t *testing.T) {
	need.Root(t)
	need.Tool(t, "unshare")
	v := victims.StartSpec(t, victims.Spec{Name: "dirty", Args: []string{"64"}, Wrap: container})
	wantWholeAndKilled(t, v, "1", "clone")
}

// service puts a victim into a control group that is named as a service's, all of
// which is killed when the victim ends, as systemd does (KillMode=mixed of
// systemd.kill(5)).
func service(t *testing.T, v *victims.Victim) {
	t.Helper()
	procs := namedGroup(t, fmt.Sprintf("procdump-test-%d.service", v.PID))
	if err := os.WriteFile(procs, []byte(pidArg(v)), 0); err != nil {
		t.Fatal(err)
	}
	killed := make(chan struct{})
	t.Cleanup(func() { // before the group goes
		v.Kill()
		<-killed
	})
	go func() {
		defer close(killed)
		<-v.Exited()
		b, _ := os.ReadFile(procs)
		for _, f := range strings.Fields(string(b)) {
			if pid, err := strconv.Atoi(f); err == nil && pid != os.Getpid() {
				_ = syscall.Kill(pid, syscall.SIGKILL) // ESRCH: it has ended
			}
		}
	}()
}

// TestCloneAndKillService: a process of a service is killed when the dump is
// written, for its clone would be killed with it.
func TestCloneAndKillService(t *testing.T) {
	need.Root(t)
	v := victims.Start(t, "dirty", "64")
	service(t, v)
	wantWholeAndKilled(t, v, "1", "clone")
}

// TestCloneAtEndOfService: where a crash takes a clone along the process stands
// until it is copied.
func TestCloneAtEndOfService(t *testing.T) {
	need.Root(t)
	for _, c := range []struct {
		service bool
		method  string
	}{{false, "clone"}, {true, "stop-and-copy"}} {
		v := victims.Start(t, "trouble")
		if c.service {
			service(t, v)
		}
		w := watch(t, "-e", "-ma", "-r", pidArg(v), "FOLDER")
		w.await("watching", 1)
		tell(t, v, "alloc 64")
		tell(t, v, "threads 3")
		tell(t, v, "crash null")
		w.await("complete", 1)
		if code := w.end(); code != 0 {
			t.Errorf("exit code %d", code)
		}
		p := readDump(t, w.events("complete")[0].Path)
		if p.Info.Method != c.method {
			t.Errorf("service %v: method %s %q, want %s", c.service, p.Info.Method, p.Info.Warnings, c.method)
		}
	}
}

// wantWholeAndKilled dumps a process with -r and -k: the dump is whole, made by
// the method, and the process is killed.
func wantWholeAndKilled(t *testing.T, v *victims.Victim, how, method string) {
	t.Helper()
	want := readDump(t, dump(t, v.PID, spec{"-ma", "elf"}, "-r", "0"))
	got := readDump(t, dump(t, v.PID, spec{"-ma", "elf"}, "-r", how, "-k"))
	if got.Info.Method != method {
		t.Errorf("method %q", got.Info.Method)
	}
	select {
	case <-v.Exited():
	case <-time.After(victims.Timeout):
		t.Error("it was not killed")
	}
	sameDump(t, want, got)
}

// TestKilledWithClone: procdump is killed while it writes from a clone, which
// goes with it; the process is not even traced. The dump would take minutes.
func TestKilledWithClone(t *testing.T) {
	need.Root(t)
	v := victims.Start(t, "dirty", "512")
	for i := range 5 {
		w := watch(t, "-ma", "-throttle", "2", pidArg(v), "FOLDER")
		w.await("initiated", 1)
		if i == 0 {
			theCopy(t, v)
		} else {
			time.Sleep(time.Duration(i-1) * 40 * time.Millisecond)
		}
		if err := w.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-w.exited
		if n := len(w.events("complete")); n > 0 {
			t.Error("the dump was done before")
		}
		wantNoCopy(t, v)
		wantAlive(t, v)
		wantNoFile(t, w.folder)
	}
	if answer := v.Ask(t, "check"); answer["wrong"] != "0" {
		t.Errorf("its memory is %v", answer)
	}
}
