package linux

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"procdump/snapshot"
	"procdump/snapshot/snapshottest"
	"procdump/victims"
	"procdump/victims/need"
)

// cloned stops a process and clones it.
func cloned(t *testing.T, pid int) *Stopped {
	t.Helper()
	target, err := Open(pid, Options{Clone: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(target.Close)
	s, err := target.Stop(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Resume() })
	if err := s.Clone(CloneOptions{}); err != nil {
		t.Fatalf("%v (%v)", err, time.Since(s.begin))
	}
	return s
}

func TestCloneConformance(t *testing.T) {
	for _, name := range []string{"threads", "threads@i386", "threads@static", "goroutines"} {
		t.Run(name, func(t *testing.T) {
			v := victims.Start(t, name)
			s := cloned(t, v.PID)
			if fds := descriptors(s.copy.PID); len(fds) > 0 {
				t.Errorf("the clone has the descriptors %v", fds)
			}
			if st := state(t, s.copy.PID); st != 't' {
				t.Errorf("the clone is in state %c", st)
			}
			if tracer := tracerPID(t, v.PID); tracer != "0" {
				t.Errorf("the process is traced by %s", tracer)
			}
			snapshottest.Run(t, s.Process)
			clone := s.copy.PID
			s.Resume()
			if err := syscall.Kill(clone, 0); err == nil && state(t, clone) != 'Z' {
				t.Errorf("the clone is in state %c in the end", state(t, clone))
			}
		})
	}
}

// program is a running C program of testdata that answers questions.
type program struct {
	pid   int
	in    io.WriteCloser
	lines *bufio.Scanner
}

// startProgram starts a program and waits until it is ready.
func startProgram(t *testing.T, name, variant string, args ...string) *program {
	t.Helper()
	cmd := exec.Command(testProgram(t, name, variant), args...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &program{pid: cmd.Process.Pid, in: in, lines: bufio.NewScanner(out)}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if p.line(t) != "ready" {
		t.Fatalf("%s is not ready", name)
	}
	return p
}

func (p *program) line(t *testing.T) string {
	t.Helper()
	timer := time.AfterFunc(patience, func() { _ = syscall.Kill(p.pid, syscall.SIGKILL) })
	defer timer.Stop()
	if !p.lines.Scan() {
		t.Fatalf("it has ended, or says nothing: %v", p.lines.Err())
	}
	return p.lines.Text()
}

func (p *program) ask(t *testing.T, question string) string {
	t.Helper()
	if _, err := io.WriteString(p.in, question+"\n"); err != nil {
		t.Fatal(err)
	}
	return p.line(t)
}

var blockedStates = []string{"read", "futex", "futex timed", "poll", "select", "epoll", "recv", "recv timed", "wait", "sigwait", "sleep",
	"nothing", "handler", "suspended", "tty", "io_uring", "stepping", "rseq"}

// check asks a blocked.c. It fails the test if anything went wrong there, and
// returns what shows how much it has done.
func (p *program) check(t *testing.T) string {
	t.Helper()
	line := p.ask(t, "check")
	if !strings.HasPrefix(line, "seen wrong=0 ") {
		t.Fatalf("it saw: %s", line)
	}
	return line
}

// leftovers are the processes of the target's process group, which a clone is
// in, but for the target and the child that it has itself, which sleeps as soon as
// it gets a processor. One that has ended and waits to be collected by the
// machine's first process is none.
func leftovers(t *testing.T, pid int) (out []string) {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	own := 0
	for _, e := range entries {
		other, err := strconv.Atoi(e.Name())
		st, serr := readStat(procPath(other, "stat"))
		if err != nil || serr != nil || st.pgrp != pid || other == pid || st.state == 'Z' && st.ppid == 1 {
			continue
		}
		if own++; own == 1 && st.ppid == pid {
			for begin := time.Now(); serr == nil && st.state == 'R' && time.Since(begin) < patience; time.Sleep(time.Millisecond) {
				st, serr = readStat(procPath(other, "stat"))
			}
			if serr != nil || st.state == 'S' {
				continue
			}
		}
		out = append(out, fmt.Sprintf("%d state %c child of %d", other, st.state, st.ppid))
	}
	return out
}

// TestCloneDisturbsNothing clones a process whose first thread is in each state.
func TestCloneDisturbsNothing(t *testing.T) {
	for _, variant := range []string{"", "i386"} {
		for _, state := range blockedStates {
			t.Run(strings.TrimPrefix(variant+"/"+state, "/"), func(t *testing.T) {
				t.Parallel()
				b := startProgram(t, "blocked", variant, state, "all")
				for range 5 {
					s := cloned(t, b.pid)
					s.Resume()
					if state == "suspended" {
						if err := syscall.Kill(b.pid, syscall.SIGHUP); err != nil {
							t.Fatal(err)
						}
					}
				}
				before := b.check(t)
				eventually(t, "its threads go on", func() bool { return b.check(t) != before })
				if l := leftovers(t, b.pid); len(l) > 0 {
					t.Errorf("it has children left: %v", l)
				}
			})
		}
	}
}

// content is a digest of all memory of a process that can be read, by region.
func content(t *testing.T, p *snapshot.Process) map[snapshot.Range]string {
	t.Helper()
	out := map[snapshot.Range]string{}
	for i := range p.Regions {
		g := &p.Regions[i]
		xs, err := p.Memory.Extents(g.Range)
		if err != nil {
			t.Fatal(err)
		}
		h := sha256.New()
		for _, x := range xs {
			b := make([]byte, x.Size)
			if _, err := p.Memory.(snapshot.ExtentReader).ReadExtents(b, []snapshot.Extent{x}); err != nil {
				t.Fatal(err)
			}
			// Where nothing exists is zero, in anonymous memory as in a file.
			for at := 0; at < len(b); at += 4096 {
				if page := b[at : at+4096]; !allZero(page) {
					fmt.Fprintf(h, "%x %x", x.Addr+uint64(at), page)
				}
			}
		}
		out[g.Range] = g.Path + " " + g.Perm.String() + " " + hex.EncodeToString(h.Sum(nil))
	}
	return out
}

func allZero(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }

// TestCloneIsTheStop compares all memory as it is at the stop with what is read
// from the clone, while the process writes to all of it.
func TestCloneIsTheStop(t *testing.T) {
	for _, variant := range []string{"", "i386"} {
		t.Run("changing"+variant, func(t *testing.T) {
			v := startProgram(t, "changing", variant)
			s := stop(t, v.pid, Options{Clone: true})
			want := content(t, s.Process)
			spool := 0
			err := s.Clone(CloneOptions{Spool: func() (*os.File, error) {
				spool++
				return os.CreateTemp(t.TempDir(), "spool")
			}})
			if err != nil {
				t.Fatal(err)
			}
			before := v.ask(t, "version")
			eventually(t, "it goes on to change its memory", func() bool { return v.ask(t, "version") != before })
			got := content(t, s.Process)
			for r, text := range want {
				if got[r] != text {
					t.Errorf("%v: %s at the stop, %s in the clone", r, text, got[r])
				}
			}
			if len(got) != len(want) {
				t.Errorf("%d regions, %d in the clone", len(want), len(got))
			}
			if spool != 1 {
				t.Errorf("%d files were made for what the clone does not have", spool)
			}
		})
	}
}

// TestRoomIsNotInUse: zeros at the end of the stack may be a variable of the
// program's, with the stack pointer at it.
func TestRoomIsNotInUse(t *testing.T) {
	p := startProgram(t, "zerostack", "")
	var s *Stopped
	eventually(t, "its stack pointer is at the end of the stack", func() bool {
		s = stop(t, p.pid, Options{Clone: true})
		i := s.Process.FindRegion(s.Process.Threads[0].Registers.SP())
		if i >= 0 && s.Process.Regions[i].Path == "[stack]" && s.Process.Threads[0].Registers.SP() < s.Process.Regions[i].Addr+roomWanted {
			return true
		}
		s.Resume()
		return false
	})
	var room snapshot.Range
	s.holder.do(func() { room = s.room(s.Process.Regions) })
	if sp := s.Process.Threads[0].Registers.SP(); room.Size > 0 && room.End() > sp {
		t.Errorf("room %v, and the stack pointer is %#x", room, sp)
	}
}

// killedEnv is the PID that TestCloneAlone clones, and TestPreCopyAlone copies.
const killedEnv = "PROCDUMP_TEST_CLONE"

// TestCloneAlone clones a process that another test names, and is killed by that
// test.
func TestCloneAlone(t *testing.T) {
	pid, err := strconv.Atoi(os.Getenv(killedEnv))
	if err != nil {
		t.Skip("another test runs it")
	}
	cloned(t, pid).Resume()
}

// TestKilledWhileCloning kills the dumper before each of its calls of ptrace(2),
// and of what else it does to the process: the process must find its way back to
// what it was doing, and nothing may be left of the clone.
func TestKilledWhileCloning(t *testing.T) {
	strace := need.Tool(t, "strace")
	step := 3 // of its calls, not to take too long
	if need.Long() {
		step = 1
	}
	for i, c := range []struct{ variant, state string }{{"", "nothing"}, {"", "sleep"}, {"i386", "nothing"}, {"i386", "read"}} {
		t.Run(c.variant+c.state, func(t *testing.T) {
			t.Parallel()
			b := startProgram(t, "blocked", c.variant, c.state)
			for _, call := range []string{"ptrace", "process_vm_writev", "kill", "wait4"} {
				n := 1
				if call == "ptrace" {
					n += i % step
				}
				for {
					killed := killedAt(t, strace, "TestCloneAlone", call, n, b.pid)
					// Two stops of one sleep would be another matter (see registers.home).
					before := b.check(t)
					if c.state == "nothing" || c.state == "sleep" {
						eventually(t, fmt.Sprintf("it goes on after %s %d", call, n), func() bool { return b.check(t) != before })
					}
					eventually(t, fmt.Sprintf("nothing is left after %s %d", call, n), func() bool { return len(leftovers(t, b.pid)) == 0 })
					if !killed {
						break
					}
					if n++; call == "ptrace" {
						n += step - 1
					}
				}
				if n == 1 {
					t.Errorf("it does not call %s", call)
				}
			}
		})
	}
}

// tampered runs a test that dumps a process, and does something to the n-th call
// of a system call. It returns what the test prints, and the calls.
func tampered(t *testing.T, strace, test, call, what string, n, pid int) (out, calls string, err error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "calls")
	cmd := exec.Command(strace, "-f", "-qq", "-o", file, "-e", "trace="+call,
		"-e", fmt.Sprintf("inject=%s:%s:when=%d", call, what, n), os.Args[0], "-test.run=^"+test+"$")
	cmd.Env = append(os.Environ(), killedEnv+"="+strconv.Itoa(pid))
	text, err := cmd.CombinedOutput()
	trace, _ := os.ReadFile(file) // strace may not have been able to run it, which out says
	return string(text), string(trace), err
}

// killedAt runs a test that dumps a process, and kills it just before the n-th
// call of a system call. It tells whether there were as many.
func killedAt(t *testing.T, strace, test, call string, n, pid int) bool {
	t.Helper()
	switch text, _, err := tampered(t, strace, test, call, "signal=KILL", n, pid); {
	case strings.Contains(text, "waits in the kernel"):
		return killedAt(t, strace, test, call, n, pid) // on a busy machine it did not stop in time
	case strings.Contains(text, "FAIL"):
		t.Fatalf("%s %d: %s", call, n, text)
	default:
		return err != nil
	}
	return false
}

// TestFailedWhileCloning lets calls of ptrace(2) fail, one in each run: the process
// must go on, and nothing may be left of the clone, or of the pre-copy.
func TestFailedWhileCloning(t *testing.T) {
	strace := need.Tool(t, "strace")
	for _, c := range []struct{ test, how string }{{"TestCloneAlone", "orphan"}, {"TestCloneAlone", "subreaper"}, {"TestPreCopyAlone", ""}} {
		t.Run(c.test+c.how, func(t *testing.T) {
			t.Parallel()
			b := startProgram(t, "blocked", "", "nothing", c.how)
			failed := 0
			for n := 5; ; n++ { // before that the two threads are stopped
				text, calls, _ := tampered(t, strace, c.test, "ptrace", "error=EIO", n, b.pid)
				before := b.check(t)
				eventually(t, fmt.Sprintf("it goes on after ptrace %d", n), func() bool { return b.check(t) != before })
				eventually(t, fmt.Sprintf("nothing is left after ptrace %d", n), func() bool { return len(leftovers(t, b.pid)) == 0 })
				checkUntracked(t, b.pid)
				if strings.Contains(text, "FAIL") {
					failed++
				}
				if !strings.Contains(calls, "INJECTED") {
					break
				}
			}
			if failed == 0 {
				t.Error("no failure was seen")
			}
		})
	}
}

// TestCloneOfSubreaper clones a process that orphans go to: it must be made to
// take the clone away itself, by another thread if the first one has exited.
func TestCloneOfSubreaper(t *testing.T) {
	for _, variant := range []string{"", "i386"} {
		for _, state := range []string{"read", "nothing", "epoll", "read leaderless", "nothing leaderless"} {
			t.Run(variant+state, func(t *testing.T) {
				waits, leaderless := strings.CutSuffix(state, " leaderless")
				args := []string{waits, "subreaper"}
				if leaderless {
					args = append(args, "leaderless")
				}
				b := startProgram(t, "blocked", variant, args...)
				if leaderless {
					eventually(t, "its first thread has exited", func() bool { return ended(b.pid, b.pid) })
				}
				for range 3 {
					s := cloned(t, b.pid)
					if !s.copy.Own {
						t.Error("the clone is an orphan, and so its child after all")
					}
					s.Resume()
					if l := leftovers(t, b.pid); len(l) > 0 {
						t.Errorf("it has children left: %v", l)
					}
					b.check(t)
				}
			})
		}
	}
}
