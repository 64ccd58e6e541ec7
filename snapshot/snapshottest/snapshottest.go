// Package snapshottest is the suite that every source of snapshots passes: a
// live process, an ELF core, a minidump.
package snapshottest

import (
	"bytes"
	"errors"
	"sync"
	"testing"

	"procdump/arch"
	"procdump/snapshot"
)

// Run checks that a source keeps the contracts of the hub model. The process
// must have at least one thread and some memory.
func Run(t *testing.T, p *snapshot.Process) {
	t.Run("threads", func(t *testing.T) { threads(t, p) })
	t.Run("regions", func(t *testing.T) { regions(t, p) })
	t.Run("modules", func(t *testing.T) { modules(t, p) })
	t.Run("extents", func(t *testing.T) { extents(t, p) })
	t.Run("memory", func(t *testing.T) { memory(t, p) })
}

func threads(t *testing.T, p *snapshot.Process) {
	if len(p.Threads) == 0 {
		t.Fatal("no threads")
	}
	seen := map[int]bool{}
	for i := range p.Threads {
		th := &p.Threads[i]
		if seen[th.TID] {
			t.Errorf("thread %d is there twice", th.TID)
		}
		seen[th.TID] = true
		r := &th.Registers
		if r.Machine == arch.Unknown || len(r.Set(arch.NT_PRSTATUS)) != r.Machine.GPSize() {
			t.Errorf("thread %d: machine %v with %d bytes of general registers", th.TID, r.Machine, len(r.Set(arch.NT_PRSTATUS)))
			continue
		}
		if k := p.FindRegion(r.SP()); k < 0 {
			t.Errorf("thread %d: stack pointer %#x is in no region", th.TID, r.SP())
		}
		if k := p.FindRegion(r.PC()); k < 0 || p.Regions[k].Perm&snapshot.Execute == 0 {
			t.Errorf("thread %d: program counter %#x is in no executable region", th.TID, r.PC())
		}
		if th.Stack.Size > 0 {
			b := make([]byte, 8)
			if _, err := p.Memory.ReadMemory(b, r.SP()); err != nil {
				t.Errorf("thread %d: top of stack: %v", th.TID, err)
			}
		}
	}
}

func regions(t *testing.T, p *snapshot.Process) {
	if len(p.Regions) == 0 {
		t.Fatal("no regions")
	}
	for i := range p.Regions {
		g := &p.Regions[i]
		if g.Size == 0 || g.End() < g.Addr && g.End() != 0 {
			t.Errorf("region %v is empty or wraps", g.Range)
		}
		if i > 0 && g.Addr < p.Regions[i-1].End() {
			t.Errorf("region %v overlaps or precedes %v", g.Range, p.Regions[i-1].Range)
		}
		if k := p.FindRegion(g.Addr + g.Size/2); k != i {
			t.Errorf("FindRegion in %v returns %d, not %d", g.Range, k, i)
		}
	}
}

func modules(t *testing.T, p *snapshot.Process) {
	for i, m := range p.Modules {
		if m.Size == 0 || m.Path == "" {
			t.Errorf("module %d (%q) at %v is empty or has no path", i, m.Path, m.Range)
		}
		if p.FindRegion(m.Addr) < 0 {
			t.Errorf("module %s at %v is in no region", m.Path, m.Range)
		}
		for _, o := range p.Modules[:i] {
			if o.Range.Intersect(m.Range).Size > 0 {
				t.Errorf("modules %s and %s overlap", o.Path, m.Path)
			}
		}
	}
}

func extents(t *testing.T, p *snapshot.Process) {
	found := false
	for i := range p.Regions {
		g := &p.Regions[i]
		xs, err := p.Memory.Extents(g.Range)
		if err != nil {
			t.Fatalf("extents of %v: %v", g.Range, err)
		}
		at := g.Addr
		for _, x := range xs {
			found = true
			if x.Addr < at || x.End() > g.End() || x.Size == 0 {
				t.Fatalf("extent %v of %v is out of order or range", x.Range, g.Range)
			}
			at = x.End()
		}
		if len(xs) == 0 {
			continue
		}
		// A question for a part is answered by that part.
		x := xs[0]
		part := snapshot.Range{Addr: x.Addr + x.Size/2, Size: 1}
		some, err := p.Memory.Extents(part)
		if err != nil || len(some) != 1 || some[0].Range != part {
			t.Errorf("extents of %v: %v, %v; want it alone", part, some, err)
		}
	}
	if !found {
		t.Error("no memory at all")
	}
}

// readable returns the first extent of at least size bytes that can be read.
func readable(t *testing.T, p *snapshot.Process, size uint64) snapshot.Range {
	t.Helper()
	for i := range p.Regions {
		xs, err := p.Memory.Extents(p.Regions[i].Range)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range xs {
			if x.Size >= size && p.Regions[i].Perm&snapshot.Read != 0 {
				return x.Range
			}
		}
	}
	t.Fatalf("no extent of %d bytes", size)
	return snapshot.Range{}
}

