package hang

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"procdump/victims/need"

	"github.com/jezek/xgb"
	"github.com/jezek/xgb/xproto"
)

// TestMain runs the test's X client if it is asked for.
func TestMain(m *testing.M) {
	if mode := os.Getenv("HANG_TEST_CLIENT"); mode != "" {
		if err := client(mode); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// client is a program with a window. It reads lines: "stop" and "go" end and
// begin the answering of pings, "unmap" removes the window. The modes are
// "ping", "mute" (the window lists no _NET_WM_PING), "foreign" (its
// WM_CLIENT_MACHINE is another host) and "late" (no window until "go").
func client(mode string) error {
	x, err := xgb.NewConn()
	if err != nil {
		return err
	}
	a, err := internAtoms(x)
	if err != nil {
		return err
	}
	root := xproto.Setup(x).DefaultScreen(x).Root
	var w xproto.Window
	create := func() error {
		if w, err = xproto.NewWindowId(x); err != nil {
			return err
		}
		xproto.CreateWindow(x, 0, w, root, 0, 0, 100, 100, 0, xproto.WindowClassInputOutput, 0, 0, nil)
		host, _ := os.Hostname()
		protocols := binary.LittleEndian.AppendUint32(nil, uint32(a.ping))
		if mode == "foreign" {
			host = "elsewhere"
		}
		set := func(name, kind xproto.Atom, format byte, value []byte) {
			xproto.ChangeProperty(x, xproto.PropModeReplace, w, name, kind, format, uint32(len(value))*8/uint32(format), value)
		}
		set(a.pid, xproto.AtomCardinal, 32, binary.LittleEndian.AppendUint32(nil, uint32(os.Getpid())))
		set(a.clientMachine, xproto.AtomString, 8, []byte(host))
		set(a.name, a.utf8, 8, []byte("Größe"))
		if mode != "mute" {
			set(a.protocols, xproto.AtomAtom, 32, protocols)
		}
		return xproto.MapWindowChecked(x, w).Check()
	}
	if mode != "late" {
		if err := create(); err != nil {
			return err
		}
	}
	fmt.Println("ready")
	var stopped atomic.Bool
	go func() {
		for {
			event, xerr := x.WaitForEvent()
			if event == nil && xerr == nil {
				os.Exit(0)
			}
			e, ok := event.(xproto.ClientMessageEvent)
			if !ok || stopped.Load() || xproto.Atom(e.Data.Data32[0]) != a.ping {
				continue
			}
			e.Window = root
			xproto.SendEvent(x, false, root, xproto.EventMaskSubstructureNotify|xproto.EventMaskSubstructureRedirect, string(e.Bytes()))
		}
	}()
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		switch lines.Text() {
		case "stop":
			stopped.Store(true)
		case "go":
			stopped.Store(false)
			if w == 0 {
				if err := create(); err != nil {
					return err
				}
			}
		case "unmap":
			if err := xproto.DestroyWindowChecked(x, w).Check(); err != nil {
				return err
			}
		}
		fmt.Println("done")
	}
	return nil
}

// server starts Xvfb and returns its DISPLAY and its process.
func server(t *testing.T, args ...string) (string, *os.Process) {
	t.Helper()
	xvfb := need.Tool(t, "Xvfb")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.Command(xvfb, append([]string{"-displayfd", "3", "-nolisten", "tcp", "-screen", "0", "320x200x24"}, args...)...)
	cmd.ExtraFiles = []*os.File{w}
	log, err := os.CreateTemp(t.TempDir(), "Xvfb")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	err = cmd.Start()
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGCONT)
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		log.Close()
	})
	r.SetReadDeadline(time.Now().Add(30 * time.Second))
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		text, _ := os.ReadFile(log.Name())
		t.Fatalf("start Xvfb: %v: %s", err, text)
	}
	return ":" + strings.TrimSpace(line), cmd.Process
}

// window starts a client of the display.
type window struct {
	t     *testing.T
	pid   int
	stdin io.WriteCloser
	lines *bufio.Reader
}

func startClient(t *testing.T, display, mode string, env ...string) *window {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), append(env, "DISPLAY="+display, "HANG_TEST_CLIENT="+mode)...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	w := &window{t, cmd.Process.Pid, stdin, bufio.NewReader(stdout)}
	w.expect("ready")
	return w
}

func (w *window) expect(want string) {
	w.t.Helper()
	if line, err := w.lines.ReadString('\n'); strings.TrimSpace(line) != want {
		w.t.Fatalf("client says %q, %v, want %s", line, err, want)
	}
}

func (w *window) tell(line string) {
	w.t.Helper()
	fmt.Fprintln(w.stdin, line)
	w.expect("done")
}

// openWindows opens the check with a short patience.
func openWindows(t *testing.T, pid int, waiting bool) *X11 {
	t.Helper()
	x, err := OpenX11(pid, waiting)
	if err != nil {
		t.Fatal(err)
	}
	x.limit, x.period = 500*time.Millisecond, 20*time.Millisecond
	t.Cleanup(func() { x.Close() })
	return x
}

