package execgate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"procdump/victims/need"
)

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

// holder is a gate that notes whom it holds, and lets them go when told.
type holder struct {
	*Gate
	t *testing.T

	mu    sync.Mutex
	all   []Newcomer
	fails atomic.Int64
}

func open(t *testing.T, words ...string) *holder {
	t.Helper()
	need.Root(t)
	h := &holder{t: t}
	g, err := Open(Options{Words: words,
		Handle: func(n Newcomer) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.all = append(h.all, n)
		},
		Failed: func(error) { h.fails.Add(1) }})
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, errors.ErrUnsupported) {
		need.Missing(t, "fanotify", err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	h.Gate = g
	return h
}

func (h *holder) holds() []Newcomer {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]Newcomer(nil), h.all...)
}

func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("in %v it was not to be seen: %s", patience, what)
		}
	}
}

// program is a copy of true(1) under a name that no other program has.
func program(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// start runs a program; Start itself returns when it is executed, so it has a
// goroutine.
func start(path string, args ...string) (ended chan error) {
	ended = make(chan error, 1)
	go func() { ended <- exec.Command(path, args...).Run() }()
	return ended
}

func TestHeldUntilAllowed(t *testing.T) {
	h := open(t, "Gate-Victim")
	path := program(t, "my-gate-victim.x")
	ended := start(path)
	until(t, "a hold", func() bool { return len(h.holds()) == 1 })
	n := h.holds()[0]
	exe, err := os.Readlink("/proc/" + strconv.Itoa(n.PID) + "/exe")
	if err != nil || exe == path || n.TID != n.PID {
		t.Errorf("held is %+v, which executes %s (%v)", n, exe, err)
	}
	select {
	case err := <-ended:
		t.Fatalf("it was not held: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	n.Allow()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	// Others are not held.
	if err := exec.Command("/bin/true").Run(); err != nil {
		t.Error(err)
	}
	if all := h.holds(); len(all) != 1 {
		t.Errorf("held were %+v", all)
	}
}

// TestWhatIsHeld has the word in all the places where it counts.
func TestWhatIsHeld(t *testing.T) {
	h := open(t, "gate-word")
	go func() {
		for done := 0; ; time.Sleep(time.Millisecond) {
			select {
			case <-h.closed:
				return
			default:
			}
			for all := h.holds(); done < len(all); done++ {
				all[done].Allow()
			}
		}
	}()
	plain := program(t, "plain")
	link := filepath.Join(t.TempDir(), "gate-word-link")
	if err := os.Symlink(plain, link); err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(t.TempDir(), "GATE-WORD.sh")
	if err := os.WriteFile(script, []byte("#!/bin/sh\nexit 0\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	// Held when it opens the script: later the kernel does not let one attach.
	interpreted := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(interpreted, []byte("#!"+program(t, "gate-word-interpreter")+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	// The word is in the interpreter's own path alone, which a link leads to.
	hidden := filepath.Join(t.TempDir(), "interpreter")
	if err := os.Symlink(program(t, "gate-word-hidden"), hidden); err != nil {
		t.Fatal(err)
	}
	linked := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(linked, []byte("#!"+hidden+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	// The script of a script.
	nested := filepath.Join(t.TempDir(), "gate-word-nested")
	if err := os.WriteFile(nested, []byte("#!"+linked+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	page := strings.Repeat("x", 5000)
	for _, c := range []struct {
		name string
		cmd  exec.Cmd
		held bool
	}{
		{"no word", exec.Cmd{Path: plain, Args: []string{"plain", "a", "b"}}, false},
		{"a link", exec.Cmd{Path: link, Args: []string{"plain"}}, true},
		{"argv[0]", exec.Cmd{Path: plain, Args: []string{"gate-word"}}, true},
		{"the first argument", exec.Cmd{Path: plain, Args: []string{"plain", "-x", "/some/gate-word.py"}}, true},
		{"a later argument", exec.Cmd{Path: plain, Args: []string{"plain", "-x", "a", "/some/gate-word.py"}}, false},
		{"a script", exec.Cmd{Path: script, Args: []string{script}}, true},
		{"a script's interpreter", exec.Cmd{Path: interpreted, Args: []string{interpreted}}, true},
		{"a script's linked interpreter", exec.Cmd{Path: linked, Args: []string{linked}}, true},
		{"a script's script, once", exec.Cmd{Path: nested, Args: []string{nested}}, true},
		{"long arguments", exec.Cmd{Path: plain, Args: []string{"plain", page, page}}, false},
		{"after a long option", exec.Cmd{Path: plain, Args: []string{"plain", "-" + page, "gate-word"}}, true},
		{"many arguments", exec.Cmd{Path: plain, Args: append([]string{"plain"}, strings.Split(page[:2*maxArgs], "")...)}, false},
		{"many options", exec.Cmd{Path: plain, Args: append([]string{"plain"}, strings.Fields(strings.Repeat("-x ", 2*maxArgs))...)}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := len(h.holds())
			if err := c.cmd.Run(); err != nil {
				t.Fatal(err)
			}
			want := before
			if c.held {
				want++
			}
			if held := len(h.holds()); held != want {
				t.Errorf("held %d times", held-before)
			}
		})
	}
}

func TestWithoutWords(t *testing.T) {
	h := open(t)
	path := program(t, "anything")
	ended := start(path)
	until(t, "the end", func() bool {
		for _, n := range h.holds() {
			n.Allow()
		}
		return len(ended) > 0
	})
	if len(h.holds()) == 0 {
		t.Error("nothing was held")
	}
}

// TestHoldLimit has a caller that does not answer: only the first program waits.
func TestHoldLimit(t *testing.T) {
	h := open(t, "gate-forgotten")
	path := program(t, "gate-forgotten")
	for range 3 {
		if err := <-start(path); err != nil {
			t.Error(err)
		}
	}
	if all := h.holds(); len(all) != 1 {
		t.Errorf("held were %+v", all)
	}
}

func TestCloseLetsGo(t *testing.T) {
	h := open(t, "gate-closed")
	began := time.Now()
	ended := start(program(t, "gate-closed"))
	until(t, "a hold", func() bool { return len(h.holds()) == 1 })
	h.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	t.Logf("after %v", time.Since(began))
	h.holds()[0].Allow() // too late, and no harm
	if h.fails.Load() != 0 {
		t.Error("Close was told as a failure")
	}
}

// TestKeeperEnds has keepers that end, or stand still, while a program is held
// that nobody lets go.
func TestKeeperEnds(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP} {
		t.Run(sig.String(), func(t *testing.T) {
			h := open(t, "gate-orphan")
			path := program(t, "gate-orphan")
			h.mu.Lock() // Handle waits: it has not been asked
			ended := start(path)
			pid := h.keep.Pid
			time.Sleep(20 * time.Millisecond)
			if err := syscall.Kill(pid, sig); err != nil {
				t.Fatal(err)
			}
			h.mu.Unlock()
			select {
			case err := <-ended:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(patience):
				t.Fatal("it is held for ever")
			}
			until(t, "the failure", func() bool { return h.fails.Load() == 1 })
			// Another keeper takes its place.
			until(t, "another keeper", func() bool {
				h.Gate.mu.Lock()
				defer h.Gate.mu.Unlock()
				return h.sock >= 0
			})
			before := len(h.holds())
			ended = start(path)
			until(t, "a hold", func() bool { return len(h.holds()) > before })
			h.holds()[before].Allow()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}

// callerEnv makes the test binary a caller that holds and never lets go.
const callerEnv = "EXECGATE_TEST_CALLER"

func TestMain(m *testing.M) {
	if os.Getenv(callerEnv) != "" {
		g, err := Open(Options{Words: []string{"gate-left"}, Handle: func(Newcomer) { os.Stdout.WriteString("held\n") }})
		if err != nil {
			panic(err)
		}
		os.Stdout.WriteString("open\n")
		time.Sleep(time.Minute)
		g.Close()
	}
	os.Exit(m.Run())
}

// TestCallerKilled kills the caller, and looks for what is left of it.
func TestCallerKilled(t *testing.T) {
	open(t, "gate-none").Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), callerEnv+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var word [5]byte
	expect := func(want string) {
		t.Helper()
		if _, err := out.Read(word[:]); err != nil || string(word[:]) != want {
			t.Fatalf("%q, %v; want %q", word, err, want)
		}
	}
	expect("open\n")
	keepers, _ := filepath.Glob("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/task/*/children")
	var children string
	for _, f := range keepers {
		b, _ := os.ReadFile(f)
		children += string(b)
	}
	keeper, err := strconv.Atoi(strings.TrimSpace(children))
	if err != nil {
		t.Fatalf("children %q", children)
	}
	ended := start(program(t, "gate-left"))
	expect("held\n")
	cmd.Process.Kill()
	cmd.Wait()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	until(t, "the keeper's end", func() bool { return syscall.Kill(keeper, 0) == syscall.ESRCH })
}

// TestMounts is held on a file system that was mounted after Open.
func TestMounts(t *testing.T) {
	h := open(t, "gate-mounted")
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, ""); err != nil {
		t.Skipf("cannot mount: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	path := filepath.Join(dir, "gate-mounted")
	if err := os.Rename(program(t, "x"), path); err != nil {
		b, _ := os.ReadFile("/bin/true")
		if err := os.WriteFile(path, b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// The mark comes a moment after the mount.
	until(t, "a hold", func() bool {
		if err := exec.Command(path).Run(); err != nil {
			t.Fatal(err)
		}
		return len(h.holds()) > 0
	})
}

// TestMarks: what is looked up through a remote file system, or is on one, is
// not marked; what is there in another mount namespace is.
func TestMarks(t *testing.T) {
	proc := t.TempDir()
	for pid, mounts := range map[string]string{
		"self": `20 1 8:1 / / rw - ext4 /dev/sda1 rw
21 20 0:5 / /proc rw - proc proc rw
22 20 0:30 / /mnt/a/b rw - tmpfs none rw
23 20 0:31 / /mnt/a rw - fuse.sshfs a:/ rw
24 20 0:32 / /mnt/ab rw - xfs /dev/sdb1 rw
25 20 0:33 / /home rw - nfs4 server:/home rw
`,
		"77": `30 1 0:40 / / rw - overlay overlay rw
`,
		"78": `31 1 0:41 / / rw - nfs server:/ rw
32 31 0:42 / /tmp rw - tmpfs none rw
`,
	} {
		if err := os.MkdirAll(filepath.Join(proc, pid, "ns"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(proc, pid, "mountinfo"), []byte(mounts), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("mnt:["+pid+"]", filepath.Join(proc, pid, "ns", "mnt")); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	m := &marker{proc: proc, mark: func(path string) error { got = append(got, path); return nil }}
	if err := m.scan(); err != nil {
		t.Error(err)
	}
	want := []string{"/", "/mnt/ab", proc + "/77/root/"}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("marked %q, want %q", got, want)
	}
	if err := os.WriteFile(filepath.Join(proc, "self", "mountinfo"), []byte("20 1 0:9 / / rw - nfs server:/ rw\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := m.scan(); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a remote root: %v", err)
	}
}

func TestSince(t *testing.T) {
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		t.Fatal(err)
	}
	var major, minor int
	if _, err := fmt.Sscanf(string(b), "%d.%d", &major, &minor); err != nil {
		t.Fatal(err)
	}
	for version, want := range map[[2]int]bool{{major, minor}: true, {major - 1, minor + 1}: true, {major, minor + 1}: false, {major + 1, 0}: false} {
		if since(version[0], version[1]) != want {
			t.Errorf("Linux %s since %v: %v", b, version, !want)
		}
	}
}

func TestIsKeeper(t *testing.T) {
	h := open(t, "gate-none")
	if !IsKeeper(h.keep.Pid) || IsKeeper(os.Getpid()) {
		t.Error("the keeper is not told from others")
	}
}
