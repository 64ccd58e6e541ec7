package linux

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
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

// spooled are options whose files are in a folder of the test.
func spooled(t *testing.T) CloneOptions {
	return CloneOptions{Spool: func() (*os.File, error) { return os.CreateTemp(t.TempDir(), "spool") }}
}

// copied copies a process while it runs.
func copied(t *testing.T, pid int) (*Target, CloneOptions) {
	t.Helper()
	target, err := Open(pid, Options{Clone: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(target.Close)
	o := spooled(t)
	if err := target.PreCopy(context.Background(), o, nil); err != nil {
		t.Fatal(err)
	}
	o.NoRoom = "the test wants none"
	return target, o
}

// preCopied copies a process while it runs, and then stops it.
func preCopied(t *testing.T, pid int) *Stopped {
	t.Helper()
	target, o := copied(t, pid)
	s, err := target.Stop(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Resume() })
	if err := s.Clone(o); err != nil {
		t.Fatal(err)
	}
	if m := s.Process.Info.Method; m != "pre-copy" {
		t.Fatalf("method %q (%q)", m, s.Process.Info.Warnings)
	}
	t.Logf("%d rounds, pauses %v and %v", s.Process.Info.Rounds, target.precopy.pause, s.Pause())
	return s
}

func TestPreCopyConformance(t *testing.T) {
	for _, name := range []string{"threads", "threads@i386", "threads@static", "goroutines"} {
		t.Run(name, func(t *testing.T) {
			v := victims.Start(t, name)
			s := preCopied(t, v.PID)
			if tracer := tracerPID(t, v.PID); tracer != "0" {
				t.Errorf("the process is traced by %s", tracer)
			}
			snapshottest.Run(t, s.Process)
			checkUntracked(t, v.PID)
		})
	}
}

// checkUntracked fails the test if a process still has a userfaultfd, or memory
// of it is registered with one.
func checkUntracked(t *testing.T, pid int) {
	t.Helper()
	regions, err := readSmaps(procPath(pid, "smaps"))
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range regions {
		if g.Flags&snapshot.Userfault != 0 {
			t.Errorf("%v is registered with a userfaultfd", g.Range)
		}
	}
	for _, fd := range descriptors(pid) {
		if to, _ := os.Readlink(procPath(pid, "fd", fmt.Sprint(fd))); strings.Contains(to, "userfaultfd") {
			t.Errorf("it has the userfaultfd %d", fd)
		}
	}
}

// stamps are the numbers at both ends of the pages of a range.
func stamps(t *testing.T, p *snapshot.Process, addr uint64, pages int) (out []uint64) {
	t.Helper()
	b := make([]byte, 4096*pages)
	if n, err := p.Memory.ReadMemory(b, addr); err != nil {
		t.Fatalf("%d bytes read: %v", n, err)
	}
	for ; len(b) > 0; b = b[4096:] {
		out = append(out, binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[4088:]))
	}
	return out
}

// places are addresses in the program stamping.
type places struct{ large, discarded, fresh, moved, moving uint64 }

func stampingPlaces(t *testing.T, v *program) (w places) {
	t.Helper()
	if _, err := fmt.Sscan(v.ask(t, "where"), &w.large, &w.discarded, &w.fresh, &w.moved, &w.moving); err != nil {
		t.Fatal(err)
	}
	return w
}

// movedAt is where the moved buffer is in p. A thread that is stopped as mremap(2)
// returns has not yet stored what it returns: the buffer is then where it was to
// be moved, and at no time at both places.
func (w places) movedAt(t *testing.T, p *snapshot.Process) uint64 {
	t.Helper()
	var at [2]uint64
	for i, addr := range []uint64{w.moved, w.moving} {
		var b [8]byte
		if _, err := p.Memory.ReadMemory(b[:], addr); err != nil {
			t.Fatal(err)
		}
		at[i] = binary.LittleEndian.Uint64(b[:])
	}
	from, to := p.FindRegion(at[0]) >= 0, p.FindRegion(at[1]) >= 0
	if at[0] != at[1] {
		t.Logf("stopped while it moves from %#x (mapped: %v) to %#x (mapped: %v)", at[0], from, at[1], to)
	}
	switch {
	case at[0] != at[1] && from && to:
		t.Fatalf("the moved buffer is at %#x and at %#x", at[0], at[1])
	case !from && !to:
		t.Fatalf("the moved buffer is neither at %#x nor at %#x", at[0], at[1])
	case from:
		return at[0]
	}
	return at[1]
}

