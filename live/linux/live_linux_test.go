package linux

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"procdump/arch"
	"procdump/internal/sys/ptrace"
	"procdump/snapshot"
	"procdump/snapshot/snapshottest"
	"procdump/victims"
)

// stop stops a victim and lets it go at the test's end.
func stop(t *testing.T, pid int, o Options) *Stopped {
	t.Helper()
	target, err := Open(pid, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(target.Close)
	s, err := target.Stop(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Resume() })
	return s
}

func state(t *testing.T, pid int) byte {
	t.Helper()
	st, err := readStat(procPath(pid, "stat"))
	if err != nil {
		t.Fatal(err)
	}
	return st.state
}

func TestConformance(t *testing.T) {
	for _, name := range []string{"threads", "threads@i386", "threads@static", "goroutines"} {
		t.Run(name, func(t *testing.T) {
			v := victims.Start(t, name)
			snapshottest.Run(t, stop(t, v.PID, Options{}).Process)
		})
	}
}

func TestEveryThreadIsStoppedAndGoesOn(t *testing.T) {
	v := victims.Start(t, "threads", "200")
	s := stop(t, v.PID, Options{})
	if n := len(s.Process.Threads); n < 200 {
		t.Errorf("%d threads, want 200 or more", n)
	}
	ids, _ := tids(v.PID)
	for _, tid := range ids {
		if st, err := readStat(procPath(v.PID, "task", strconv.Itoa(tid), "stat")); err != nil || st.state != 't' {
			t.Errorf("thread %d is in state %c (%v), want t", tid, st.state, err)
		}
	}
	if s.Process.Threads[0].TID != v.PID {
		t.Errorf("first thread is %d, want the leader %d", s.Process.Threads[0].TID, v.PID)
	}
	if pause := s.Resume(); pause <= 0 || s.Resume() != pause {
		t.Errorf("pause %v, then %v", pause, s.Resume())
	}
	for _, tid := range ids {
		if b, err := os.ReadFile(procPath(v.PID, "task", strconv.Itoa(tid), "status")); err != nil || statusField(b, "TracerPid") != "0" {
			t.Errorf("thread %d is still traced: %q, %v", tid, statusField(b, "TracerPid"), err)
		}
	}
}

// regset is a register set as the kernel gives it.
func regset(t *testing.T, s *Stopped, tid int, typ uint32) (set []byte) {
	t.Helper()
	s.holder.do(func() {
		buf := make([]byte, 64<<10)
		n, err := ptrace.Regset(tid, typ, buf)
		if err != nil {
			t.Error(err)
		}
		set = buf[:n]
	})
	return set
}

func TestRegistersAreComplete(t *testing.T) {
	for _, c := range []struct {
		victim  string
		view64  bool
		machine arch.Machine
		sets    []uint32
	}{
		{"threads", false, arch.AMD64, []uint32{arch.NT_PRSTATUS, arch.NT_PRFPREG, arch.NT_X86_XSTATE}},
		{"threads@i386", false, arch.I386, []uint32{arch.NT_PRSTATUS, arch.NT_PRFPREG, arch.NT_PRXFPREG, arch.NT_X86_XSTATE, arch.NT_386_TLS}},
		{"threads@i386", true, arch.AMD64, []uint32{arch.NT_PRSTATUS, arch.NT_PRFPREG, arch.NT_X86_XSTATE}},
	} {
		t.Run(fmt.Sprint(c.victim, c.view64), func(t *testing.T) {
			s := stop(t, victims.Start(t, c.victim).PID, Options{View64: c.view64})
			for i := range s.Process.Threads {
				r := &s.Process.Threads[i].Registers
				if r.Machine != c.machine {
					t.Errorf("machine %v, want %v", r.Machine, c.machine)
				}
				for _, typ := range c.sets {
					if len(r.Set(typ)) == 0 {
						t.Errorf("thread %d lacks register set %#x", s.Process.Threads[i].TID, typ)
					}
					if kernels := regset(t, s, s.Process.Threads[i].TID, typ); !c.view64 && !bytes.Equal(r.Set(typ), kernels) {
						t.Errorf("register set %#x of thread %d is\n%x, the kernel's\n%x", typ, s.Process.Threads[i].TID, r.Set(typ), kernels)
					}
				}
				if r.TLS() == 0 && !c.view64 { // a 32-bit thread's is in a segment descriptor
					t.Errorf("thread %d has no thread pointer", s.Process.Threads[i].TID)
				}
			}
		})
	}
}

