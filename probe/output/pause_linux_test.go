package output

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// writes is how many writes the kernel has counted of a process.
func writes(t testing.TB, pid int) (n uint64) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "syscw: ")
	if _, err := fmt.Sscan(rest, &n); err != nil {
		t.Fatalf("/proc/PID/io: %v in %q", err, b)
	}
	return n
}

// wait waits until something holds.
func wait(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
	}
}

// links names the places in the kernel where this process has BPF programs.
func links(t testing.TB) string {
	t.Helper()
	infos, err := filepath.Glob("/proc/self/fdinfo/*")
	if err != nil {
		t.Fatal(err)
	}
	var places []string
	for _, name := range infos {
		b, _ := os.ReadFile(name)
		for line := range strings.Lines(string(b)) {
			if strings.HasPrefix(line, "tp_name:") || strings.HasPrefix(line, "target_btf_id:") {
				places = append(places, line)
			}
		}
	}
	slices.Sort(places)
	return strings.Join(places, "")
}

// enough is a flood that lasts until it is ended.
const enough = 1 << 40

// hurry lets a process write as much as others do, even if the tests may not:
// but not more, or those who read what it writes get no turn.
func hurry(t testing.TB, v *victim) {
	t.Helper()
	if err := syscall.Setpriority(syscall.PRIO_PROCESS, v.Process.Pid, 0); err != nil {
		t.Logf("priority of the victim: %v", err)
	}
}

// flood has a process write until it is ended, and waits until it is not looked
// at any more.
func flood(t testing.TB, s *Source, v *victim) {
	t.Helper()
	before := s.Missed()
	hurry(t, v)
	v.tell(t, fmt.Sprint("many ", enough))
	wait(t, "a flood is looked at all the time", func() bool { return s.Missed() > before })
}

// drain takes lines until the test ends, and keeps those of one process.
func drain(s *Source, pid int) <-chan Line {
	kept := make(chan Line, 1000)
	go func() {
		for l := range s.Lines() {
			if l.PID == pid {
				kept <- l
			}
		}
	}()
	return kept
}

// TestFloodIsNotLookedAt has a process write so much that no program looks at it
// for a while: each line is there or counted, and what comes later is seen.
func TestFloodIsNotLookedAt(t *testing.T) {
	s := open(t)
	v := start(t, build(t), file(t, os.DevNull), nil)
	hurry(t, v)
	if err := s.Add(v.Process.Pid); err != nil {
		t.Fatal(err)
	}
	attached := links(t)
	const n = 4_000_000
	before, detached := writes(t, v.Process.Pid), false
	lines := drain(s, v.Process.Pid)
	got := uint64(0)
	v.tell(t, fmt.Sprint("many ", n))
	wait(t, "the flood does not end", func() bool {
		detached = detached || links(t) != attached
		for len(lines) > 0 {
			<-lines
			got++
		}
		return writes(t, v.Process.Pid) == before+n
	})
	if !detached || s.Missed() == 0 {
		t.Error("it was looked at all the time")
	}
	told := uint64(0)
	wait(t, "nothing is seen after the flood", func() bool {
		told++
		v.tell(t, "line the end")
		wait(t, "the victim does not write", func() bool { return writes(t, v.Process.Pid) == before+n+told })
		for quiet := time.After(100 * time.Millisecond); ; {
			select {
			case l := <-lines:
				got++
				if l.Text == "the end" {
					return true
				}
			case <-quiet:
				return false
			}
		}
	})
	wait(t, "nothing is attached after the flood", func() bool { return links(t) == attached })
	// What was told in the meantime may have come late.
	wait(t, "not all lines are there or counted", func() bool {
		for len(lines) > 0 {
			<-lines
			got++
		}
		return got+s.Lost() == n+told
	})
	t.Logf("%d lines, %d lost, %d of them not looked at; %d after the flood", got, s.Lost(), s.Missed(), told)
}

