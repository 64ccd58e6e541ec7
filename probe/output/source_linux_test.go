package output

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"procdump/victims/need"
)

const patience = 30 * time.Second

// next waits for a line of the victim.
func next(t testing.TB, s *Source, v *victim) Line {
	t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case l, ok := <-s.Lines():
			if !ok {
				t.Fatal("no more lines")
			}
			if l.PID == v.Process.Pid {
				return l
			}
			t.Errorf("line of another process: %+v", l)
		case <-deadline:
			t.Fatalf("no line within %v; %d lost", patience, s.Lost())
		}
	}
}

// builds are the victims of both kinds of program.
func builds(t *testing.T) map[string]string {
	return map[string]string{"64-bit": build(t), "32-bit": build(t, "-m32")}
}

func letters(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = 'a' + byte(i%26)
	}
	return string(b)
}

func TestEveryWayToWrite(t *testing.T) {
	s := open(t)
	t.Logf("method: %s", s.Method())
	for kind, exe := range builds(t) {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			out, errs := file(t, filepath.Join(dir, "out")), file(t, filepath.Join(dir, "err"))
			v := start(t, exe, out, errs)
			if err := s.Add(v.Process.Pid); err != nil {
				t.Fatal(err)
			}
			defer s.Remove(v.Process.Pid)
			for _, c := range []struct {
				command string
				fd      int
				text    string
			}{
				{"line hello world", 1, "hello world"},
				{"printf by stdio", 1, "by stdio"},
				{"err trouble", 2, "trouble"},
				{"writev one two", 1, "onetwo"},
				{"pwrite placed", 1, "placed"},
				{"dup duplicate", 1, "duplicate"},
				{"other elsewhere", 0, ""},
				{"reopen reopened", 1, "reopened"},
				{"swap swapped", 1, "swapped"},
				{"pieces 200", 1, letters(200)},
				{"long 4000", 1, letters(4000)},
				{"const", 1, "constant"},
				{"prompt name?", 1, "name?"},
				{"raw", 1, `a\x1b[1mb\xffé` + "\t"},
				{"line ", 1, ""},
			} {
				before := time.Now()
				v.tell(t, c.command)
				if c.fd == 0 {
					continue // the next line shows that there was none
				}
				l := next(t, s, v)
				if l.Text != c.text || l.FD != c.fd || l.Cut || l.Syslog || l.TID != v.Process.Pid {
					t.Errorf("%s: %+v, want %q of descriptor %d", c.command, l, c.text, c.fd)
				}
				// The clocks are read at different moments and may be stepped.
				if d := l.Time.Sub(before); d < -time.Second || d > patience {
					t.Errorf("%s: at %v, %v after the command", c.command, l.Time, d)
				}
			}
			b, err := os.ReadFile(out.Name())
			if err != nil || !strings.Contains(string(b), "hello world\nby stdio\nonetwo\n") {
				t.Errorf("the victim's own file holds %q, %v", b, err)
			}
		})
	}
}

func TestWhereverItLeads(t *testing.T) {
	s := open(t)
	exe := build(t)
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	near, far := os.NewFile(uintptr(pair[0]), "near"), os.NewFile(uintptr(pair[1]), "far")
	defer near.Close()
	defer far.Close()
	pr, pw, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pr.Close()
	defer pw.Close()
	for _, c := range []struct {
		name     string
		to       *os.File
		got      *os.File
		commands []string
	}{
		{"null", null, nil, []string{"line", "writev"}},
		{"pipe", pw, pr, []string{"line", "writev"}},
		{"socket", near, far, []string{"line", "writev", "send"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := start(t, exe, c.to, c.to)
			if err := s.Add(v.Process.Pid); err != nil {
				t.Fatal(err)
			}
			defer s.Remove(v.Process.Pid)
			for _, command := range append(c.commands, "err") {
				v.tell(t, command+" <3>seen"+map[bool]string{true: " <3>seen"}[command == "writev"])
				want := Line{PID: v.Process.Pid, TID: v.Process.Pid, FD: 1, Text: "<3>seen"}
				if command == "writev" {
					want.Text = "<3>seen<3>seen"
				}
				if command == "err" {
					want.FD = 2
				}
				l := next(t, s, v)
				l.Time = time.Time{}
				if l != want {
					t.Errorf("%s: %+v, want %+v", command, l, want)
				}
				if c.got != nil {
					b := make([]byte, 64)
					n, err := io.ReadAtLeast(c.got, b, len(want.Text)+1)
					if err != nil || string(b[:n]) != want.Text+"\n" {
						t.Errorf("%s: the other end got %q, %v", command, b[:n], err)
					}
				}
			}
			v.tell(t, "closeall only one")
			if l := next(t, s, v); l.Text != "only one" || l.FD != 1 {
				t.Errorf("with standard error closed: %+v", l)
			}
		})
	}
}

