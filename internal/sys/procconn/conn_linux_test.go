package procconn

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"procdump/victims/need"
)

// The test program runs itself in other circumstances: as what is named here.
const roleVariable = "PROCCONN_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case "open":
		c, err := Open(Options{})
		if err != nil {
			fmt.Println(err)
			os.Exit(0)
		}
		fmt.Println("opened")
		c.Close()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func connect(t *testing.T, o Options) *Conn {
	t.Helper()
	c, err := Open(o)
	if u := (*UnavailableError)(nil); errors.As(err, &u) {
		need.Missing(t, "process connector", err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// collect reads until done says so, and tells whether events were lost.
func collect(t *testing.T, c *Conn, done func(Event) bool) (lost bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for time.Now().Before(deadline) {
		events, l, err := c.Read(nil, 100*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		lost = lost || l
		for _, e := range events {
			if done(e) {
				return lost
			}
		}
	}
	t.Fatalf("not seen within 30 s (lost: %v)", lost)
	return lost
}

func run(t *testing.T, status int, name string, args ...string) int {
	t.Helper()
	c := exec.Command(name, args...)
	if err := c.Run(); c.ProcessState == nil || int(c.ProcessState.Sys().(syscall.WaitStatus)) != status {
		t.Fatalf("%s: %v", name, err)
	}
	return c.Process.Pid
}

func TestEvents(t *testing.T) {
	c := connect(t, Options{})
	if c.Filtered() {
		t.Error("filtered without being asked")
	}
	before := time.Now()
	pid := run(t, 7<<8, "sh", "-c", "exit 7")
	killed := run(t, 9, "sh", "-c", "kill -9 $$")
	after := time.Now()
	var fork, execs, exit bool
	boot := Boot()
	collect(t, c, func(e Event) bool {
		if e.PID != pid {
			return e.PID == killed && e.What == PROC_EVENT_EXIT && e.Status == 9
		}
		if at := boot.Add(time.Duration(e.Monotonic)); at.Before(before.Add(-time.Second)) || at.After(after.Add(time.Second)) {
			t.Errorf("event of %v seen between %v and %v", at, before, after)
		}
		switch e.What {
		case PROC_EVENT_FORK:
			fork = e.ParentPID == os.Getpid() && e.TID == pid && !execs
		case PROC_EVENT_EXEC:
			execs = e.TID == pid && !exit
		case PROC_EVENT_EXIT:
			exit = e.Status == 7<<8 && e.ParentPID == os.Getpid()
		}
		return false
	})
	if !fork || !execs || !exit {
		t.Errorf("fork %v, exec %v, exit %v of %d", fork, execs, exit, pid)
	}
}

// The kernel's filter, where there is one, leaves out what is not wanted and
// lets through the rest, also after other listeners have come and gone.
func TestFilter(t *testing.T) {
	c := connect(t, Options{Events: PROC_EVENT_EXEC})
	t.Logf("filtered: %v", c.Filtered())
	// Before the filter all events came.
	first := run(t, 0, "true")
	collect(t, c, func(e Event) bool { return e.What == PROC_EVENT_EXEC && e.PID == first })
	for range 3 {
		other := connect(t, Options{})
		run(t, 0, "true")
		other.socket.close()
		other.socket.fd = -1
		pid := run(t, 0, "true")
		collect(t, c, func(e Event) bool {
			if c.Filtered() && e.What != PROC_EVENT_EXEC && e.What != PROC_EVENT_COMM {
				t.Errorf("event %#x in spite of the filter", uint32(e.What))
			}
			return e.What == PROC_EVENT_EXEC && e.PID == pid
		})
	}
}

// A buffer of a few events overflows: the loss is told, and afterwards events
// come again.
func TestOverrun(t *testing.T) {
	for _, events := range []What{0, PROC_EVENT_EXEC} {
		c := connect(t, Options{Events: events, ReceiveBuffer: 1})
		for round := range 3 {
			for range 20 {
				run(t, 0, "true")
			}
			last := run(t, 0, "true")
			lost := false
			// All that is in the buffer is read before the loss is told.
			for deadline := time.Now().Add(30 * time.Second); !lost && time.Now().Before(deadline); {
				var err error
				var got []Event
				if got, lost, err = c.Read(nil, 100*time.Millisecond); err != nil {
					t.Fatal(err)
				}
				for _, e := range got {
					if e.PID == last {
						t.Error("the last event found room in a full buffer")
					}
				}
			}
			if !lost {
				t.Fatalf("events %#x, round %d: the loss is not told", uint32(events), round)
			}
			// On a busy machine the buffer may be full again at once.
			seen := func() (ok bool) {
				pid := run(t, 0, "true")
				for {
					got, _, err := c.Read(nil, 100*time.Millisecond)
					if err != nil {
						t.Fatal(err)
					}
					for _, e := range got {
						ok = ok || e.PID == pid
					}
					if ok || len(got) == 0 {
						return ok
					}
				}
			}
			eventually(t, "an event after the loss", seen)
		}
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("no %s within 30 s", what)
		}
	}
}

// A kernel that stops sending is noticed by its silence, told as a loss, and
// made to send again.
func TestSilence(t *testing.T) {
	c := connect(t, Options{})
	// Out of the group: nothing is sent to this socket any more.
	if err := unix.SetsockoptInt(c.socket.fd, unix.SOL_NETLINK, unix.NETLINK_DROP_MEMBERSHIP, CN_IDX_PROC); err != nil {
		t.Fatal(err)
	}
	eventually(t, "report of the loss", func() bool {
		_, lost, err := c.Read(nil, 100*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		return lost
	})
	pid := run(t, 0, "true")
	collect(t, c, func(e Event) bool { return e.PID == pid })
}

// One event that is missing among those of its CPU is a loss.
func TestGap(t *testing.T) {
	c := &Conn{seqs: map[uint32]uint32{}}
	for _, tt := range []struct {
		cpu, seq uint32
		want     bool
	}{{0, 5, false}, {1, 100, false}, {0, 6, false}, {1, 102, true}, {0, 7, false}, {1, 103, false},
		{2, 1<<32 - 1, false}, {2, 0, false}, {2, 2, true}, {2, 1, false}, {2, 3, false}} {
		if got := c.gap([]Event{{CPU: tt.cpu, Seq: tt.seq}}); got != tt.want {
			t.Errorf("event %d of CPU %d: %v", tt.seq, tt.cpu, got)
		}
	}
	c.filtered = true
	if c.gap([]Event{{CPU: 2, Seq: 1000}}) {
		t.Error("a gap though the kernel leaves events out")
	}
}

// Messages of other programs to the group are no events.
func TestForgedMessage(t *testing.T) {
	c := connect(t, Options{})
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_CONNECTOR)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	const nobody = 123456789
	forged := message(2, 0, 0, 0, 1, words(nobody, nobody))
	err = unix.Sendto(fd, forged, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Pid: c.socket.port})
	if err != nil {
		need.Missing(t, "root", fmt.Sprintf("cannot send to another socket: %v", err))
	}
	pid := run(t, 0, "true")
	collect(t, c, func(e Event) bool {
		if e.PID == nobody {
			t.Error("another program's message is taken for the kernel's")
		}
		return e.PID == pid
	})
}

func TestInterrupt(t *testing.T) {
	c := connect(t, Options{})
	go func() {
		time.Sleep(10 * time.Millisecond)
		c.Interrupt()
	}()
	for {
		_, _, err := c.Read(nil, 0)
		if errors.Is(err, ErrClosed) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := c.Read(nil, 0); err != nil && !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

// openElsewhere opens the connector in another process.
func openElsewhere(t *testing.T, attr *syscall.SysProcAttr) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(exe)
	c.Env = append(os.Environ(), roleVariable+"=open")
	c.SysProcAttr = attr
	out, err := c.CombinedOutput()
	if err != nil {
		need.Missing(t, "namespaces", fmt.Sprintf("%v: %s", err, out))
	}
	return strings.TrimSpace(string(out))
}

func TestNotAvailable(t *testing.T) {
	connect(t, Options{})
	root := []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
	for _, tt := range []struct {
		name, cause string
		attr        syscall.SysProcAttr
	}{
		{"network namespace", "not available because procdump runs in a network namespace of its own", syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}},
		{"PID namespace", "not available because procdump runs in a PID namespace of its own", syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}},
		{"user namespace", "not available because ", syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: root}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := openElsewhere(t, &tt.attr); !strings.Contains(got, tt.cause) {
				t.Errorf("%s", got)
			}
			t.Log(openElsewhere(t, &tt.attr))
		})
	}
}

func TestExplain(t *testing.T) {
	for err, want := range map[error]string{
		unix.EPERM:           "CAP_NET_ADMIN; run procdump as root",
		unix.EPROTONOSUPPORT: "CONFIG_CONNECTOR",
		unix.ECONNREFUSED:    "network namespace",
		errNoAnswer:          "CONFIG_PROC_EVENTS",
	} {
		got := explain(fmt.Errorf("x: %w", err))
		if !errors.Is(got, errors.ErrUnsupported) || !strings.Contains(got.Error(), want) {
			t.Errorf("%v: %v", err, got)
		}
	}
	if got := explain(unix.EMFILE); errors.Is(got, errors.ErrUnsupported) {
		t.Errorf("too many files: %v", got)
	}
}

func TestUrgent(t *testing.T) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends
		if err := Urgent(); err != nil {
			need.Missing(t, "root", err.Error())
		}
		a, err := unix.SchedGetAttr(0, 0)
		if err != nil || a.Policy != unix.SCHED_FIFO || a.Priority != 1 || a.Flags&unix.SCHED_FLAG_RESET_ON_FORK == 0 {
			t.Errorf("attributes %+v, %v", a, err)
		}
	}()
	<-done
}
