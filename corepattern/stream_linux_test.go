package corepattern

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/iotest"

	"procdump/snapshot"
)

func TestHeadIsReadToItsEndOnly(t *testing.T) {
	core := fakeCore(t, fakeProcess())
	r := bytes.NewReader(core)
	head, err := readHead(iotest.OneByteReader(r))
	if err != nil {
		t.Fatal(err)
	}
	if len(head)+r.Len() != len(core) || !bytes.Equal(head, core[:len(head)]) {
		t.Errorf("head of %d bytes, %d left of %d", len(head), r.Len(), len(core))
	}
	p, err := parseHead(head)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Threads) != 2 || p.Threads[0].Registers.SP() != stackAddr+30*page || p.Exception == nil || p.Exception.Addr != 0x10 {
		t.Errorf("%d threads, exception %+v", len(p.Threads), p.Exception)
	}
	for _, n := range []int{0, 3, 63, 64, 100, len(head) - 1} {
		if _, err := readHead(bytes.NewReader(core[:n])); err == nil {
			t.Errorf("a core of %d bytes has a head", n)
		}
	}
	if _, err := readHead(bytes.NewReader(make([]byte, 4096))); !errors.Is(err, errNoCore) {
		t.Errorf("zeros: %v", err)
	}
}

// spooled stores a core within a budget and opens it.
func spooled(t *testing.T, core []byte, budget uint64) (p *snapshot.Process, left uint64) {
	t.Helper()
	r := bytes.NewReader(core)
	head, err := readHead(r)
	if err != nil {
		t.Fatal(err)
	}
	known, err := parseHead(head)
	if err != nil {
		t.Fatal(err)
	}
	progs, err := headProgs(head)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "spool"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	size, left, err := spool(f, head, progs, planSpool(progs, known, budget), iotest.HalfReader(r))
	if err != nil {
		t.Fatal(err)
	}
	if p, err = openSpool(f, size); err != nil {
		t.Fatal(err)
	}
	return p, left
}

func TestSpoolKeepsStacksFirst(t *testing.T) {
	fake := fakeProcess()
	core := fakeCore(t, fake)
	p, left := spooled(t, core, 1<<30)
	for i := range fake.Regions {
		wantMemory(t, p, fake.Regions[i].Range)
	}
	if left != 0 {
		t.Errorf("%d bytes left out", left)
	}
	for _, c := range []struct {
		budget uint64
		has    []int // regions
	}{
		{1, nil},
		{33 * page, []int{2}},
		{40 * page, []int{1, 2}},
	} {
		p, left := spooled(t, core, c.budget)
		var want uint64
		for i := range fake.Regions {
			g := &fake.Regions[i]
			if len(c.has) > 0 && i >= c.has[0] {
				wantMemory(t, p, g.Range)
				continue
			}
			want += g.Size
			// What is not there is not zero.
			var missing *snapshot.MemoryError
			if _, err := p.Memory.ReadMemory(make([]byte, 8), g.Addr); !errors.As(err, &missing) {
				t.Errorf("budget %d: region %d can be read", c.budget, i)
			}
			if k := p.FindRegion(g.Addr); k < 0 || p.Regions[k].Flags&snapshot.Userfault == 0 {
				t.Errorf("budget %d: region %d is taken for zeros", c.budget, i)
			}
		}
		if left != want {
			t.Errorf("budget %d: %d bytes left out, want %d", c.budget, left, want)
		}
	}
}

func TestSpoolOfStreamThatEnds(t *testing.T) {
	core := fakeCore(t, fakeProcess())
	p, _ := spooled(t, core[:len(core)-20*page], 1<<30)
	wantMemory(t, p, snapshot.Range{Addr: heapAddr, Size: 1 << 20})
	wantMemory(t, p, snapshot.Range{Addr: stackAddr, Size: 12 * page})
	if _, err := p.Memory.ReadMemory(make([]byte, 8), stackAddr+12*page); err == nil {
		t.Error("memory is there that the stream had not")
	}
}

func FuzzHead(f *testing.F) {
	core := fakeCore(f, fakeProcess())
	f.Add(core[:16<<10])
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		head, err := readHead(r)
		if err != nil {
			return
		}
		p, err := parseHead(head)
		if err != nil {
			return
		}
		progs, err := headProgs(head)
		if err != nil {
			t.Fatal("a head without program headers was parsed")
		}
		file, err := os.Create(filepath.Join(t.TempDir(), "spool"))
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if size, _, err := spool(file, head, progs, planSpool(progs, p, 1<<20), r); err == nil {
			openSpool(file, size)
		}
	})
}