func TestStoppedStaysStopped(t *testing.T) {
	v := victims.Start(t, "stopped")
	for end := time.Now().Add(5 * time.Second); state(t, v.PID) != 'T'; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("victim is in state %c, not T", state(t, v.PID))
		}
	}
	s := stop(t, v.PID, Options{})
	if s.Process.State != 'T' {
		t.Errorf("snapshot says state %c, want T", s.Process.State)
	}
	s.Resume()
	// It has to run to get back to where it stopped.
	for end := time.Now().Add(victims.Timeout); state(t, v.PID) != 'T' && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(50 * time.Millisecond)
	if got := state(t, v.PID); got != 'T' {
		t.Errorf("after the dump it is in state %c, want T", got)
	}
	if err := syscall.Kill(v.PID, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(5 * time.Second); state(t, v.PID) == 'T'; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("SIGCONT does not wake it any more")
		}
	}
}

func TestBufferIsRead(t *testing.T) {
	v := victims.Start(t, "buffer")
	addr := victims.Uint(t, v.Ready, "addr")
	size := victims.Uint(t, v.Ready, "size")
	s := stop(t, v.PID, Options{})
	b := make([]byte, size)
	if _, err := s.Process.Memory.ReadMemory(b, addr); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(b)
	if got := hex.EncodeToString(sum[:]); got != v.Ready["sha256"] {
		t.Errorf("SHA-256 %s, want %s", got, v.Ready["sha256"])
	}
}

// TestScanAgreesWithPagemap compares PAGEMAP_SCAN with a plain reading of pagemap.
func TestScanAgreesWithPagemap(t *testing.T) {
	v := victims.Start(t, "sparse", "256", "10")
	s := stop(t, v.PID, Options{})
	slow := scanner{pagemap: s.mem.scan.pagemap, page: s.mem.scan.page}
	slow.noScan.Store(true)
	// The zero page's flag is PAGEMAP_SCAN's alone.
	pages := func(xs []snapshot.Extent) map[uint64]bool {
		out := map[uint64]bool{}
		for _, x := range xs {
			for at := x.Addr; at < x.End(); at += slow.page {
				out[at] = x.Anonymous()
			}
		}
		return out
	}
	total := 0
	for i := range s.Process.Regions {
		g := &s.Process.Regions[i]
		if unreadable(g) {
			continue
		}
		fast, err1 := s.mem.scan.present(g.Range)
		read, err2 := slow.present(g.Range)
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		a, b := pages(fast), pages(read)
		total += len(a)
		if len(a) != len(b) {
			t.Errorf("%v %s: %d pages by ioctl, %d by reading", g.Range, g.Path, len(a), len(b))
		}
		for at, anon := range a {
			if got, ok := b[at]; !ok || got != anon && !g.Anonymous() {
				t.Errorf("page %#x of %s: anonymous %v by ioctl; %v, %v by reading", at, g.Path, anon, got, ok)
			}
		}
	}
	if total < 256<<20/10/4096 {
		t.Errorf("only %d pages seen", total)
	}
}

func TestReadingTouchesNothing(t *testing.T) {
	v := victims.Start(t, "sparse", "1024", "5")
	rss := func() string {
		b, err := os.ReadFile(procPath(v.PID, "status"))
		if err != nil {
			t.Fatal(err)
		}
		return statusField(b, "VmRSS") + " " + statusField(b, "VmPTE")
	}
	s := stop(t, v.PID, Options{})
	before := rss()
	buf := make([]byte, 1<<20)
	for i := range s.Process.Regions {
		g := &s.Process.Regions[i]
		if !g.Anonymous() || unreadable(g) || g.Path == "[vdso]" {
			continue
		}
		for at := g.Addr; at < g.End(); at += uint64(len(buf)) {
			_, _ = s.mem.ReadMemory(buf[:min(uint64(len(buf)), g.End()-at)], at)
		}
	}
	if after := rss(); after != before {
		t.Errorf("reading changed VmRSS and VmPTE from %s to %s", before, after)
	}
}

