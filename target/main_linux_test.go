package target

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The test binary is also every helper of the tests, by TARGET_HELPER: victims
// that print a line when they are ready and live until their stdin ends, and
// this package's functions run as another user, which print JSON.
const helperVariable = "TARGET_HELPER"

const nobody = 65534

// public is a folder that every user may enter, for programs that run as nobody.
var public string

func init() {
	// Some victims do something to their first thread, this one.
	if os.Getenv(helperVariable) != "" {
		runtime.LockOSThread()
	}
}

func TestMain(m *testing.M) {
	if mode := os.Getenv(helperVariable); mode != "" {
		os.Unsetenv(helperVariable)
		if err := helper(mode, os.Args[1:]); err != nil {
			fmt.Println("helper:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if public, err = os.MkdirTemp("/tmp", "target"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(public)
	if err := os.Chmod(public, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// helper is what the test binary does as the helper called mode.
func helper(mode string, args []string) error {
	switch mode {
	case "wait":
	case "undumpable":
		if err := prctl(syscall.PR_SET_DUMPABLE, 0); err != nil {
			return err
		}
	case "comm":
		if err := os.WriteFile("/proc/self/comm", []byte(args[0]), 0); err != nil {
			return err
		}
	case "listen":
		return listen()
	case "zombies":
		return zombies()
	case "leaderless":
		go func() {
			fmt.Println("ready")
			io.Copy(io.Discard, os.Stdin)
			os.Exit(0)
		}()
		syscall.RawSyscall(syscall.SYS_EXIT, 0, 0, 0) // of this thread only
	case "trace":
		return trace(args[0])
	case "explain":
		pid, _ := strconv.Atoi(args[0])
		return printJSON(ExplainDenied(pid))
	case "find":
		s, err := ParseSelector(args[0])
		if err != nil {
			return err
		}
		_, err = Find(s)
		return printJSON(err)
	case "announce":
		return announce(args)
	case "cancel":
		pid, _ := strconv.Atoi(args[0])
		n, err := Cancel(pid)
		fmt.Println(n)
		return printJSON(err)
	case "launch":
		c, err := Launch(args[0], args[1:])
		if err != nil {
			return err
		}
		fmt.Println(c.PID)
		return nil
	case "held":
		return heldHelper(args)
	default:
		return errors.New("no helper " + mode)
	}
	fmt.Println("ready", os.Getpid())
	io.Copy(io.Discard, os.Stdin)
	return nil
}

// report is an error on its way between processes.
type report struct {
	Text    string
	Denied  bool
	Reasons []Reason
	Hidden  int
}

func printJSON(err error) error {
	r := report{Denied: errors.Is(err, ErrDenied)}
	if err != nil {
		r.Text = err.Error()
	}
	if d := (*DeniedError)(nil); errors.As(err, &d) {
		for _, c := range d.Causes {
			r.Reasons = append(r.Reasons, c.Reason)
		}
	}
	if n := (*NotFoundError)(nil); errors.As(err, &n) {
		r.Hidden = n.Hidden
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

func prctl(option, value uintptr) error {
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, option, value, 0); errno != 0 {
		return errno
	}
	return nil
}

// listen opens a TCP and a UDP socket and prints their ports.
func listen() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	u, err := net.ListenPacket("udp", "[::1]:0")
	if err != nil {
		if u, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
			return err
		}
	}
	go func() {
		for {
			if _, err := l.Accept(); err != nil {
				return
			}
		}
	}()
	fmt.Println("ready", l.Addr().(*net.TCPAddr).Port, u.LocalAddr().(*net.UDPAddr).Port)
	io.Copy(io.Discard, os.Stdin)
	runtime.KeepAlive(l)
	runtime.KeepAlive(u)
	return nil
}

// zombies leaves two children uncollected and prints their PIDs.
func zombies() error {
	failed := exec.Command("/bin/sh", "-c", "exit 3")
	killed := exec.Command("/bin/sleep", "1000")
	for _, c := range []*exec.Cmd{failed, killed} {
		if err := c.Start(); err != nil {
			return err
		}
	}
	killed.Process.Signal(syscall.SIGUSR1)
	fmt.Println("ready", failed.Process.Pid, killed.Process.Pid)
	io.Copy(io.Discard, os.Stdin)
	return nil
}

// trace attaches to one thread and keeps it.
func trace(tid string) error {
	n, err := strconv.Atoi(tid)
	if err != nil {
		return err
	}
	const seize = 0x4206 // PTRACE_SEIZE
	if _, _, errno := syscall.RawSyscall6(syscall.SYS_PTRACE, seize, uintptr(n), 0, 0, 0, 0); errno != 0 {
		return fmt.Errorf("seize %d: %w", n, errno)
	}
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin)
	return nil
}

// announce is a procdump that watches the given PIDs until it is cancelled.
func announce(args []string) error {
	cancelled := make(chan int, len(args))
	watches := make([]io.Closer, len(args))
	for i, arg := range args {
		pid, _ := strconv.Atoi(arg)
		w, err := Announce(pid, func() { cancelled <- i })
		if err != nil {
			return err
		}
		watches[i] = w
	}
	fmt.Println("ready")
	for range args {
		i := <-cancelled
		fmt.Println("cancelled", args[i])
		watches[i].Close()
	}
	return nil
}

// program makes the test binary available under a name in the public folder.
func program(t *testing.T, name string) string {
	t.Helper()
	dir, err := os.MkdirTemp(public, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name)
	if os.Link(self, path) == nil {
		return path
	}
	b, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// victim is a running helper.
type victim struct {
	*exec.Cmd
	in    io.WriteCloser
	lines *bufio.Reader
	first string // the line it printed when it was ready
}

func (v *victim) pid() int { return v.Process.Pid }

// start runs a helper until the test ends; prepare may change the command.
func start(t *testing.T, mode string, prepare func(*exec.Cmd), args ...string) *victim {
	t.Helper()
	return startProgram(t, program(t, "victim"), mode, prepare, args...)
}

func startProgram(t *testing.T, path, mode string, prepare func(*exec.Cmd), args ...string) *victim {
	t.Helper()
	v := &victim{Cmd: exec.Command(path, args...)}
	v.Env = append(os.Environ(), helperVariable+"="+mode)
	v.Stderr = os.Stderr
	v.Dir = "/"
	if prepare != nil {
		prepare(v.Cmd)
	}
	var err error
	if v.in, err = v.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := v.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		v.in.Close()
		v.Process.Kill()
		v.Wait()
	})
	v.lines = bufio.NewReader(out)
	v.first = v.line(t)
	if !strings.HasPrefix(v.first, "ready") {
		t.Fatalf("helper %s: %s", mode, v.first)
	}
	return v
}

func (v *victim) line(t *testing.T) string {
	t.Helper()
	line, err := v.lines.ReadString('\n')
	if err != nil {
		t.Fatalf("helper %d: %v", v.pid(), err)
	}
	return strings.TrimSpace(line)
}

// numbers of the line it printed when it was ready.
func (v *victim) numbers(t *testing.T) (ns []int) {
	t.Helper()
	for _, f := range strings.Fields(v.first)[1:] {
		n, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		ns = append(ns, n)
	}
	return ns
}

// ask runs a helper to its end and reads the report it prints last.
func ask(t *testing.T, mode string, prepare func(*exec.Cmd), args ...string) (r report, out string) {
	t.Helper()
	c := exec.Command(program(t, "asker"), args...)
	c.Env = append(os.Environ(), helperVariable+"="+mode)
	c.Dir = "/"
	if prepare != nil {
		prepare(c)
	}
	b, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("helper %s: %v\n%s", mode, err, b)
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &r); err != nil {
		t.Fatalf("helper %s: %v\n%s", mode, err, b)
	}
	return r, string(b)
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

func asNobody(c *exec.Cmd) {
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
}

// eventually waits for what another process is about to do.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s does not come true", what)
		}
	}
}

// TestUnprivileged runs every other test as nobody.
func TestUnprivileged(t *testing.T) {
	needRoot(t)
	c := exec.Command(program(t, "target.test"), "-test.v", "-test.skip", "^TestUnprivileged$")
	c.Dir = public
	asNobody(c)
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/"}
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.Contains(string(out), "--- PASS: TestNames") {
		t.Errorf("no tests were run:\n%s", out)
	}
	t.Logf("%d passed, %d skipped", strings.Count(string(out), "--- PASS"), strings.Count(string(out), "--- SKIP"))
}
