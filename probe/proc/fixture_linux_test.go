package proc

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// fixture is a folder that stands for /proc.
type fixture struct {
	t *testing.T
	Root
}

const pid = 100 // the process of a fixture

func newFixture(t *testing.T) fixture {
	f := fixture{t, Root(t.TempDir())}
	f.write("meminfo", "MemTotal: 1000 kB\nSwapTotal:       0 kB\nSwapFree:        0 kB\n")
	f.stat('S', 0, 3, 5000)
	f.statm(1000, 300, 100)
	f.status(0)
	for i := range 4 {
		f.write(fmt.Sprint("100/fd/", i), "")
	}
	return f
}

func (f fixture) write(name, text string) {
	f.t.Helper()
	path := filepath.Join(string(f.Root), name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

// stat writes a stat file; used are ticks of user time, to which 50 of system
// time come.
func (f fixture) stat(state byte, used, threads, start int) {
	f.write("100/stat", fmt.Sprintf("100 (a) b) %c 1 70 70 0 -1 0 1 2 3 4 %d 50 0 0 20 0 %d 0 %d 4096 10 0\n", state, used, threads, start))
}

func (f fixture) statm(size, resident, shared int) {
	f.write("100/statm", fmt.Sprintf("%d %d %d 5 0 123 0\n", size, resident, shared))
}

func (f fixture) status(swapKB int) {
	// A process in many groups has a long status.
	f.write("100/status", fmt.Sprintf("Name:\tx\nGroups:\t%sVmSwap:\t%8d kB\nThreads:\t3\n", strings.Repeat("65534 ", 5000)+"\n", swapKB))
}

func (f fixture) sample(p *Process, at time.Time) (s Sample) {
	f.t.Helper()
	if err := p.Sample(at, &s); err != nil {
		f.t.Fatal(err)
	}
	return s
}

func TestFixture(t *testing.T) {
	f := newFixture(t)
	p := watch(t, f.Root, pid, all)
	if p.PID() != pid || p.StartTicks() != 5000 {
		t.Errorf("PID %d, start %d", p.PID(), p.StartTicks())
	}
	now := time.Now()
	page := uint64(os.Getpagesize())
	s := f.sample(p, now)
	if !math.IsNaN(s.CPU) || s.CPUSpan != 0 || s.Commit != 200*page || s.Threads != 3 || s.Files != 4 {
		t.Errorf("first sample %+v", s)
	}
	f.stat('R', 150, 2, 5000)
	f.statm(1000, 350, 100)
	f.write("100/fd/9", "")
	s = f.sample(p, now.Add(time.Second))
	if want := (Sample{CPU: 1.5, CPUSpan: time.Second, CPUNow: 1.5, CPUNowSpan: time.Second, Commit: 250 * page, Threads: 2, Files: 5}); s != want {
		t.Errorf("second sample %+v, want %+v", s, want)
	}
}

// TestWants has nothing in a sample that was not asked for, and needs no file
// for it.
func TestWants(t *testing.T) {
	f := newFixture(t)
	os.RemoveAll(filepath.Join(string(f.Root), "100/fd"))
	for want, value := range map[Want]Sample{
		0:       {},
		Commit:  {Commit: 200 * uint64(os.Getpagesize())},
		Threads: {Threads: 3},
	} {
		if s := f.sample(watch(t, f.Root, pid, want), time.Now()); s != value {
			t.Errorf("want %b: %+v", want, s)
		}
	}
	if p, err := f.Open(pid, Files); err == nil {
		t.Error("no fd folder, but files can be counted")
		p.Close()
	}
}

func TestSwap(t *testing.T) {
	f := newFixture(t)
	p := watch(t, f.Root, pid, Commit)
	now := time.Now()
	page := uint64(os.Getpagesize())
	expect := func(what string, after time.Duration, anonymous, swap uint64) {
		t.Helper()
		if s := f.sample(p, now.Add(after)); s.Commit != anonymous*page+swap<<10 {
			t.Errorf("%s: commit is %d, want %d", what, s.Commit, anonymous*page+swap<<10)
		}
	}
	f.status(400)
	expect("a machine without swap", 0, 200, 0)
	f.write("meminfo", "SwapTotal: 1000 kB\nSwapFree: 1000 kB\n")
	expect("swap is not in use", 10*time.Second, 200, 0)
	f.write("meminfo", "SwapTotal: 1000 kB\nSwapFree: 600 kB\n")
	expect("not looked for yet", 11*time.Second, 200, 0)
	expect("swap is in use", 16*time.Second, 200, 400)
	f.status(800)
	expect("resident memory is as before", 17*time.Second, 200, 400)
	f.statm(1000, 200, 100)
	expect("resident memory has changed", 18*time.Second, 100, 800)
	f.status(900)
	expect("as before again", 19*time.Second, 100, 800)
	expect("read anew after a time", 40*time.Second, 100, 900)
	f.write("meminfo", "SwapTotal: 1000 kB\nSwapFree: 1000 kB\n")
	expect("not in use any more", 50*time.Second, 100, 0)
}

func TestFixtureGone(t *testing.T) {
	for name, end := range map[string]func(f fixture){
		"files gone": func(f fixture) { os.RemoveAll(filepath.Join(string(f.Root), "100")) },
		"PID reused": func(f fixture) { f.stat('S', 0, 3, 5001) },
		"zombie":     func(f fixture) { f.stat('Z', 0, 1, 5000) },
		"no memory": func(f fixture) {
			f.stat('R', 0, 1, 5000)
			f.statm(0, 0, 0)
			f.write("100/task/100/statm", "0 0 0 0 0 0 0\n")
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			p := watch(t, f.Root, pid, CPU|Commit)
			f.sample(p, time.Now())
			end(f)
			var s Sample
			if err := p.Sample(time.Now(), &s); !errors.Is(err, ErrGone) {
				t.Errorf("sample: %v", err)
			}
		})
	}
	f := newFixture(t)
	f.stat('Z', 0, 1, 5000)
	for _, n := range []int{pid, 101, 0, -1} {
		if p, err := f.Open(n, CPU); !errors.Is(err, ErrGone) {
			t.Errorf("open process %d: %v", n, err)
			p.Close()
		}
	}
	if _, err := Root(t.TempDir()+"/no").Open(pid, CPU); err == nil || errors.Is(err, ErrGone) || !strings.Contains(err.Error(), "mount") {
		t.Errorf("open without /proc: %v", err)
	}
}

func TestKernelThread(t *testing.T) {
	f := newFixture(t)
	f.write("100/stat", "100 (kworker) S 2 0 0 0 -1 2097152 1 2 3 4 0 0 0 0 20 0 1 0 5000 4096 10 0\n")
	f.statm(0, 0, 0)
	if s := f.sample(watch(t, f.Root, pid, all), time.Now()); s.Commit != 0 || s.Threads != 1 {
		t.Errorf("%+v", s)
	}
}

// TestFixtureLeaderless has a first thread that ended: others answer for it.
func TestFixtureLeaderless(t *testing.T) {
	f := newFixture(t)
	f.stat('Z', 0, 3, 5000)
	f.statm(0, 0, 0)
	f.write("100/task/100/statm", "0 0 0 0 0 0 0\n")
	f.write("100/task/101/statm", "1000 500 100 5 0 123 0\n")
	for i := range 7 {
		f.write(fmt.Sprint("100/task/101/fd/", i), "")
	}
	want := Sample{Commit: 400 * uint64(os.Getpagesize()), Threads: 3, Files: 7}
	if s := f.sample(watch(t, f.Root, pid, Commit|Threads|Files), time.Now()); s != want {
		t.Errorf("%+v, want %+v", s, want)
	}
}
