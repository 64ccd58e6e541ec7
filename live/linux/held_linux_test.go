package linux

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"syscall"
	"testing"
	"time"

	"procdump/snapshot"
	"procdump/snapshot/snapshottest"
	"procdump/victims"
)

// holdAgain opens a process that stands still, which is what the kernel's
// holding comes to, as one that the kernel holds.
func holdAgain(t *testing.T, pid int, threads []snapshot.Thread) *Stopped {
	t.Helper()
	target, err := Open(pid, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(target.Close)
	s, err := target.Held(pid, threads)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Resume() })
	return s
}

func TestHeldSaysWhatStoppedSays(t *testing.T) {
	for _, name := range []string{"threads", "threads@i386", "threads@static", "goroutines"} {
		t.Run(name, func(t *testing.T) {
			v := victims.Start(t, name)
			want := stop(t, v.PID, Options{}).Process
			threads := slices.Clone(want.Threads)
			for i := range threads {
				threads[i].Stack = snapshot.Range{}
			}
			h := holdAgain(t, v.PID, threads)
			got := h.Process
			if !reflect.DeepEqual(got.Linker, want.Linker) {
				t.Errorf("linker\n%+v, want\n%+v", got.Linker, want.Linker)
			}
			if !reflect.DeepEqual(got.Modules, want.Modules) {
				t.Errorf("modules\n%+v, want\n%+v", got.Modules, want.Modules)
			}
			if got.System.Machine != want.System.Machine {
				t.Errorf("machine %v, want %v", got.System.Machine, want.System.Machine)
			}
			for i := range want.Threads {
				if got, want := got.Threads[i].Stack, want.Threads[i].Stack; got != want || threads[i].Stack.Size != 0 {
					t.Errorf("stack of thread %d is %v, want %v", threads[i].TID, got, want)
				}
			}
			for _, scan := range []bool{true, false} {
				h.mem.scan.noScan.Store(!scan)
				compared := 0
				for i := range want.Regions {
					if g := &want.Regions[i]; !unreadable(g) && g.Size <= 4<<20 {
						compared++
						sameExtents(t, got.Memory, want.Memory, g, scan)
					}
				}
				if compared < 5 {
					t.Errorf("%d regions compared", compared)
				}
				snapshottest.Run(t, got)
			}
		})
	}
}

// sameExtents wants the same pages and bytes of a region. Read from the page
// map they say less of the zero page.
func sameExtents(t *testing.T, got, want snapshot.Memory, g *snapshot.Region, scan bool) {
	t.Helper()
	a, err1 := got.Extents(g.Range)
	b, err2 := want.Extents(g.Range)
	if err1 != nil || err2 != nil || scan && !reflect.DeepEqual(a, b) {
		t.Errorf("%v %s: extents\n%v (%v), want\n%v (%v)", g.Range, g.Path, a, err1, b, err2)
	}
	x, y := make([]byte, g.Size), make([]byte, g.Size)
	n, err1 := got.ReadMemory(x, g.Addr)
	k, err2 := want.ReadMemory(y, g.Addr)
	if n != k || (err1 == nil) != (err2 == nil) || !slices.Equal(x[:n], y[:k]) {
		t.Errorf("%v %s: read %d bytes (%v), want %d (%v)", g.Range, g.Path, n, err1, k, err2)
	}
}

// TestKilledWhileRead ends the process under its dump: its pages are not zeros
// then. It is the page map, not PAGEMAP_SCAN, that has no pages and no error.
func TestKilledWhileRead(t *testing.T) {
	for _, scan := range []bool{true, false} {
		for _, stopped := range []bool{true, false} {
			t.Run(fmt.Sprintf("scan %v, stopped %v", scan, stopped), func(t *testing.T) { killedWhileRead(t, scan, stopped) })
		}
	}
}

func killedWhileRead(t *testing.T, scan, stopped bool) {
	v := victims.Start(t, "threads")
	h := stop(t, v.PID, Options{})
	if !stopped { // held by the kernel instead
		h.Resume()
		h = holdAgain(t, v.PID, h.Process.Threads)
	}
	h.mem.scan.noScan.Store(!scan)
	p := h.Process
	if _, err := p.Memory.Extents(p.Regions[0].Range); err != nil {
		t.Fatal(err)
	}
	if stopped { // its parent learns of its end when the tracer has let it go
		if err := v.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(victims.Timeout); (state(t, v.PID) != 'Z' || livingThread(v.PID) != v.PID) && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
	} else {
		v.Kill()
	}
	for i := range p.Regions {
		g := &p.Regions[i]
		if unreadable(g) {
			continue
		}
		if xs, err := p.Memory.Extents(g.Range); !errors.Is(err, ErrGone) {
			t.Errorf("%v %s of a process that is gone has %v, %v", g.Range, g.Path, xs, err)
		}
		if n, err := p.Memory.ReadMemory(make([]byte, 16), g.Addr); !errors.Is(err, ErrGone) || n > 0 {
			t.Errorf("%v %s of a process that is gone: %d bytes, %v", g.Range, g.Path, n, err)
		}
	}
}

func TestHeldNeedsAThread(t *testing.T) {
	target, err := Open(victims.Start(t, "threads").PID, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	if s, err := target.Held(target.PID, nil); err == nil {
		s.Resume()
		t.Error("a process without threads was opened")
	}
}