func TestWindow(t *testing.T) {
	display, _ := server(t)
	t.Setenv("DISPLAY", display)
	w := startClient(t, display, "ping")
	other := startClient(t, display, "ping")
	x := openWindows(t, w.pid, false)
	y := openWindows(t, other.pid, false)
	await(t, x, Answering)
	w.tell("stop")
	if reason := await(t, x, Hung); !strings.Contains(reason, `window "Größe" (0x`) || !strings.Contains(reason, "_NET_WM_PING for ") {
		t.Errorf("reason %q", reason)
	}
	await(t, y, Answering)
	// The pings that it missed are lost, but it is asked again.
	w.tell("go")
	await(t, x, Answering)
	w.tell("stop")
	await(t, x, Hung)
	x.Forget()
	if s, _, _ := x.Check(time.Now()); s == Hung {
		t.Error("hung after Forget")
	}
	w.tell("go")
	await(t, x, Answering)
	// A stopped process does not answer, either.
	syscall.Kill(w.pid, syscall.SIGSTOP)
	await(t, x, Hung)
	syscall.Kill(w.pid, syscall.SIGCONT)
	await(t, x, Answering)
	w.tell("unmap")
	if reason := await(t, x, Unknown); !strings.Contains(reason, "no window") {
		t.Errorf("reason %q", reason)
	}
}

// TestWindowDefaults: silence of less than 5 s is no hang.
func TestWindowDefaults(t *testing.T) {
	display, _ := server(t)
	t.Setenv("DISPLAY", display)
	w := startClient(t, display, "ping")
	w.tell("stop")
	x, err := OpenX11(w.pid, false)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	begin := time.Now()
	await(t, x, Silent)
	await(t, x, Hung)
	if took := time.Since(begin); took < Limit {
		t.Errorf("hung after %v", took)
	}
}

func TestWindowLate(t *testing.T) {
	display, _ := server(t)
	t.Setenv("DISPLAY", display)
	w := startClient(t, display, "late")
	if _, err := OpenX11(w.pid, false); !errors.Is(err, ErrNoWindow) {
		t.Errorf("no window: %v, want ErrNoWindow", err)
	}
	x := openWindows(t, w.pid, true)
	if reason := await(t, x, Unknown); reason == "" {
		t.Error("no reason")
	}
	w.tell("go")
	await(t, x, Answering)
}

func TestNotPingable(t *testing.T) {
	display, _ := server(t)
	t.Setenv("DISPLAY", display)
	mute, foreign := startClient(t, display, "mute"), startClient(t, display, "foreign")
	if _, err := OpenX11(mute.pid, false); !errors.Is(err, ErrNoWindow) || !strings.Contains(err.Error(), "do not list _NET_WM_PING") {
		t.Errorf("window without the protocol: %v", err)
	}
	if _, err := OpenX11(foreign.pid, false); !errors.Is(err, ErrNoWindow) {
		t.Errorf("window of another host: %v", err)
	}
}

// TestServerHangs: neither does it make the program look hung, nor does a check
// wait for it.
func TestServerHangs(t *testing.T) {
	display, process := server(t)
	t.Setenv("DISPLAY", display)
	w := startClient(t, display, "ping")
	x := openWindows(t, w.pid, false)
	await(t, x, Answering)
	process.Signal(syscall.SIGSTOP)
	waitUntil(t, "the reason", func() bool {
		s, reason, err := x.Check(time.Now())
		if s == Hung || err != nil {
			t.Fatalf("%s (%s), %v", s, reason, err)
		}
		return strings.Contains(reason, "X server does not answer")
	})
	if _, err := OpenX11(w.pid, false); !errors.Is(err, ErrNoDisplay) {
		t.Errorf("opened at a server that hangs: %v", err)
	}
	process.Signal(syscall.SIGCONT)
	await(t, x, Answering)
	process.Signal(syscall.SIGKILL)
	waitUntil(t, "the connection's end", func() bool {
		_, _, err := x.Check(time.Now())
		return errors.Is(err, ErrNoDisplay)
	})
}

// TestKey: a server with access control, whose key only the process's own
// environment names.
func TestKey(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	auth := filepath.Join(t.TempDir(), "Xauthority")
	cookie := []byte("0123456789abcdef")
	var entry []byte
	for _, part := range []string{host, "", cookieName, string(cookie)} {
		entry = append(binary.BigEndian.AppendUint16(entry, uint16(len(part))), part...)
	}
	if err := os.WriteFile(auth, append([]byte{1, 0}, entry...), 0o600); err != nil {
		t.Fatal(err)
	}
	display, _ := server(t, "-auth", auth)
	w := startClient(t, display, "ping", "XAUTHORITY="+auth)
	t.Setenv("DISPLAY", "")
	await(t, openWindows(t, w.pid, false), Answering)
	// Without the key the server refuses; the process's environment is that
	// of the test here, as no process with this PID exists.
	t.Setenv("DISPLAY", display)
	t.Setenv("XAUTHORITY", filepath.Join(t.TempDir(), "none"))
	if _, err := openX11(t.TempDir(), w.pid, false); !errors.Is(err, ErrNoDisplay) || !strings.Contains(err.Error(), "XAUTHORITY") {
		t.Errorf("without the key: %v", err)
	}
	// Our own display has no window of the process, its own has.
	elsewhere, _ := server(t)
	t.Setenv("DISPLAY", elsewhere)
	await(t, openWindows(t, w.pid, false), Answering)
}
