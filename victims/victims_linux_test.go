package victims_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"procdump/victims"
	"procdump/victims/need"
)

// arguments are what a victim needs to start at a size that suits a unit test.
func arguments(t *testing.T, name string) victims.Spec {
	s := victims.Spec{Name: name}
	switch name {
	case "threads":
		s.Args = []string{"10"}
	case "mappings":
		s.Args = []string{"2000"}
	case "deep":
		s.Args = []string{"1000"}
	case "buffer", "dirty", "heartbeat":
		s.Args = []string{"1"}
	case "sparse":
		s.Args = []string{"64", "10"}
	case "secrets":
		s.Args, s.Env = []string{"hidden"}, []string{"TOKEN=hidden"}
	case "shm":
		s.Args = []string{t.TempDir()}
	}
	return s
}

// TestEveryProgramStarts also covers the build of each C program as a 32-bit
// and as a static one.
func TestEveryProgramStarts(t *testing.T) {
	names, err := victims.Names()
	if err != nil || len(names) == 0 {
		t.Fatalf("Names() = %v, %v", names, err)
	}
	for _, name := range names {
		for _, variant := range []string{"", "@i386", "@static", "@static-pie", "@nopie"} {
			t.Run(name+variant, func(t *testing.T) {
				t.Parallel()
				s := arguments(t, name)
				s.Name += variant
				v := victims.StartSpec(t, s)
				if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", v.PID)); err != nil || exe != v.Exe {
					t.Errorf("exe = %q, %v; want %q", exe, err, v.Exe)
				}
			})
		}
	}
	for _, name := range []string{"threads@musl", "threads@musl-static", "altstack@musl", "cpp", "goroutines", "python", "java", "node"} {
		t.Run(name, func(t *testing.T) { victims.Start(t, name) })
	}
}

func TestVictimDiesWithKill(t *testing.T) {
	v := victims.Start(t, "threads", "3")
	v.Kill()
	if err := syscall.Kill(v.PID, 0); err != syscall.ESRCH {
		t.Errorf("kill(%d, 0) = %v after Kill, want ESRCH", v.PID, err)
	}
}

func TestThreadsAreNamedAndChained(t *testing.T) {
	v := victims.Start(t, "threads", "10")
	for i := range 10 {
		want := fmt.Sprintf("t-%d\n", i)
		if !taskNamed(t, v.PID, want) {
			t.Errorf("no thread named %q", want)
		}
	}
}

func taskNamed(t *testing.T, pid int, name string) bool {
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		if b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/comm", pid, task.Name())); string(b) == name {
			return true
		}
	}
	return false
}

func TestBufferSaysItsDigest(t *testing.T) {
	v := victims.Start(t, "buffer", "1")
	got := fmt.Sprintf("%x", sha256.Sum256(memory(t, v.PID, v.Uint(t, "addr"), v.Uint(t, "size"))))
	if got != v.Ready["sha256"] {
		t.Errorf("the victim says SHA-256 %s, its memory has %s", v.Ready["sha256"], got)
	}
	if again := v.Ask(t, "sha")["sha256"]; again != got {
		t.Errorf("asked again it says %s, want %s", again, got)
	}
}

func memory(t *testing.T, pid int, addr, size uint64) []byte {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, size)
	if _, err := f.ReadAt(b, int64(addr)); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSparseTouchesItsShare(t *testing.T) {
	v := victims.Start(t, "sparse", "1024", "10")
	size, touched := v.Uint(t, "size"), v.Uint(t, "touched")
	if size != 1<<30 || touched < size*9/100 || touched > size*11/100 {
		t.Errorf("size %d, touched %d; want 1 GiB and a tenth of it", size, touched)
	}
}

func TestHeartbeatChecksItself(t *testing.T) {
	v := victims.Start(t, "heartbeat", "1")
	first := v.Ask(t, "state")
	time.Sleep(50 * time.Millisecond)
	second := v.Ask(t, "state")
	for _, key := range []string{"ticks", "checks"} {
		if victims.Uint(t, second, key) <= victims.Uint(t, first, key) {
			t.Errorf("%s stood still: %v, then %v", key, first, second)
		}
	}
	if second["errors"] != "0" {
		t.Errorf("errors = %s", second["errors"])
	}
	// A changed byte must be noticed, or the check checks nothing.
	poke(t, v.PID, v.Uint(t, "addr")+4096)
	for range 100 {
		if v.Ask(t, "state")["errors"] != "0" {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("a byte of the buffer was changed and no error counted")
}

func poke(t *testing.T, pid int, addr uint64) {
	t.Helper()
	f, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, int64(addr)); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0xff
	if _, err := f.WriteAt(b, int64(addr)); err != nil {
		t.Fatal(err)
	}
}

func TestChurnGoesOn(t *testing.T) {
	v := victims.Start(t, "churn")
	before := victims.Uint(t, v.Ask(t, "count"), "born")
	time.Sleep(300 * time.Millisecond)
	if after := victims.Uint(t, v.Ask(t, "count"), "born"); after <= before {
		t.Errorf("births: %d, then %d", before, after)
	}
}

func TestPendingSignalsArriveOnce(t *testing.T) {
	v := victims.Start(t, "pending")
	want := map[string]string{"": "received", "usr1": "1", "usr2": "0", "realtime": "5", "order_errors": "0"}
	if got := v.Ask(t, "open"); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("received %v, want %v", got, want)
	}
}

func TestStoppedIsStopped(t *testing.T) {
	v := victims.Start(t, "stopped")
	awaitState(t, v, 'T')
	v.Signal(syscall.SIGCONT)
	if got := v.Ask(t, "state")["continued"]; got != "1" {
		t.Errorf("continued %s times, want once", got)
	}
}

func awaitState(t *testing.T, v *victims.Victim, want byte) {
	t.Helper()
	for range 500 {
		if v.State() == want {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
	t.Fatalf("state %c, want %c", v.State(), want)
}

func TestVforkerWaitsUninterruptibly(t *testing.T) {
	v := victims.Start(t, "vforker")
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/stat", v.PID, v.Ready["tid"]))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), ") D ") {
		t.Errorf("stat = %s; want state D", b)
	}
}

func TestContainerPID(t *testing.T) {
	need.Tool(t, "unshare")
	v := victims.StartSpec(t, victims.Spec{Name: "threads", Args: []string{"2"},
		Wrap: []string{"unshare", "-pfmU", "--mount-proc", "--map-root-user", "--kill-child"}})
	if comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", v.PID)); string(comm) != "threads\n" {
		t.Errorf("PID %d is %q, want the program inside the namespace", v.PID, comm)
	}
}