func memory(t *testing.T, p *snapshot.Process) {
	r := readable(t, p, 4096)
	whole := make([]byte, 4096)
	if n, err := p.Memory.ReadMemory(whole, r.Addr); n != len(whole) || err != nil {
		t.Fatalf("read %v: %d, %v", r, n, err)
	}
	t.Run("pieces", func(t *testing.T) {
		for _, off := range []uint64{0, 1, 7, 2048, 4095} {
			b := make([]byte, min(100, 4096-off))
			if _, err := p.Memory.ReadMemory(b, r.Addr+off); err != nil || !bytes.Equal(b, whole[off:off+uint64(len(b))]) {
				t.Errorf("reading %d bytes at +%d gives other bytes, or %v", len(b), off, err)
			}
		}
	})
	t.Run("parallel", func(t *testing.T) {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				b := make([]byte, 4096)
				for range 50 {
					if _, err := p.Memory.ReadMemory(b, r.Addr); err != nil || !bytes.Equal(b, whole) {
						t.Errorf("parallel read differs, or %v", err)
						return
					}
				}
			})
		}
		wg.Wait()
	})
	t.Run("unmapped", func(t *testing.T) {
		for _, addr := range []uint64{0, 16} {
			var me *snapshot.MemoryError
			n, err := p.Memory.ReadMemory(make([]byte, 16), addr)
			if n != 0 || !errors.As(err, &me) || me.Addr != addr {
				t.Errorf("read at %#x: %d, %v; want 0 and a MemoryError there", addr, n, err)
			}
		}
	})
	t.Run("across the end", func(t *testing.T) { acrossEnd(t, p) })
}

// acrossEnd reads from known memory into what does not exist.
func acrossEnd(t *testing.T, p *snapshot.Process) {
	for i := range p.Regions {
		g := &p.Regions[i]
		if i+1 < len(p.Regions) && p.Regions[i+1].Addr == g.End() || g.Size < 16 {
			continue
		}
		xs, err := p.Memory.Extents(snapshot.Range{Addr: g.End() - 16, Size: 16})
		if err != nil || len(xs) != 1 || xs[0].Size != 16 {
			continue
		}
		var me *snapshot.MemoryError
		n, err := p.Memory.ReadMemory(make([]byte, 32), g.End()-16)
		if n != 16 || !errors.As(err, &me) || me.Addr != g.End() {
			t.Errorf("read across the end of %v: %d, %v; want 16 and a MemoryError at %#x", g.Range, n, err, g.End())
		}
		return
	}
	t.Skip("no region ends with memory before a gap")
}

// Same checks that two snapshots show the same process: threads with their
// registers, modules, and every byte of memory that both hold. got may hold
// less memory than want; held is what it must hold at least.
func Same(t *testing.T, want, got *snapshot.Process, held []snapshot.Range) {
	t.Helper()
	if want.PID != got.PID || want.Name != got.Name || want.Machine() != got.Machine() {
		t.Errorf("process %d %q %v, want %d %q %v", got.PID, got.Name, got.Machine(), want.PID, want.Name, want.Machine())
	}
	if len(want.Threads) != len(got.Threads) {
		t.Fatalf("%d threads, want %d", len(got.Threads), len(want.Threads))
	}
	for i := range want.Threads {
		sameThread(t, &want.Threads[i], &got.Threads[i])
	}
	sameModules(t, want, got)
	sameMemory(t, want, got, held)
}

func sameThread(t *testing.T, a, b *snapshot.Thread) {
	t.Helper()
	if a.TID != b.TID || a.Name != b.Name {
		t.Errorf("thread %d %q, want %d %q", b.TID, b.Name, a.TID, a.Name)
	}
	for _, set := range a.Registers.Sets {
		if !bytes.Equal(set.Data, b.Registers.Set(set.Type)) {
			t.Errorf("thread %d: register set %#x differs (%d and %d bytes)", a.TID, set.Type, len(b.Registers.Set(set.Type)), len(set.Data))
		}
	}
}

func sameModules(t *testing.T, want, got *snapshot.Process) {
	t.Helper()
	byBase := map[uint64]snapshot.Module{}
	for _, m := range got.Modules {
		byBase[m.Addr] = m
	}
	for _, m := range want.Modules {
		o, ok := byBase[m.Addr]
		switch {
		case !ok:
			t.Errorf("module %s at %#x is missing", m.Path, m.Addr)
		case !bytes.Equal(m.BuildID, o.BuildID) || o.Path != m.Path:
			t.Errorf("module %s build id %x, want %s %x", o.Path, o.BuildID, m.Path, m.BuildID)
		}
	}
}

func sameMemory(t *testing.T, want, got *snapshot.Process, held []snapshot.Range) {
	t.Helper()
	const step = 1 << 20
	for _, r := range held {
		for at := r.Addr; at < r.End(); at += step {
			n := min(step, r.End()-at)
			a, b := make([]byte, n), make([]byte, n)
			an, _ := want.Memory.ReadMemory(a, at)
			bn, err := got.Memory.ReadMemory(b, at)
			if bn < an {
				t.Errorf("memory at %#x is missing: %v", at+uint64(bn), err)
				return
			}
			if !bytes.Equal(a[:an], b[:an]) {
				t.Errorf("memory differs within %#x-%#x", at, at+n)
				return
			}
		}
	}
}
