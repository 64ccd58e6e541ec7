package procevent

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Processes that live long are found on the real /proc, with their programs
// and their ends.
func TestPoll(t *testing.T) {
	s := open(t, Options{Poll: true, Fork: true, Exit: true})
	if got := s.Method(); got != "polling /proc every 10 ms: as asked for" {
		t.Error(got)
	}
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	p := threads(t, "exec", sleep, "60")
	pid := p.Process.Pid
	var order []string
	until := func(kind Kind) Event {
		return next(t, s, kind.String(), func(e Event) bool {
			if e.PID == pid {
				order = append(order, e.Kind.String())
			}
			return e.PID == pid && e.Kind == kind
		})
	}
	if e := until(Fork); e.Parent != os.Getpid() {
		t.Errorf("%+v", e)
	}
	until(Exec)
	p.line(t)
	until(Exec)
	p.Process.Kill()
	p.Wait()
	if e := until(Exit); e.Status != Unknown || e.Parent != os.Getpid() {
		t.Errorf("%+v", e)
	}
	// Found as its parent's copy, it executes twice.
	if got := strings.Join(slices.Compact(order), " "); got != "fork exec exit" {
		t.Errorf("order: %s", got)
	}
}

// A program of an old process is noticed too, when its turn comes.
func TestPollTurns(t *testing.T) {
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	p := threads(t, "exec", sleep, "60")
	s := open(t, Options{Poll: true, PollEvery: time.Millisecond}) // it is not young to s
	never(t, s, "event of a process that was there", func(e Event) bool { return e.PID == p.Process.Pid })
	p.line(t)
	next(t, s, "exec", func(e Event) bool { return e.Kind == Exec && e.PID == p.Process.Pid })
}

// machine is a /proc made of files.
type machine struct {
	t    *testing.T
	root string
	*poller
}

func newMachine(t *testing.T) *machine {
	m := &machine{t: t, root: t.TempDir()}
	m.process(1, "init", "S", 0, 1, 100)
	m.process(2, "kthreadd", "S", 0, 1, 0)
	return m
}

// process writes a stat file; stack 0 is that of a kernel thread.
func (m *machine) process(pid int, comm, state string, parent, start, stack int) {
	m.t.Helper()
	flags := 0
	if stack == 0 {
		flags = pfKthread
	}
	dir := filepath.Join(m.root, fmt.Sprint(pid))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		m.t.Fatal(err)
	}
	line := fmt.Sprintf("%d (%s) %s %d 70 70 0 -1 %d 1 2 3 4 150 50 0 0 20 0 1 0 %d 4096 10 18446744073709551615 %d %d %d 0 0 0\n",
		pid, comm, state, parent, flags, start, stack, stack, stack)
	if err := os.WriteFile(filepath.Join(dir, "stat"), []byte(line), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) expect(now time.Time, want string) {
	m.t.Helper()
	events, err := m.look(now)
	if err != nil {
		m.t.Fatal(err)
	}
	var got []string
	for _, e := range events {
		got = append(got, fmt.Sprintf("%v %d<%d", e.Kind, e.PID, e.Parent))
	}
	if text := strings.Join(got, ", "); text != want {
		m.t.Errorf("events %q, want %q", text, want)
	}
}

func TestPollDifferences(t *testing.T) {
	m := newMachine(t)
	var err error
	if m.poller, err = newPoller(Options{Proc: m.root, Fork: true, Exit: true, Rename: true}); err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1000, 0)
	m.expect(now, "")
	m.process(10, "sh", "S", 1, 50, 200)
	m.expect(now, "fork 10<1, exec 10<0")
	m.expect(now, "")
	m.process(10, "sh", "S", 1, 50, 300) // another stack
	m.expect(now, "exec 10<0")
	m.process(10, "other", "S", 1, 50, 300)
	m.expect(now, "rename 10<0")
	m.process(10, "gone) Z", "S", 1, 60, 400) // the same PID, started later
	m.expect(now, "exit 10<1, fork 10<1, exec 10<0")
	m.process(10, "gone) Z", "Z", 1, 60, 0)
	m.expect(now, "exit 10<1")
	os.RemoveAll(filepath.Join(m.root, "10"))
	m.expect(now, "") // its exit has been told
	m.process(11, "kworker/0:1", "I", 2, 70, 0)
	m.expect(now, "fork 11<2") // kernel threads execute nothing
	m.process(12, "short", "Z", 1, 80, 100)
	m.expect(now, "fork 12<1, exit 12<1")
	os.RemoveAll(filepath.Join(m.root, "1"))
	m.expect(now, "exit 1<0")
	os.RemoveAll(m.root)
	if _, err := m.look(now); err == nil {
		t.Error("no /proc is no error")
	}
}

