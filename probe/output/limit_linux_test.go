package output

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"procdump/internal/sys/bpf"
)

// waitLines waits until a file has so many lines.
func waitLines(t *testing.T, name string, n int) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Count(b, []byte("\n")) == n {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s has %d lines, not %d", name, bytes.Count(b, []byte("\n")), n)
		}
	}
}

// TestFloodIsCountedWhole has 200,000 lines written as fast as possible: each
// is there or counted as lost, and none of what comes after a pause is lost, nor
// what goes to standard error meanwhile.
func TestFloodIsCountedWhole(t *testing.T) {
	s := open(t)
	out := filepath.Join(t.TempDir(), "out")
	v := start(t, build(t), file(t, out), file(t, os.DevNull))
	if err := s.Add(v.Process.Pid); err != nil {
		t.Fatal(err)
	}
	const n = 200000
	before := s.Lost()
	v.tell(t, fmt.Sprint("many ", n))
	v.tell(t, "err trouble")
	got, last := 0, -1
	for {
		l := next(t, s, v)
		if l.FD == 2 && l.Text == "trouble" {
			break
		}
		var i int
		if _, err := fmt.Sscanf(l.Text, "line %d", &i); err != nil || i <= last {
			t.Fatalf("line %q after line %d", l.Text, last)
		}
		last = i
		got++
	}
	waitLines(t, out, n)
	lost := s.Lost() - before
	t.Logf("%d of %d lines, %d lost", got, n, lost)
	if uint64(got)+lost != n {
		t.Errorf("%d lines and %d lost make not %d", got, lost, n)
	}
	if got < bpf.BurstUnits {
		t.Errorf("only %d lines", got)
	}
	time.Sleep(50 * time.Millisecond) // some ticks of the kernel's timer
	v.tell(t, "line the end")
	if l := next(t, s, v); l.Text != "the end" {
		t.Errorf("after a pause: %+v", l)
	}
}

// TestBurstComesWhole has fewer lines written at once than may come at once, by
// several processes, of which one then ends: all are there, in order.
func TestBurstComesWhole(t *testing.T) {
	s := open(t)
	exe := build(t)
	const n, processes = 5000, 3
	want := map[int]string{}
	texts := map[int]*strings.Builder{}
	for i := range processes {
		out := filepath.Join(t.TempDir(), "out")
		v := start(t, exe, file(t, out), nil)
		if err := s.Add(v.Process.Pid); err != nil {
			t.Fatal(err)
		}
		want[v.Process.Pid], texts[v.Process.Pid] = out, new(strings.Builder)
		v.tell(t, fmt.Sprint("varied ", n))
		if i == 0 {
			v.in.Close()
			v.Wait()
			s.Remove(v.Process.Pid)
		}
	}
	deadline := time.After(patience)
	for range n * processes {
		select {
		case l := <-s.Lines():
			fmt.Fprintln(texts[l.PID], l.Text)
		case <-deadline:
			t.Fatalf("not all lines came; %d lost", s.Lost())
		}
	}
	for pid, out := range want {
		if b, err := os.ReadFile(out); err != nil || string(b) != texts[pid].String() {
			t.Errorf("process %d wrote %d bytes, %d were shown or others; %v", pid, len(b), texts[pid].Len(), err)
		}
	}
}

// TestShortLinesAreLimited has a write of very many short lines.
func TestShortLinesAreLimited(t *testing.T) {
	const burst = 2*bpf.BurstUnits + 1
	shown := map[int]int{}
	s := newSplitter(func(l Line) { shown[l.FD]++ })
	at := time.Unix(1e9, 0)
	text := strings.Repeat("y\n", 100000)
	s.add(pieces(1, 1, text)[0], at)
	if shown[1] != burst || s.lost != 100000-burst {
		t.Errorf("%d of 100,000 lines, %d lost, want %d", shown[1], s.lost, burst)
	}
	s.add(pieces(1, 1, text)[0], at.Add(time.Second/10))
	if shown[1] != burst+bpf.UnitsPerSecond/10 || s.lost+uint64(shown[1]) != 200000 {
		t.Errorf("%d lines, %d lost after a tenth of a second", shown[1], s.lost)
	}
	s.add(pieces(1, 2, "a\n")[0], at.Add(time.Second/10))
	if shown[2] != 1 {
		t.Error("standard error lost what standard output had too much")
	}
	before := shown[1]
	s.add(pieces(1, 1, text)[0], at.Add(time.Hour))
	if shown[1]-before != burst {
		t.Errorf("%d lines after a pause, want %d", shown[1]-before, burst)
	}
}
