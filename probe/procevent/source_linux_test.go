package procevent

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"procdump/internal/sys/procconn"
	"procdump/victims/need"
)

// storm starts n short processes, eight at a time, and returns their PIDs.
func storm(t *testing.T, n int) map[int]bool {
	t.Helper()
	const workers = 8
	found := make(chan int, n)
	for w := range workers {
		go func() {
			for i := w; i < n; i += workers {
				c := exec.Command("true")
				if c.Run() != nil {
					found <- 0
					continue
				}
				found <- c.Process.Pid
			}
		}()
	}
	pids := map[int]bool{}
	for range n {
		pids[<-found] = true
	}
	if pids[0] || len(pids) != n {
		t.Fatalf("%d different processes of %d", len(pids), n)
	}
	return pids
}

// Every process of a storm is seen to be forked, to execute and to exit, unless
// a loss is told.
func TestStorm(t *testing.T) {
	for _, o := range []Options{{}, {Fork: true, Exit: true}, {Fork: true, Exit: true, ReceiveBuffer: 1 << 12}} {
		s := connector(t, o)
		n := 1000
		if o.ReceiveBuffer > 0 {
			n = 200
		}
		pids := storm(t, n)
		missing := map[Kind]map[int]bool{Exec: {}, Fork: {}, Exit: {}}
		for pid := range pids {
			missing[Exec][pid] = true
			if o.Fork {
				missing[Fork][pid], missing[Exit][pid] = true, true
			}
		}
		lost := 0
		// Where a loss is told, events may never come.
		grace, timeout := time.After(time.Second), time.After(30*time.Second)
	events:
		for len(missing[Exec])+len(missing[Fork])+len(missing[Exit]) > 0 {
			select {
			case e := <-s.Events():
				if e.Kind == Lost {
					lost++
					continue
				}
				delete(missing[e.Kind], e.PID)
			case <-grace:
				if grace = time.After(time.Second); lost > 0 {
					break events
				}
			case <-timeout:
				break events
			}
		}
		t.Logf("%+v: missing %d exec, %d fork, %d exit; %d losses told", o.ReceiveBuffer, len(missing[Exec]), len(missing[Fork]), len(missing[Exit]), lost)
		if lost == 0 && len(missing[Exec])+len(missing[Fork])+len(missing[Exit]) > 0 {
			t.Errorf("%d exec, %d fork, %d exit of %d were not seen, and no loss was told",
				len(missing[Exec]), len(missing[Fork]), len(missing[Exit]), n)
		}
		if o.ReceiveBuffer > 0 && lost == 0 {
			t.Error("a buffer for five events lost nothing")
		}
		s.Close()
	}
}

func TestStatus(t *testing.T) {
	s := connector(t, Options{Fork: true, Exit: true})
	for _, tt := range []struct {
		script string
		status syscall.WaitStatus
	}{{"exit 0", 0}, {"exit 3", 3 << 8}, {"kill -TERM $$", 15}, {"ulimit -c 0; kill -SEGV $$", 11}} {
		before := time.Now()
		c := exec.Command("sh", "-c", tt.script)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		// Whether there was a core dump is the machine's affair.
		status := wait(t, c)
		if status&^0x80 != tt.status {
			t.Fatalf("%s: wait status %#x", tt.script, status)
		}
		var order []Kind
		e := next(t, s, tt.script, func(e Event) bool {
			if e.PID == c.Process.Pid {
				order = append(order, e.Kind)
				if e.Kind == Fork && e.Parent != os.Getpid() {
					t.Errorf("parent %d", e.Parent)
				}
			}
			return e.PID == c.Process.Pid && e.Kind == Exit
		})
		if fmt.Sprint(order) != "[fork exec exit]" {
			t.Errorf("%s: %v", tt.script, order)
		}
		if e.Status != int(status) || e.Parent != os.Getpid() || e.Time.Before(before.Add(-time.Second)) || time.Until(e.Time) > time.Second {
			t.Errorf("%s: %+v, want status %#x", tt.script, e, status)
		}
	}
}

// A process lives on without its first thread and ends with the last one.
func TestLeaderless(t *testing.T) {
	s := connector(t, Options{Exit: true})
	p := threads(t, "leaderless", "5")
	stats := statReader{root: "/proc"}
	eventually(t, "end of the first thread", func() bool {
		st, ok := stats.read(p.Process.Pid)
		return ok && st.state == 'Z'
	})
	exited := func(e Event) bool { return e.Kind == Exit && e.PID == p.Process.Pid }
	never(t, s, "exit of a living process", exited)
	p.line(t)
	if status := wait(t, p.Cmd); status != 5<<8 {
		t.Fatalf("status %#x", status)
	}
	if e := next(t, s, "exit", exited); e.Status != 5<<8 || e.Parent != os.Getpid() {
		t.Errorf("%+v", e)
	}
	never(t, s, "second exit", exited)
}

// A thread that executes a program takes the place of the first one, whose end
// is not that of the process.
func TestExecByThread(t *testing.T) {
	s := connector(t, Options{Exit: true})
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	p := threads(t, "exec", sleep, "60")
	pid := p.Process.Pid
	next(t, s, "first exec", func(e Event) bool { return e.Kind == Exec && e.PID == pid })
	p.line(t)
	next(t, s, "exec by the thread", func(e Event) bool {
		if e.Kind == Exit && e.PID == pid {
			t.Error("exit of a process that executes a program")
		}
		return e.Kind == Exec && e.PID == pid
	})
	never(t, s, "exit of a living process", func(e Event) bool { return e.Kind == Exit && e.PID == pid })
	p.Process.Kill()
	if e := next(t, s, "exit", func(e Event) bool { return e.Kind == Exit && e.PID == pid }); e.Status != 9 {
		t.Errorf("%+v", e)
	}
}