func TestSyslog(t *testing.T) {
	s := open(t)
	path := filepath.Join(t.TempDir(), "log")
	daemon, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer daemon.Close()
	for kind, exe := range builds(t) {
		t.Run(kind, func(t *testing.T) {
			null := file(t, os.DevNull)
			v := start(t, exe, null, null)
			if err := s.Add(v.Process.Pid); err != nil {
				t.Fatal(err)
			}
			defer s.Remove(v.Process.Pid)
			for _, c := range []struct{ command, sent, shown string }{
				{"syslog", "<14>by sendto", "by sendto"},
				{"sendmsg", "<14>by sendmsg", "by sendmsg"},
				{"connected", "<14>by write", "by write"},
				{"unixother", "not a log", ""},
				{"unixother", "<abc>not a log", ""},
				{"journal", "PRIORITY=6\nMESSAGE=by journal\nX=1\n", "by journal"},
			} {
				text := c.shown
				if text == "" {
					text = c.sent
				}
				v.tell(t, c.command+" "+path+" "+text)
				b := make([]byte, 256)
				daemon.SetReadDeadline(time.Now().Add(patience))
				if n, err := daemon.Read(b); err != nil || string(b[:n]) != c.sent {
					t.Errorf("%s: the daemon got %q, %v", c.command, b[:n], err)
				}
				if c.shown == "" {
					continue
				}
				if l := next(t, s, v); l.Text != c.shown || !l.Syslog || l.FD != -1 || l.Cut {
					t.Errorf("%s: %+v, want %q", c.command, l, c.shown)
				}
			}
		})
	}
}

func TestPythonLogging(t *testing.T) {
	s := open(t)
	path := filepath.Join(t.TempDir(), "log")
	daemon, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer daemon.Close()
	v := &victim{Cmd: exec.Command(need.Tool(t, "python3"), "-c", `
import logging, logging.handlers, sys
log = logging.getLogger()
log.addHandler(logging.handlers.SysLogHandler(sys.argv[1]))
log.addHandler(logging.StreamHandler())
for line in sys.stdin:
    log.error("from python %s", line.strip())
    print("printed", flush=True)
`, path)}
	if v.in, err = v.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := v.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { v.in.Close(); v.Wait() }()
	if err := s.Add(v.Process.Pid); err != nil {
		t.Fatal(err)
	}
	v.tell(t, "é")
	// The interpreter may have to say something of its own when it starts.
	missing := []string{"-1 from python é", "2 from python é", "1 printed"}
	for len(missing) > 0 {
		l := next(t, s, v)
		missing = slices.DeleteFunc(missing, func(m string) bool { return m == fmt.Sprint(l.FD, " ", l.Text) })
	}
}

