package unwind

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"procdump/arch"
	"procdump/image"
	"procdump/internal/packed"
	"procdump/snapshot"
)

// memory is pieces of memory at addresses.
type memory map[uint64][]byte

func (m memory) ReadMemory(p []byte, addr uint64) (int, error) {
	n := 0
next:
	for n < len(p) {
		for base, b := range m {
			if at := addr + uint64(n) - base; at < uint64(len(b)) {
				n += copy(p[n:], b[at:])
				continue next
			}
		}
		return n, &snapshot.MemoryError{Addr: addr + uint64(n), Err: snapshot.ErrNotMapped}
	}
	return n, nil
}

func (m memory) Extents(snapshot.Range) ([]snapshot.Extent, error) { return nil, nil }

const testStack = 0x7fff0000

// programFile is the file of the tests of package symbols: _start at 0x401050 calls
// outer at 0x401030, that calls middle at 0x401000; none has a frame.
func programFile(t testing.TB) string {
	t.Helper()
	b := packed.Read(t, "../symbols/testdata/small.elf.gz")
	file := filepath.Join(t.TempDir(), "small")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func words(v ...uint64) []byte {
	var b []byte
	for _, w := range v {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return b
}

// process is one that stands in middle, called by outer, called by _start, and
// its only thread.
func process(t testing.TB) (*Unwinder, *snapshot.Process) {
	t.Helper()
	return processOf(t, programFile(t))
}

func processOf(t testing.TB, file string) (*Unwinder, *snapshot.Process) {
	t.Helper()
	p := &snapshot.Process{
		System: snapshot.System{Machine: arch.AMD64},
		Modules: []snapshot.Module{
			{Range: snapshot.Range{Addr: 0x400000, Size: 0x4000}, Path: file}},
		Regions: []snapshot.Region{
			{Range: snapshot.Range{Addr: 0x401000, Size: 0x1000}, Perm: snapshot.Read | snapshot.Execute},
			{Range: snapshot.Range{Addr: 0x900000, Size: 0x1000}, Perm: snapshot.Read | snapshot.Execute},
			{Range: snapshot.Range{Addr: testStack - 0x1000, Size: 0x3000}, Perm: snapshot.Read | snapshot.Write},
		},
		Memory: memory{testStack: words(0x401035, 0x40105a, 0, 0, 0, 0, 0, 0)},
	}
	p.Threads = []snapshot.Thread{thread(0x401006, testStack, 0)}
	set := image.NewSet(p, image.Options{})
	t.Cleanup(set.Close)
	u, err := New(p, set)
	if err != nil {
		t.Fatal(err)
	}
	return u, p
}

func thread(pc, sp, fp uint64) snapshot.Thread {
	r := arch.Registers{Machine: arch.AMD64}
	r.SetGP("rip", pc)
	r.SetGP("rsp", sp)
	r.SetGP("rbp", fp)
	return snapshot.Thread{TID: 1, Registers: r}
}

// summary is a stack in a line.
func summary(s Stack) string {
	var b bytes.Buffer
	for _, f := range s.Frames {
		fmt.Fprintf(&b, "%#x %v", f.PC, f.How)
		if f.Signal {
			b.WriteString(" trampoline")
		}
		b.WriteString("; ")
	}
	switch {
	case s.Cut:
		b.WriteString("cut")
	case s.Complete:
		b.WriteString("complete")
	default:
		b.WriteString(s.End)
	}
	return b.String()
}

func TestStack(t *testing.T) {
	u, p := process(t)
	got := u.Stack(&p.Threads[0], 100)
	want := []Frame{
		{PC: 0x401006, SP: testStack, How: ByRegisters, Exact: true},
		{PC: 0x401035, SP: testStack + 8, How: ByCFI},
		{PC: 0x40105a, SP: testStack + 16, How: ByCFI},
	}
	if !reflect.DeepEqual(got.Frames, want) || !got.Complete {
		t.Errorf("got %s", summary(got))
	}
	if pc := got.Frames[1].CodePC(); pc != 0x401034 {
		t.Errorf("the call is at %#x", pc)
	}
	if got := u.Stack(&p.Threads[0], 2); len(got.Frames) != 2 || !got.Cut {
		t.Errorf("got %s", summary(got))
	}
}

// code is generated: at 0x10 a call *%rax.
var code = append(append(make([]byte, 0x10), 0xff, 0xd0), make([]byte, 0x100)...)

func TestGuesses(t *testing.T) {
	const generated = 0x900000
	for _, c := range []struct {
		name   string
		thread snapshot.Thread
		stack  []byte
		want   string
	}{
		{"call of null", thread(0, testStack, 0), words(0x401035, 0x40105a, 0),
			"0x0 registers; 0x401035 call; 0x40105a cfi; complete"},
		{"frame pointer", thread(generated+0x40, testStack, testStack+16), words(1, 2, testStack+64, generated+0x12, 0, 0, 0, 0, 0, 0),
			"0x900040 registers; 0x900012 frame-pointer; there is no call frame information of this code, and nothing on the stack looks like its caller"},
		{"scan", thread(generated+0x40, testStack, 0), words(7, generated+0x80, 0x401035, 0x40105a, 0),
			"0x900040 registers; 0x401035 scan; 0x40105a cfi; complete"},
		{"overwritten", thread(0x401006, testStack, 0), words(0x4141414141414141, 0x4141414141414141),
			"0x401006 registers; what follows on the stack is no return address"},
		{"no stack", thread(0x401006, 0x10000, 0), nil,
			"0x401006 registers; the dump does not hold the stack that it goes on in"},
		{"no registers", snapshot.Thread{TID: 1}, nil, "the dump holds no registers of this thread"},
	} {
		t.Run(c.name, func(t *testing.T) {
			u, p := process(t)
			p.Memory = memory{testStack: c.stack, generated: code}
			if got := summary(u.Stack(&c.thread, 100)); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// TestSignal goes through a handler's frame without call frame information, on
// another stack, as programs linked with musl have it.
func TestSignal(t *testing.T) {
	const restorer, other = 0x900080, 0x600000
	text := bytes.Clone(code)
	copy(text[0x80:], []byte{0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05})
	context := make([]uint64, 17)
	context[10] = 0 // rbp
	context[15] = testStack
	context[16] = 0x401006
	u, p := process(t)
	frame := append(words(restorer, 0, 0, 0, 0, 0), words(context...)...)
	p.Memory = memory{testStack: words(0x401035, 0x40105a, 0), 0x900000: text, other: frame}
	p.Regions = append([]snapshot.Region{p.Regions[0], {Range: snapshot.Range{Addr: other, Size: 0x1000}, Perm: snapshot.Read | snapshot.Write}}, p.Regions[1:]...)
	th := thread(0x401006, other, 0) // middle is the handler
	const want = "0x401006 registers; 0x900080 cfi trampoline; 0x401006 signal; 0x401035 cfi; 0x40105a cfi; complete"
	if got := summary(u.Stack(&th, 100)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestReturns(t *testing.T) {
	u, p := process(t)
	for _, c := range []struct {
		code []byte
		want bool
	}{
		{[]byte{0xe8, 1, 2, 3, 4}, true},
		{[]byte{0xff, 0xd0}, true},
		{[]byte{0x41, 0xff, 0xd4}, true},
		{[]byte{0xff, 0x15, 1, 2, 3, 4}, true},
		{[]byte{0xff, 0x50, 8}, true},
		{[]byte{0xff, 0x54, 0x24, 8}, true},
		{[]byte{0xff, 0x14, 0xc5, 1, 2, 3, 4}, true},
		{[]byte{0xff, 0xe0}, false}, // jmp *%rax
		{[]byte{0xff, 0x10, 0x90}, false},
		{[]byte{0x90, 0x90, 0x90}, false},
	} {
		text := append(make([]byte, 16-len(c.code)), c.code...)
		p.Memory = memory{0x900000: text}
		if got := u.returns(0x900010); got != c.want {
			t.Errorf("% x: %v", c.code, got)
		}
		clear(u.rows)
	}
}

func TestMachine(t *testing.T) {
	p := &snapshot.Process{}
	if _, err := New(p, image.NewSet(p, image.Options{})); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("got %v", err)
	}
}

// FuzzStack walks stacks of any content with call frame information of any
// content: it ends, and its frames are as many as were asked for at most.
func FuzzStack(f *testing.F) {
	s := &frameSection{}
	s.fde(s.cie("zR", 0), 0x900000, true, 0x41, 0x0e, 16, 0x86, 2)
	f.Add(s.b, words(0x900010, 0x900020, 0x401035, 0, 0), uint64(0x900004), uint64(testStack), byte(arch.AMD64))
	f.Add(s.b, words(testStack+16, 0x900012, testStack+64, 0x900012), uint64(0x900044), uint64(testStack), byte(arch.I386))
	f.Add(s.b, words(testStack+16, 0x900012, 0, 0), uint64(0x900044), uint64(testStack), byte(arch.ARM64))
	// The same bytes as code without tables.
	f.Add(aheadCode(), words(0, 0xb, 0xa00025, 0), uint64(0xa00007), uint64(testStack), byte(arch.AMD64))
	f.Add(aheadCode(), words(0xa00045, 0xb, 0xc, 0xa000c5, 0), uint64(0xa000aa), uint64(testStack), byte(arch.AMD64))
	f.Add(aheadCode(), words(0xb00000000, 0xa00025), uint64(0xa00007), uint64(testStack), byte(arch.I386))
	f.Fuzz(func(t *testing.T, frames, stack []byte, pc, sp uint64, machine byte) {
		u, p := processOf(t, "")
		m := arch.Machine(machine)
		if machines[m] == nil {
			return
		}
		p.System.Machine, u.m = m, machines[m]
		if m == arch.ARM64 {
			u.auth = authentication(p)
		}
		p.Memory = memory{testStack: stack, 0x900000: append(bytes.Clone(code), armCode()...), 0xa00000: frames}
		p.Modules = append(p.Modules, snapshot.Module{Range: snapshot.Range{Addr: 0x900000, Size: 0x1000}},
			snapshot.Module{Range: snapshot.Range{Addr: 0xa00000, Size: 0x1000}})
		u.set = image.NewSet(p, image.Options{})
		defer u.set.Close()
		x := section{read: u.read, spend: u.spend, eh: true, word: u.m.word}
		u.tables[u.set.Find(0x900000)] = &tables{eh: x, index: x.index(0xa00000, uint64(len(frames)))}
		r := arch.Registers{Machine: p.Machine()}
		r.SetGP(u.m.pcName, pc)
		r.SetGP(u.m.names[u.m.sp], sp)
		r.SetGP(u.m.names[u.m.fp], sp+16)
		const limit = 200
		if got := u.Stack(&snapshot.Thread{TID: 1, Registers: r}, limit); len(got.Frames) > limit || len(got.Frames) == 0 {
			t.Errorf("%d frames", len(got.Frames))
		}
	})
}