func comm(t *testing.T, pid int) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

func TestRename(t *testing.T) {
	for _, o := range []Options{{Rename: true}, {Rename: true, Poll: true}} {
		s := open(t, o)
		p := threads(t, "rename", "newname")
		next(t, s, "exec", func(e Event) bool { return e.Kind == Exec && e.PID == p.Process.Pid })
		p.line(t)
		next(t, s, "rename", func(e Event) bool {
			// Two looks may have the whole of it between them, from before the
			// exec to the new name: that is an Exec.
			return e.PID == p.Process.Pid && (e.Kind == Rename || o.Poll && e.Kind == Exec && comm(t, e.PID) == "newname")
		})
		s.Close()
	}
}

func TestWithoutWishes(t *testing.T) {
	for _, poll := range []bool{false, true} {
		s := open(t, Options{Poll: poll})
		never(t, s, "unwanted event", func(e Event) bool { return e.Kind != Exec && e.Kind != Lost })
		s.Close()
	}
}

// Handle sees every event first, and what it takes does not come twice.
func TestHandle(t *testing.T) {
	for _, poll := range []bool{false, true} {
		handled := make(chan Event, 100000)
		s := open(t, Options{Poll: poll, Handle: func(e Event) bool {
			handled <- e
			return false
		}})
		c := exec.Command("sleep", "60")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		timeout := time.After(30 * time.Second)
		for seen := false; !seen; {
			select {
			case e := <-handled:
				seen = e.Kind == Exec && e.PID == c.Process.Pid
			case <-timeout:
				t.Fatal("not handled within 30 s")
			}
		}
		c.Process.Kill()
		c.Wait()
		s.Close()
		for e := range s.Events() {
			t.Errorf("%+v came though it was taken", e)
		}
	}
}

// An unprivileged user gets the connector where the kernel lets him, or else
// polling and the reason.
func TestUnprivileged(t *testing.T) {
	need.Root(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/tmp", "procevent")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(dir, "watch")
	copyFile(t, exe, copied)
	for _, tt := range []struct {
		name string
		attr syscall.SysProcAttr
		want []string // one of these
	}{
		{"nobody", syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}},
			[]string{"process connector", "polling /proc every 10 ms: the kernel's process connector is not available because it needs the capability CAP_NET_ADMIN; run procdump as root"}},
		{"nobody in a user namespace", syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 0, Gid: 0, NoSetGroups: true}, Cloneflags: syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{HostID: 65534, Size: 1}}, GidMappings: []syscall.SysProcIDMap{{HostID: 65534, Size: 1}}},
			[]string{"polling /proc every 10 ms: the kernel's process connector is not available because procdump runs in a user namespace"}},
		{"network namespace", syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET},
			[]string{"polling /proc every 10 ms: the kernel's process connector is not available because procdump runs in a network namespace"}},
	} {
		c := exec.Command(copied)
		c.Dir = dir
		c.Env = append(os.Environ(), roleVariable+"=watch")
		c.SysProcAttr = &tt.attr
		out, err := c.CombinedOutput()
		ok := false
		for _, want := range tt.want {
			ok = ok || err == nil && strings.HasPrefix(string(out), want)
		}
		if !ok {
			t.Errorf("%s: %v: %s", tt.name, err, out)
		}
		t.Logf("%s: %s", tt.name, out)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

// Close returns at once, twice, and leaves nothing open.
func TestClose(t *testing.T) {
	before := descriptors(t)
	for range 20 {
		for _, poll := range []bool{false, true} {
			s := open(t, Options{Poll: poll, Fork: true})
			exec.Command("true").Run()
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			for range s.Events() {
			}
		}
	}
	if after := descriptors(t); after > before {
		t.Errorf("%d descriptors open, %d before", after, before)
	}
}

// failing is a connector that ends after one event.
type failing struct{ read int }

func (f *failing) Read(events []procconn.Event, _ time.Duration) ([]procconn.Event, bool, error) {
	if f.read++; f.read == 1 {
		return append(events, procconn.Event{What: procconn.PROC_EVENT_EXEC, PID: 4711, TID: 4711}), false, nil
	}
	return events, false, errors.New("read process events: it is broken")
}

func (*failing) Interrupt()   {}
func (*failing) Close() error { return nil }

// A connector that fails gives way to polling, which is told as a loss.
func TestConnectorFails(t *testing.T) {
	s := newSource(Options{})
	s.listen(new(failing))
	defer s.Close()
	if e := <-s.Events(); e.PID != 4711 {
		t.Errorf("first event %+v", e)
	}
	if e := <-s.Events(); e.Kind != Lost {
		t.Errorf("after the failure %+v", e)
	}
	if got := s.Method(); got != "polling /proc every 10 ms: read process events: it is broken" {
		t.Error(got)
	}
	c := exec.Command("sleep", "60")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	next(t, s, "process found by polling", func(e Event) bool { return e.Kind == Exec && e.PID == c.Process.Pid })
	c.Process.Kill()
	c.Wait()
}