func TestLongLinesAreCut(t *testing.T) {
	s := open(t)
	v := start(t, build(t), file(t, os.DevNull), nil)
	if err := s.Add(v.Process.Pid); err != nil {
		t.Fatal(err)
	}
	const n = 60000
	v.tell(t, fmt.Sprint("long ", n))
	var all strings.Builder
	for all.Len() < n {
		l := next(t, s, v)
		all.WriteString(l.Text)
		if l.Cut != (all.Len() < n) {
			t.Errorf("after %d bytes of %d: cut is %v", all.Len(), n, l.Cut)
		}
	}
	if all.String() != letters(n) {
		t.Error("the text is another one")
	}
	// More than is taken of one write.
	v.tell(t, "long 300000")
	v.tell(t, "line after")
	total := 0
	for {
		l := next(t, s, v)
		if l.Text == "after" {
			break
		}
		total += len(l.Text)
		if !l.Cut {
			t.Error("a line of which the rest is missing is not cut")
		}
	}
	if total != 32*4096 {
		t.Errorf("%d bytes of a write of 300,000", total)
	}
}

func TestThreadsKeepTheirLines(t *testing.T) {
	s := open(t)
	v := start(t, build(t), file(t, filepath.Join(t.TempDir(), "out")), nil)
	if err := s.Add(v.Process.Pid); err != nil {
		t.Fatal(err)
	}
	const n = 500
	v.tell(t, fmt.Sprint("threads ", n))
	var seen [4]int
	for range 4 * n {
		l := next(t, s, v)
		var thread, line int
		if _, err := fmt.Sscanf(l.Text, "thread %d line %d", &thread, &line); err != nil {
			t.Fatalf("line %q", l.Text)
		}
		if line != seen[thread] {
			t.Fatalf("thread %d: line %d, want %d", thread, line, seen[thread])
		}
		seen[thread]++
	}
}

// TestUnreadLinesAreCountedAsLost lets nobody read the lines.
func TestUnreadLinesAreCountedAsLost(t *testing.T) {
	s := open(t)
	v := start(t, build(t), file(t, os.DevNull), nil)
	if err := s.Add(v.Process.Pid); err != nil {
		t.Fatal(err)
	}
	const n = 400000
	v.tell(t, fmt.Sprint("many ", n))
	v.in.Close()
	v.Wait()
	got, lost := 0, s.Lost()
	if lost == 0 {
		t.Fatal("nothing lost in 400,000 lines that nobody reads")
	}
	for quiet := false; !quiet; {
		select {
		case <-s.Lines():
			got++
		case <-time.After(2 * time.Second):
			quiet = true
		}
	}
	if got+int(lost) != n {
		t.Errorf("%d lines and %d lost, want %d together", got, lost, n)
	}
}

func TestRemovedAndUnaddedAreNotSeen(t *testing.T) {
	s := open(t)
	exe := build(t)
	out := filepath.Join(t.TempDir(), "other")
	seen, other := start(t, exe, file(t, os.DevNull), nil), start(t, exe, file(t, out), nil)
	if err := s.Add(seen.Process.Pid); err != nil {
		t.Fatal(err)
	}
	other.tell(t, "line unseen")
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if b, _ := os.ReadFile(out); string(b) == "unseen\n" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the victim does not write")
		}
	}
	seen.tell(t, "line seen")
	if l := next(t, s, seen); l.Text != "seen" {
		t.Errorf("%+v", l)
	}
	s.Remove(seen.Process.Pid)
	if err := s.Add(other.Process.Pid); err != nil {
		t.Fatal(err)
	}
	seen.tell(t, "line gone")
	other.tell(t, "line other")
	if l := next(t, s, other); l.Text != "other" {
		t.Errorf("%+v", l)
	}
}

func TestAddRefuses(t *testing.T) {
	s := open(t)
	if err := s.Add(os.Getpid()); err == nil {
		t.Error("watches itself")
	}
	if err := s.Add(1 << 22); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a process that cannot be: %v", err)
	}
}

func TestCloseEndsLines(t *testing.T) {
	s := open(t)
	s.Close()
	s.Close()
	if _, ok := <-s.Lines(); ok {
		t.Error("a line after Close")
	}
}
