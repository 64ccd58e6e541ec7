package interp

import (
	"errors"
	"strings"
	"testing"
	"time"

	"procdump/image"
	"procdump/snapshot"
	"procdump/unwind"
)

// counted is memory that counts how often it is read.
type counted struct{ reads int }

func (c *counted) ReadMemory(p []byte, _ uint64) (int, error) {
	c.reads++
	for i := range p {
		p[i] = 7
	}
	return len(p), nil
}

// TestBudget: a stack takes so many reads and no more, and the next one has its
// own, as long as there are some for all.
func TestBudget(t *testing.T) {
	c := &counted{}
	m := newMemory(c)
	for stack, want := range []struct {
		reads int
		err   error
	}{{10, nil}, {maxThreadReads, errReads}, {10, nil}, {maxThreadReads, errReads}, {maxThreadReads, errReads}, {maxReads - 3*maxThreadReads - 20, errReads}, {0, errReads}} {
		m.begin()
		m.failed = false
		before := c.reads
		tries := 10
		if want.err != nil {
			tries = maxThreadReads + 5
		}
		for range tries {
			m.u8(1)
		}
		if got := c.reads - before; got != want.reads || m.failed != (want.err != nil) {
			t.Errorf("stack %d: %d reads, want %d; failed: %v", stack, got, want.reads, m.failed)
		}
		if m.failed && (m.u64(8) != 0 || m.cString(8) != "" || m.text(8, 4) != "") {
			t.Errorf("stack %d: something was read beyond the bound", stack)
		}
		if err := m.end(); err != want.err {
			t.Errorf("stack %d: %v, want %v", stack, err, want.err)
		}
	}
}

// TestBudgetTime: a stack takes so long and no longer.
func TestBudgetTime(t *testing.T) {
	m := newMemory(&counted{})
	for _, c := range []struct {
		ago, left time.Duration
		want      error
	}{{0, maxTime, nil}, {2 * maxThreadTime, maxTime, errLate}, {maxThreadTime / 2, maxThreadTime / 4, errLate}} {
		m.begin()
		m.time, m.began = c.left, m.began.Add(-c.ago)
		for range 1000 {
			m.u8(1)
		}
		if err := m.end(); err != c.want {
			t.Errorf("%+v: %v", c, err)
		}
		if m.time > c.left-c.ago {
			t.Errorf("%+v: %v left", c, m.time)
		}
	}
}

// faulty panics for one thread.
type faulty struct{ tid int }

func (f faulty) Stack(t *snapshot.Thread, native *unwind.Stack) (unwind.Stack, error) {
	s := *native
	if t.TID == f.tid {
		s.Frames = nil
		var none *unwind.Script
		s.End = none.Function
	}
	s.Frames = append([]unwind.Frame{{Script: &unwind.Script{Function: "script"}}}, native.Frames...)
	return s, nil
}

func (faulty) Attach(*snapshot.Process, *image.Set) error { return nil }
func (faulty) Close()                                     {}

// TestPanic: where finding the functions of scripts panics, the native stack and
// those of other walkers and threads stay.
func TestPanic(t *testing.T) {
	all := walkers{faulty{0}, faulty{2}, faulty{3}}
	for tid, want := range map[int]int{1: 4, 2: 3, 3: 3} {
		s, err := all.Stack(&snapshot.Thread{TID: tid}, &unwind.Stack{Frames: []unwind.Frame{{PC: 1}}})
		if len(s.Frames) != want || (err != nil) != (want == 3) {
			t.Errorf("thread %d: %d frames, %v", tid, len(s.Frames), err)
		}
		if err != nil && !strings.Contains(err.Error(), "data are damaged") {
			t.Error(err)
		}
	}
}

// TestSoundEnd: reads that fail are no lack of budget.
func TestSoundEnd(t *testing.T) {
	m := newMemory(image.NewSet(&snapshot.Process{}, image.Options{}))
	m.begin()
	if m.u64(0x1000); !m.failed || m.end() != nil {
		t.Errorf("failed: %v, %v", m.failed, m.short)
	}
	if errors.Is(errLate, errReads) {
		t.Error("the two are one")
	}
}