// forkedBytes is how much private memory a process shares with others.
func forkedBytes(t *testing.T, pid int) (n uint64) {
	t.Helper()
	regions, err := readSmaps(procPath(pid, "smaps"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range regions {
		n += regions[i].Forked
	}
	return n
}

// TestReadingForkedMemory: memory that a process shares with a child since
// fork(2) takes no more room after it was read than before.
func TestReadingForkedMemory(t *testing.T) {
	for how, take := range map[string]func(t *testing.T, pid int) *Stopped{
		"stop":     func(t *testing.T, pid int) *Stopped { return stop(t, pid, Options{}) },
		"clone":    cloned,
		"pre-copy": preCopied,
	} {
		t.Run(how, func(t *testing.T) {
			p := startProgram(t, "forked", "")
			before := forkedBytes(t, p.pid)
			if before < 64<<20 {
				t.Fatalf("%d bytes are shared", before)
			}
			s := take(t, p.pid)
			content(t, s.Process)
			s.Resume()
			const pages = 64 << 12 // that the two write to by themselves
			if after := forkedBytes(t, p.pid); after+pages < before {
				t.Errorf("%d bytes are shared, %d before", after, before)
			}
		})
	}
}

func TestDoesNotExist(t *testing.T) {
	if _, err := Open(1<<22+5, Options{}); !errors.Is(err, ErrGone) {
		t.Errorf("opening no process: %v, want %v", err, ErrGone)
	}
}

func TestNotPermitted(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to have a process of another user")
	}
	// A thread with another effective uid loses the right to look at root's.
	v := victims.Start(t, "threads")
	done := make(chan error)
	go func() {
		// Not unlocked: the thread with changed credentials must not be reused.
		lockThread()
		if err := setThreadUID(65534); err != nil {
			done <- err
			return
		}
		_, err := Open(v.PID, Options{})
		done <- err
	}()
	if err := <-done; !errors.Is(err, fs.ErrPermission) {
		t.Errorf("opening root's process as nobody: %v, want %v", err, fs.ErrPermission)
	}
}

func TestGoneWhileStopped(t *testing.T) {
	v := victims.Start(t, "buffer")
	s := stop(t, v.PID, Options{})
	if err := syscall.Kill(v.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	addr := victims.Uint(t, v.Ready, "addr")
	var err error
	for end := time.Now().Add(5 * time.Second); err == nil && time.Now().Before(end); {
		_, err = s.mem.ReadExtents(make([]byte, 4096), []snapshot.Extent{{Range: snapshot.Range{Addr: addr, Size: 4096}, Kind: snapshot.ExtentPresent}})
	}
	if !errors.Is(err, ErrGone) {
		t.Errorf("reading a killed process: %v, want %v", err, ErrGone)
	}
	s.Resume()
}

func TestVforkParentIsLeftOut(t *testing.T) {
	v := victims.Start(t, "vforker")
	target, err := Open(v.PID, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	s, err := target.Stop(context.Background())
	if err != nil {
		// Its only thread waits in vfork(2): there is nothing to dump.
		if !strings.Contains(err.Error(), "none of its 1 threads stopped") {
			t.Errorf("stopping a vfork parent: %v", err)
		}
		return
	}
	defer s.Resume()
	if len(s.Process.Info.MissedThreads) == 0 {
		t.Error("a thread waits in vfork, but none was missed")
	}
}

func TestCancelledStop(t *testing.T) {
	v := victims.Start(t, "vforker")
	target, err := Open(v.PID, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(cause)
	if _, err := target.Stop(ctx); !errors.Is(err, cause) {
		t.Errorf("cancelled stop: %v, want %v", err, cause)
	}
}