// Every old process gets its turn.
func TestPollEveryTurn(t *testing.T) {
	m := newMachine(t)
	const n = 100
	for pid := 100; pid < 100+n; pid++ {
		m.process(pid, "a", "S", 1, 5, 100)
	}
	var err error
	if m.poller, err = newPoller(Options{Proc: m.root}); err != nil {
		t.Fatal(err)
	}
	for pid := 100; pid < 100+n; pid++ {
		m.process(pid, "b", "S", 1, 5, 200)
	}
	seen := map[int]bool{}
	for range 2 * (n/shareLeast + 2) {
		events, err := m.look(time.Unix(1, 0))
		if err != nil {
			t.Fatal(err)
		}
		if len(events) > shareLeast {
			t.Errorf("%d processes at one look", len(events))
		}
		for _, e := range events {
			seen[e.PID] = true
		}
	}
	if len(seen) != n {
		t.Errorf("%d of %d seen", len(seen), n)
	}
}

func TestPollPause(t *testing.T) {
	p := &poller{options: Options{PollEvery: 10 * time.Millisecond}, known: map[int]*process{}}
	for _, tt := range []struct{ spent, want time.Duration }{
		{0, 10 * time.Millisecond}, {200 * time.Microsecond, 9800 * time.Microsecond},
		{time.Millisecond, 19 * time.Millisecond}, {time.Second, 100 * time.Millisecond},
	} {
		if got := p.pause(tt.spent); got != tt.want {
			t.Errorf("after %v: %v, want %v", tt.spent, got, tt.want)
		}
	}
	for pid := range crowd + 1 {
		p.known[pid] = nil
	}
	if got := p.pause(0); got != crowdEvery {
		t.Errorf("in a crowd: %v", got)
	}
}

func TestOtherProc(t *testing.T) {
	m := newMachine(t)
	s := open(t, Options{Proc: m.root})
	if got := s.Method(); !strings.Contains(got, "not of "+m.root) {
		t.Error(got)
	}
	m.process(10, "sh", "S", 1, 50, 200)
	next(t, s, "exec", func(e Event) bool { return e.Kind == Exec && e.PID == 10 })
	if _, err := Open(Options{Proc: filepath.Join(m.root, "nowhere")}); err == nil {
		t.Error("a source without /proc")
	}
}

func TestParseStat(t *testing.T) {
	const line = "12 (a) b (c) R 3 70 70 0 -1 4194308 1 2 3 4 150 50 0 0 20 0 7 0 99 4096 10 18446744073709551615 1000 2000 3000 0"
	got, ok := parseStat([]byte(line))
	want := stat{comm: "a) b (c", state: 'R', parent: 3, exiting: true, threads: 7, start: 99, code: 1000, stack: 3000}
	if !ok || got != want {
		t.Errorf("%+v, %v", got, ok)
	}
	own, ok := (&statReader{root: "/proc"}).read(os.Getpid())
	if !ok || own.parent != os.Getppid() || own.threads < 2 || own.start == 0 || own.ended() {
		t.Errorf("own: %+v, %v", own, ok)
	}
	for _, bad := range []string{"", "1 (a", "1 (a) ", "1 (a) R 1 2 3", ") ("} {
		if _, ok := parseStat([]byte(bad)); ok {
			t.Errorf("%q is taken for a stat line", bad)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("1 (a b) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 10 100 10 1 2 3 4 5"))
	f.Add(binary.NativeEndian.AppendUint16(make([]byte, 16), 24))
	f.Fuzz(func(t *testing.T, b []byte) {
		parseStat(b)
		eachEntry(b, func(n int, _ uint64) {
			if n <= 0 {
				t.Fatalf("PID %d", n)
			}
		})
	})
}
