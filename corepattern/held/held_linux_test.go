package held

import (
	"bytes"
	"context"
	"reflect"
	"testing"

	"procdump/live/linux"
	"procdump/snapshot"
	"procdump/snapshot/snapshottest"
	"procdump/victims"
)

// TestHeldSaysWhatLiveSays compares the two readers of a process that stands
// still, which is what the kernel's holding comes to.
func TestHeldSaysWhatLiveSays(t *testing.T) {
	for _, name := range []string{"threads", "threads@i386", "threads@static", "goroutines"} {
		t.Run(name, func(t *testing.T) {
			v := victims.Start(t, name)
			target, err := linux.Open(v.PID, linux.Options{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(target.Close)
			s, err := target.Stop(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.Resume() })
			p := *s.Process
			m, err := Open(v.PID, p.Regions, p.System.PageSize)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(m.Close)
			p.Memory = m
			got, want := Linker(&p), s.Process.Linker
			if got != nil && want != nil {
				// The section's size is up to its end here, with the room behind it there.
				if got.Dynamic.Size > want.Dynamic.Size {
					t.Errorf("dynamic section %v, want at most %v", got.Dynamic, want.Dynamic)
				}
				want.Dynamic, want.Ranges[1] = got.Dynamic, got.Dynamic
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("linker\n%+v, want\n%+v", got, want)
			}
			for i := range p.Threads {
				if got := Stack(&p, &p.Threads[i]); got != p.Threads[i].Stack {
					t.Errorf("stack of thread %d is %v, want %v", p.Threads[i].TID, got, p.Threads[i].Stack)
				}
			}
			for _, scan := range []bool{true, false} {
				m.pages.noScan.Store(!scan)
				for i := range p.Regions {
					compare(t, m, s.Process.Memory, &p.Regions[i], scan)
				}
				snapshottest.Run(t, &p)
			}
		})
	}
}

// compare wants the same pages and bytes of a region.
func compare(t *testing.T, got, want snapshot.Memory, g *snapshot.Region, scan bool) {
	t.Helper()
	const most = 4 << 20
	r := snapshot.Range{Addr: g.Addr, Size: min(g.Size, most)}
	a, err1 := got.Extents(r)
	b, err2 := want.Extents(r)
	if err1 != nil || err2 != nil {
		t.Errorf("%v %s: %v, %v", r, g.Path, err1, err2)
	}
	if scan && !reflect.DeepEqual(a, b) {
		t.Errorf("%v %s: extents\n%v, want\n%v", r, g.Path, a, b)
	}
	x, y := make([]byte, r.Size), make([]byte, r.Size)
	n, err1 := got.ReadMemory(x, r.Addr)
	k, err2 := want.ReadMemory(y, r.Addr)
	if n != k || (err1 == nil) != (err2 == nil) || !bytes.Equal(x[:n], y[:k]) {
		t.Errorf("%v %s: read %d bytes (%v), want %d (%v)", r, g.Path, n, err1, k, err2)
	}
}

func TestGone(t *testing.T) {
	v := victims.Start(t, "threads")
	target, err := linux.Open(v.PID, linux.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	p := target.Snapshot()
	m, err := Open(v.PID, p.Regions, p.System.PageSize)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if _, err := m.Extents(p.Regions[0].Range); err != nil {
		t.Fatal(err)
	}
	v.Kill()
	for i := range p.Regions {
		g := &p.Regions[i]
		if unreadable(g) {
			continue
		}
		if xs, err := m.Extents(g.Range); err == nil {
			t.Errorf("%v %s of a process that is gone has %v", g.Range, g.Path, xs)
		}
		if n, err := m.ReadMemory(make([]byte, 16), g.Addr); err == nil || n > 0 {
			t.Errorf("%v %s of a process that is gone: %d bytes, %v", g.Range, g.Path, n, err)
		}
	}
}
