package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"procdump/victims"
)

// terminal is a procdump on a pseudo-terminal of its own (pty(7)).
type terminal struct {
	t      *testing.T
	master *os.File
	cmd    *exec.Cmd

	mu     sync.Mutex
	raw    strings.Builder
	screen screen
	closed bool // no more output comes
}

// onTerminal starts procdump as the leader of a session whose terminal has so
// many columns.
func onTerminal(t *testing.T, columns uint16, args ...string) *terminal {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	var number, unlock int32
	size := [4]uint16{40, columns}
	ioctl := func(request uintptr, arg unsafe.Pointer) {
		raw, err := master.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		raw.Control(func(fd uintptr) {
			if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, fd, request, uintptr(arg)); e != 0 {
				t.Fatalf("ioctl %#x of a terminal: %v", request, e)
			}
		})
	}
	ioctl(syscall.TIOCSPTLCK, unsafe.Pointer(&unlock))
	ioctl(syscall.TIOCGPTN, unsafe.Pointer(&number))
	ioctl(syscall.TIOCSWINSZ, unsafe.Pointer(&size))
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer slave.Close()
	x := &terminal{t: t, master: master, cmd: exec.Command(binary(t), args...)}
	x.cmd.Stdin, x.cmd.Stdout, x.cmd.Stderr = slave, slave, slave
	x.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := x.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go x.read()
	t.Cleanup(func() {
		x.cmd.Process.Signal(syscall.SIGTERM)
		x.cmd.Wait()
		if t.Failed() {
			x.mu.Lock()
			t.Logf("the terminal shows\n%s\nafter %q", &x.screen, x.raw.String())
			x.mu.Unlock()
		}
	})
	return x
}

// read takes in what is printed until the terminal is closed (EIO).
func (x *terminal) read() {
	buf := make([]byte, 4096)
	var rest []byte
	for {
		n, err := x.master.Read(buf)
		x.mu.Lock()
		x.raw.Write(buf[:n])
		rest = x.screen.put(append(rest, buf[:n]...))
		x.closed = err != nil
		x.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// shows waits until the screen has what matches the expression.
func (x *terminal) shows(expression string) {
	x.t.Helper()
	re := regexp.MustCompile(`(?m)` + expression)
	for deadline := time.Now().Add(victims.Timeout); ; time.Sleep(20 * time.Millisecond) {
		x.mu.Lock()
		text, closed := x.screen.String(), x.closed
		x.mu.Unlock()
		if re.MatchString(text) {
			return
		}
		if closed || time.Now().After(deadline) {
			x.t.Fatalf("the terminal does not show %s", expression)
		}
	}
}

// end waits for procdump's end and returns its exit code and the last screen.
func (x *terminal) end() (code int, text string) {
	x.t.Helper()
	timer := time.AfterFunc(victims.Timeout, func() { x.cmd.Process.Kill() })
	defer timer.Stop()
	x.cmd.Wait()
	for deadline := time.Now().Add(victims.Timeout); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		x.mu.Lock()
		text, closed := x.screen.String(), x.closed
		x.mu.Unlock()
		if closed {
			return x.cmd.ProcessState.ExitCode(), text
		}
	}
	x.t.Fatal("the terminal stays open")
	return 0, ""
}

// screen is as much of a terminal as procdump makes use of: lines, and the
// control functions CR, LF, BS, CPL and ED of ECMA-48.
type screen struct {
	lines    [][]rune
	row, col int
}

var control = regexp.MustCompile(`^\x1b\[([0-9;?]*)([@-~])`)

// put prints text and returns what of its end is not complete.
func (s *screen) put(text []byte) []byte {
	for len(text) > 0 {
		if text[0] == 0x1b {
			m := control.FindSubmatch(text)
			if m == nil {
				return text
			}
			text = text[len(m[0]):]
			s.control(string(m[1]), m[2][0])
			continue
		}
		n := 1
		for n < len(text) && text[n]&0xc0 == 0x80 {
			n++
		}
		if text[0] >= 0xc0 && n == len(text) && n < 4 && !strings.Contains(string(text), "\n") && []rune(string(text))[0] == '\ufffd' {
			return text
		}
		s.print([]rune(string(text[:n]))[0])
		text = text[n:]
	}
	return nil
}

func (s *screen) control(number string, function byte) {
	n, _ := strconv.Atoi(number)
	switch function {
	case 'F':
		s.row, s.col = max(0, s.row-max(n, 1)), 0
	case 'J':
		s.line()
		s.lines = s.lines[:s.row+1]
		s.lines[s.row] = s.lines[s.row][:s.col]
	case 'K':
		s.line()
		s.lines[s.row] = s.lines[s.row][:s.col]
	}
}

// line makes the cursor's place exist.
func (s *screen) line() {
	for len(s.lines) <= s.row {
		s.lines = append(s.lines, nil)
	}
	for len(s.lines[s.row]) < s.col {
		s.lines[s.row] = append(s.lines[s.row], ' ')
	}
}

func (s *screen) print(r rune) {
	switch r {
	case '\r':
		s.col = 0
	case '\n':
		s.row++
	case '\b':
		s.col = max(0, s.col-1)
	default:
		s.line()
		s.lines[s.row] = append(s.lines[s.row][:s.col], append([]rune{r}, s.lines[s.row][min(s.col+1, len(s.lines[s.row])):]...)...)
		s.col++
	}
}

func (s *screen) String() string {
	var b strings.Builder
	for _, l := range s.lines {
		b.WriteString(strings.TrimRight(string(l), " ") + "\n")
	}
	return b.String()
}