// checkInstant fails the test unless memory is that of one instant: from one
// place on at most it is of the pass before. Where discarded is set it is zero
// there, for it was made so before.
func checkInstant(t *testing.T, what string, v []uint64, discarded bool) {
	t.Helper()
	drops := 0
	for i := 1; i < len(v); i++ {
		switch {
		case v[i] == v[i-1]:
		case drops > 0, v[i] != v[i-1]-1 && !(discarded && v[i] == 0):
			t.Fatalf("%s: %d in word %d, %d in the one before: not of one instant", what, v[i], i, v[i-1])
		default:
			drops++
		}
	}
}

// TestExecWhilePreCopying has a process execute another program in the middle of a
// round: it has not ended, and can be dumped.
func TestExecWhilePreCopying(t *testing.T) {
	cmd := exec.Command("sh", "-c", "echo ready; read line; exec sleep 600")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if _, err := out.Read(make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
	target, err := Open(cmd.Process.Pid, Options{Clone: true})
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	o := spooled(t)
	asked := false
	o.Want = func(*snapshot.Region) bool { // is asked in a round
		if !asked {
			asked = true
			if _, err := io.WriteString(in, "\n"); err != nil {
				t.Error(err)
			}
			eventually(t, "it has executed another program", target.executed)
		}
		return true
	}
	err = target.PreCopy(context.Background(), o, nil)
	var no *NoClone
	if !asked || !errors.As(err, &no) || no.Why != whyExecuted {
		t.Fatalf("asked %v: %v", asked, err)
	}
	s, err := target.Stop(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Resume()
	if s.Process.Name != "sleep" {
		t.Errorf("a dump of %s", s.Process.Name)
	}
}

// TestPreCopyIsTheStop looks whether what is read is memory of one instant, while
// the process writes to it all the time.
func TestPreCopyIsTheStop(t *testing.T) {
	const pages = 16 << 8 // 16 MiB
	for _, c := range []string{"1000", "100", "0", "fork 100", "huge 100", "huge fork 0"} {
		f := strings.Fields(c)
		nap := f[len(f)-1]
		t.Run(c, func(t *testing.T) {
			t.Parallel()
			v := startProgram(t, "stamping", "", append(f[:len(f)-1:len(f)-1], strconv.Itoa(pages), nap)...)
			for range 5 {
				s := preCopied(t, v.pid)
				before := v.ask(t, "pass")
				eventually(t, "it goes on", func() bool { return v.ask(t, "pass") != before })
				w := stampingPlaces(t, v)
				p := s.Process
				checkInstant(t, "the large buffer", stamps(t, p, w.large, pages), false)
				const few = 64
				checkInstant(t, "the moved buffer", stamps(t, p, w.movedAt(t, p), few), false)
				checkInstant(t, "the discarded buffer", stamps(t, p, w.discarded, few), true)
				if i := p.FindRegion(w.fresh); i >= 0 { // at times it is not there
					checkInstant(t, "the fresh buffer", stamps(t, p, w.fresh, few), true)
				}
				s.Resume()
				checkUntracked(t, v.pid)
			}
		})
	}
}

// TestPreCopyOfEverySort compares all memory as it is at the stop with what is
// read from the copy, while the process writes to all of it.
func TestPreCopyOfEverySort(t *testing.T) {
	for _, variant := range []string{"", "i386"} {
		t.Run("changing"+variant, func(t *testing.T) {
			v := startProgram(t, "changing", variant)
			target, o := copied(t, v.pid)
			s, err := target.Stop(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			defer s.Resume()
			want := content(t, s.Process)
			if err := s.Clone(o); err != nil {
				t.Fatal(err)
			}
			before := v.ask(t, "version")
			eventually(t, "it goes on to change its memory", func() bool { return v.ask(t, "version") != before })
			got := content(t, s.Process)
			for r, text := range want {
				if got[r] != text {
					t.Errorf("%v: %s at the stop, %s in the copy", r, text, got[r])
				}
			}
			if m := s.Process.Info.Method; m != "pre-copy" {
				t.Errorf("method %q", m)
			}
		})
	}
}

// leaves copies a process that has written to more since than is to be copied at
// the stop, and stops it.
func leaves(t *testing.T) (*program, *Stopped, CloneOptions) {
	t.Helper()
	v := startProgram(t, "stamping", "", strconv.Itoa(muchLeft*3/2/4096), "0")
	target, o := copied(t, v.pid)
	eventually(t, "it writes to all of its memory", func() bool {
		var most uint64
		if _, err := fmt.Sscan(v.ask(t, "pass"), &most); err != nil {
			t.Fatal(err)
		}
		return most > 5
	})
	for range 2 { // passes, so that all is written to again
		before := v.ask(t, "pass")
		eventually(t, "it goes on", func() bool { return v.ask(t, "pass") != before })
	}
	s, err := target.Stop(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Resume() })
	return v, s, o
}

// TestPreCopyOnly: a process that must not stand while much is copied does not
// where there can be no clone.
func TestPreCopyOnly(t *testing.T) {
	v, s, o := leaves(t)
	o.Only = true
	var no *NoClone
	if err := s.Clone(o); !errors.As(err, &no) {
		t.Errorf("error %v, method %q", err, s.Process.Info.Method)
	}
	checkUntracked(t, v.pid)
}

// TestPreCopyThenClone leaves more than is to be copied at the stop: a clone
// takes over.
func TestPreCopyThenClone(t *testing.T) {
	v, s, o := leaves(t)
	o.NoRoom = ""
	if err := s.Clone(o); err != nil {
		t.Fatal(err)
	}
	info := s.Process.Info
	if info.Method != "clone" || len(info.Warnings) != 1 || !strings.Contains(info.Warnings[0], "-r live") {
		t.Errorf("method %q, warnings %q", info.Method, info.Warnings)
	}
	checkUntracked(t, v.pid)
	if st, err := s.target.precopy.store.file.Stat(); err != nil || st.Size() > 0 {
		t.Errorf("the pre-copy still takes %d bytes of the disk, %v", st.Size(), err)
	}
	checkInstant(t, "the large buffer", stamps(t, s.Process, stampingPlaces(t, v).large, 4096), false)
}

// TestPreCopyNoRoomAtAll ends a pre-copy for want of disk where there is not
// memory enough for a clone: there must be none.
func TestPreCopyNoRoomAtAll(t *testing.T) {
	v := startProgram(t, "changing", "")
	target, o := copied(t, v.pid)
	s, err := target.Stop(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Resume()
	full, spool := true, o.Spool
	o.Spool = func() (*os.File, error) {
		if full {
			full = false
			return nil, syscall.ENOSPC
		}
		return spool()
	}
	var no *NoClone
	if err := s.Clone(o); !errors.As(err, &no) || !strings.Contains(no.Why, "disk") {
		t.Errorf("error %v, method %q: want one about the disk", err, s.Process.Info.Method)
	}
	if st := state(t, v.pid); st != 't' {
		t.Errorf("it is in state %c, and does not stand", st)
	}
	checkUntracked(t, v.pid)
}

// TestPreCopyAlone copies a process that another test names, and is killed by
// that test.
func TestPreCopyAlone(t *testing.T) {
	pid, err := strconv.Atoi(os.Getenv(killedEnv))
	if err != nil {
		t.Skip("another test runs it")
	}
	preCopied(t, pid).Resume()
}

// TestKilledWhilePreCopying kills the dumper before its calls that do something
// to the process: that one must go on, and nothing may be left in it.
func TestKilledWhilePreCopying(t *testing.T) {
	strace := need.Tool(t, "strace")
	step := 5 // of its calls, not to take too long
	if need.Long() {
		step = 2
	}
	for i, c := range []struct{ variant, state string }{{"", "nothing"}, {"i386", "nothing"}} {
		t.Run(c.variant+c.state, func(t *testing.T) {
			t.Parallel()
			b := startProgram(t, "blocked", c.variant, c.state)
			for _, call := range []string{"ptrace", "process_vm_writev", "kill", "pidfd_getfd", "ioctl"} {
				n, most := 1, 12
				if call == "ptrace" {
					n, most = n+i, 1000
				}
				for ; n <= most; n++ {
					killed := killedAt(t, strace, "TestPreCopyAlone", call, n, b.pid)
					before := b.check(t)
					eventually(t, fmt.Sprintf("it goes on after %s %d", call, n), func() bool { return b.check(t) != before })
					eventually(t, fmt.Sprintf("nothing is left after %s %d", call, n), func() bool { return len(leftovers(t, b.pid)) == 0 })
					checkUntracked(t, b.pid)
					if !killed {
						break
					}
					if call == "ptrace" {
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

// TestNoPreCopy makes one of what cannot be copied while it runs, stopped in
// both ways for it.
func TestNoPreCopy(t *testing.T) {
	for _, c := range []struct{ victim, why string }{{"seccomp", "seccomp"}, {"uffd", "userfaultfd"}, {"vforker", "uninterruptibly"}} {
		t.Run(c.victim, func(t *testing.T) {
			v := victims.Start(t, c.victim)
			target, err := Open(v.PID, Options{Clone: true})
			if err != nil {
				t.Fatal(err)
			}
			defer target.Close()
			for _, stop := range []func(context.Context) (*Stopped, error){nil, target.Stop} {
				err = target.PreCopy(context.Background(), spooled(t), stop)
				var no *NoClone
				if !errors.As(err, &no) || !strings.Contains(no.Why, c.why) {
					t.Errorf("error %v, want one about %s", err, c.why)
				}
			}
		})
	}
}

// TestPreCopyOfMissed: a process of which a thread did not stop after a pre-copy
// has its memory to itself as soon as that is known.
func TestPreCopyOfMissed(t *testing.T) {
	v := startProgram(t, "blocked", "", "nothing")
	for _, noRoom := range []string{"", "the test wants none"} {
		target, o := copied(t, v.pid)
		s, err := target.Stop(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		s.Process.Info.MissedThreads = []snapshot.MissedThread{{TID: v.pid, State: "D", Why: "the test says so"}}
		o.NoRoom = noRoom
		var no *NoClone
		if err := s.Clone(o); !errors.As(err, &no) {
			t.Errorf("error %v, method %q", err, s.Process.Info.Method)
		}
		checkUntracked(t, v.pid)
		if target.precopy.fault != nil || target.precopy.store.direct != nil {
			t.Error("what a pre-copy needs is still open")
		}
		if st, err := target.precopy.store.file.Stat(); err != nil || st.Size() > 0 {
			t.Errorf("it still takes %d bytes of the disk, %v", st.Size(), err)
		}
		s.Resume()
	}
}

// TestPreCopyWaits: a pre-copy waits for another one who has the process stopped
// for a dump.
func TestPreCopyWaits(t *testing.T) {
	v := startProgram(t, "blocked", "", "nothing")
	s := stop(t, v.pid, Options{})
	target, err := Open(v.pid, Options{Clone: true})
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	done := make(chan error)
	go func() { done <- target.PreCopy(context.Background(), spooled(t), nil) }()
	select {
	case err := <-done:
		t.Fatalf("it did not wait: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	s.Resume()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
