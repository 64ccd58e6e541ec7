package unwind

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"procdump/arch"
	"procdump/image"
	"procdump/image/pe"
	"procdump/internal/packed"
	"procdump/snapshot"
)

// run is a function of arm64 that is carried out, and what is known of its caller.
type run struct {
	processor
	u      *Unwinder
	caller [32]uint64
	ret    uint64
	steps  int
}

const armTop = 0x7e0000000000 // where the caller's part of the stack begins

// newRun stands at the beginning of a function that was called from before ret, and
// needs at most that many bytes of the stack.
func newRun(u *Unwinder, p *snapshot.Process, pc, ret uint64, needs int) *run {
	r := &run{u: u, ret: ret}
	r.base, r.stack = armTop-uint64(needs), make([]byte, needs+0x1000)
	p.Memory = changing{p.Memory.(memory), memory{r.base: r.stack}}
	r.pc = pc
	for i := range r.x {
		r.x[i] = 0x1000*uint64(i) + 5
	}
	r.x[0], r.x[1] = 5, 100
	r.x[29], r.x[30], r.x[31] = armTop+0x80, ret, armTop
	r.caller = r.x
	return r
}

// changing is memory of which stack changes. Whole pages of it cannot be read, for
// these would be remembered.
type changing struct{ memory, stack memory }

func (c changing) ReadMemory(p []byte, addr uint64) (int, error) {
	if n, err := c.memory.ReadMemory(p, addr); n > 0 {
		return n, err
	}
	return c.stack.ReadMemory(p[:min(len(p), 1024)], addr)
}

func (changing) Extents(snapshot.Range) ([]snapshot.Extent, error) { return nil, nil }

// check walks to the caller: from where the function stands, or from behind a call.
func (r *run) check(t *testing.T, name string, called bool) {
	t.Helper()
	r.steps++
	cur := walk{frame: Frame{PC: r.pc, SP: r.x[31], Exact: !called}, link: !called}
	for i, v := range r.x {
		cur.set(i, v)
	}
	cur.pc = r.pc
	if called {
		cur.pc += 4
		cur.frame.PC = cur.pc
		for i := range 18 {
			cur.set(i, 0x666)
		}
		cur.set(30, 0x666)
	}
	next, end := r.u.step(&cur)
	if end != goesOn || next.pc != r.ret || next.frame.How != ByPE || next.frame.Exact || next.link {
		t.Fatalf("%s at %#x: %#x, by %v, %q", name, cur.pc, next.pc, next.frame.How, end.text())
	}
	for _, n := range []uint64{19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 31} {
		if v, ok := next.get(n); !ok || v != r.caller[n] {
			t.Errorf("%s at %#x: x%d is %#x, not %#x", name, cur.pc, n, v, r.caller[n])
		}
	}
}

// all carries the function out up to its end.
func (r *run) all(t *testing.T, name string, code func(addr uint64) uint32) {
	t.Helper()
	for range 1000 {
		r.check(t, name, false)
		if t.Failed() {
			return
		}
		i := code(r.pc)
		back := r.pc + 4
		before := *r
		switch r.step(t, i) {
		case armCalls:
			before.check(t, name, true)
			if r.steps++; i>>26 != 0x25 { // the other ones are of a function that keeps all registers
				for n := range 18 {
					r.x[n] = r.invent()
				}
			}
			r.x[30] = back
		case armLeaves:
			if r.x[31] != r.caller[31] || r.x[30] != r.ret {
				t.Errorf("%s leaves at %#x with the stack pointer %#x and the link register %#x", name, back-4, r.x[31], r.x[30])
			}
			return
		case armDies:
			return
		}
	}
	t.Errorf("%s does not end", name)
}

// armProgram is what testdata/windows/arm64.c and arm64.s have been made to.
func armProgram(t *testing.T) (*Unwinder, *snapshot.Process, *pe.Image) {
	t.Helper()
	b := packed.Read(t, "testdata/windows/arm64.dll.gz")
	x, err := pe.NewFile(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "arm64.dll"), b, 0o600); err != nil {
		t.Fatal(err)
	}
	p := &snapshot.Process{
		System: snapshot.System{Machine: arch.ARM64, OS: "windows"},
		Modules: []snapshot.Module{{Range: snapshot.Range{Addr: windowsBase, Size: uint64(x.Size)}, Path: `C:\arm64.dll`,
			ID: snapshot.FileID{Stamp: x.Stamp}}},
		Memory: memory{},
	}
	set := image.NewSet(p, image.Options{Roots: []string{dir}})
	t.Cleanup(set.Close)
	u, err := New(p, set)
	if err != nil {
		t.Fatal(err)
	}
	return u, p, x
}

// TestWindowsARM64Steps walks to the caller at each instruction of functions that
// clang has compiled and assembled for arm64. The processor is the judge.
func TestWindowsARM64Steps(t *testing.T) {
	u, p, x := armProgram(t)
	code := func(addr uint64) uint32 {
		var b [4]byte
		if x.Read(b[:], uint32(addr-windowsBase)) < len(b) {
			t.Fatalf("no code at %#x", addr)
		}
		return binary.LittleEndian.Uint32(b[:])
	}
	ret := uint64(windowsBase + codeAt + 4)
	for !instruction(code(ret - 4)).calls() {
		ret += 4
	}
	functions, steps := 0, 0
	for _, e := range x.Exports(1000) {
		name := x.Name(e)
		functions++
		for _, taken := range []bool{false, true} {
			p.Memory = memory{}
			r := newRun(u, p, windowsBase+uint64(e.RVA), ret, 2<<20)
			r.taken = taken
			r.all(t, name, code)
			steps += r.steps
		}
		if t.Failed() {
			return
		}
	}
	if functions < 110 || steps < 3000 {
		t.Errorf("%d functions, %d steps", functions, steps)
	}
	t.Logf("%d functions, %d steps", functions, steps)
	if strings.Contains(strings.Join(u.set.Warnings(), "\n"), "arm64") {
		t.Errorf("%q", u.set.Warnings())
	}
}