// TestFloodEnds ends a process while nobody looks at it: what it wrote until
// then is counted.
func TestFloodEnds(t *testing.T) {
	s := open(t)
	v := start(t, build(t), file(t, os.DevNull), nil)
	hurry(t, v)
	if err := s.Add(v.Process.Pid); err != nil {
		t.Fatal(err)
	}
	lines := drain(s, v.Process.Pid)
	const n = 2_000_000
	v.tell(t, fmt.Sprint("many ", n))
	v.in.Close()
	v.Wait()
	got := uint64(0)
	for quiet := false; !quiet; {
		select {
		case <-lines:
			got++
		case <-time.After(time.Second):
			quiet = true
		}
	}
	if lost := s.Lost(); got+lost != n || s.Missed() == 0 {
		t.Errorf("%d lines and %d lost, %d of them not looked at, want %d together", got, lost, s.Missed(), n)
	}
}

// TestQuietBesideFlood: another process floods, and nothing is lost of one that
// writes little.
func TestQuietBesideFlood(t *testing.T) {
	s := open(t)
	exe := build(t)
	quiet, loud := start(t, exe, file(t, os.DevNull), nil), start(t, exe, file(t, os.DevNull), nil)
	for _, v := range []*victim{quiet, loud} {
		if err := s.Add(v.Process.Pid); err != nil {
			t.Fatal(err)
		}
	}
	lines := drain(s, quiet.Process.Pid)
	expect := func(text string) {
		t.Helper()
		quiet.tell(t, "line "+text)
		select {
		case l := <-lines:
			if l.Text != text {
				t.Fatalf("%q, want %q", l.Text, text)
			}
		case <-time.After(patience):
			t.Fatalf("%q is lost", text)
		}
	}
	hurry(t, loud)
	loud.tell(t, fmt.Sprint("many ", enough))
	begin := s.Lost()
	for i := 0; i < 200 || s.Lost()-begin < 1_000_000; i++ {
		expect(fmt.Sprint("line ", i))
		time.Sleep(2 * time.Millisecond)
	}
	if n := s.Missed(); n != 0 {
		t.Errorf("%d writes were not looked at while one process wrote little", n)
	}
	// Alone, the other one is not looked at, until this comes back.
	s.Remove(quiet.Process.Pid)
	for i := range 3 {
		before := s.Missed()
		wait(t, "a flood is looked at all the time", func() bool { return s.Missed() > before })
		if err := s.Add(quiet.Process.Pid); err != nil {
			t.Fatal(err)
		}
		expect(fmt.Sprint("again ", i))
		s.Remove(quiet.Process.Pid)
	}
}

// TestFloodsOfTwo: when both flood, nobody is looked at; one ends.
func TestFloodsOfTwo(t *testing.T) {
	s := open(t)
	exe := build(t)
	v := []*victim{start(t, exe, file(t, os.DevNull), nil), start(t, exe, file(t, os.DevNull), nil)}
	for _, v := range v {
		if err := s.Add(v.Process.Pid); err != nil {
			t.Fatal(err)
		}
	}
	drain(s, 0)
	hurry(t, v[0])
	v[0].tell(t, fmt.Sprint("many ", enough))
	flood(t, s, v[1])
	v[0].Process.Kill()
	v[0].Wait()
	s.Remove(v[0].Process.Pid)
	before := s.Missed()
	wait(t, "the other flood is looked at all the time", func() bool { return s.Missed() > before })
}

// TestCloseInFlood closes the Source while no program is attached.
func TestCloseInFlood(t *testing.T) {
	s := open(t)
	v := start(t, build(t), file(t, os.DevNull), nil)
	hurry(t, v)
	if err := s.Add(v.Process.Pid); err != nil {
		t.Fatal(err)
	}
	drain(s, 0)
	flood(t, s, v)
	s.Close()
	if s.Missed() == 0 || s.Lost() < s.Missed() {
		t.Errorf("after the end %d lost, %d not looked at", s.Lost(), s.Missed())
	}
	if l := links(t); l != "" {
		t.Errorf("still attached: %s", l)
	}
	before := writes(t, v.Process.Pid)
	wait(t, "the process does not go on", func() bool { return writes(t, v.Process.Pid) > before+10000 })
}
