package unwind

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"procdump/arch"
	"procdump/image"
	"procdump/image/pe"
	"procdump/internal/packed"
	"procdump/snapshot"
)

// instant is a thread of Windows at one instruction.
type instant struct {
	registers [17]uint64 // in the order of CONTEXT: rax, rcx, rdx, rbx, rsp, …, r15, rip
	stack     []byte     // from rsp on
}

func (i *instant) sp() uint64 { return i.registers[4] }
func (i *instant) pc() uint64 { return i.registers[16] }
func (i *instant) top() uint64 {
	return binary.LittleEndian.Uint64(i.stack)
}

// readSteps reads what testdata/windows/steps.c has written.
func readSteps(t *testing.T) (base uint64, all []instant) {
	t.Helper()
	le := binary.LittleEndian
	b := packed.Read(t, "testdata/windows/steps.bin.gz")
	base, b = le.Uint64(b), b[8:]
	for len(b) > 0 {
		var i instant
		for k := range i.registers {
			i.registers[k] = le.Uint64(b[8*k:])
		}
		n := le.Uint64(b[17*8:])
		b = b[18*8:]
		i.stack, b = b[:n], b[n:]
		all = append(all, i)
	}
	return base, all
}

// calls follows a thread from instruction to instruction and keeps where the calls
// that it is in return to.
type calls struct {
	last  instant
	slots []uint64 // where the return addresses lie, the outermost first
	pcs   []uint64
}

func (c *calls) next(i instant) {
	for len(c.slots) > 0 && c.slots[len(c.slots)-1] < i.sp() {
		c.slots, c.pcs = c.slots[:len(c.slots)-1], c.pcs[:len(c.pcs)-1]
	}
	const longest = 15 // bytes of an instruction
	pushed := c.last.stack != nil && i.sp() == c.last.sp()-8
	if ret := i.top(); pushed && ret > c.last.pc() && ret <= c.last.pc()+longest && i.pc() != ret {
		c.slots, c.pcs = append(c.slots, i.sp()), append(c.pcs, ret)
	}
	c.last = i
}

func (i *instant) thread() snapshot.Thread {
	r := arch.Registers{Machine: arch.AMD64}
	for k, name := range []string{"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rip"} {
		r.SetGP(name, i.registers[k])
	}
	return snapshot.Thread{TID: 1, Registers: r}
}

// TestWindowsSteps walks the stack at each instruction of functions that gcc has
// compiled for Windows: prologs, bodies and epilogs. What the processor has called
// is the judge.
func TestWindowsSteps(t *testing.T) {
	base, all := readSteps(t)
	file := filepath.Join(t.TempDir(), "Steps.EXE")
	if err := os.WriteFile(file, packed.Read(t, "testdata/windows/steps.exe.gz"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	x, err := pe.NewFile(f)
	if err != nil {
		t.Fatal(err)
	}
	p := &snapshot.Process{
		System: snapshot.System{Machine: arch.AMD64, OS: "windows"},
		Modules: []snapshot.Module{{Range: snapshot.Range{Addr: base, Size: uint64(x.Size)}, Path: `C:\Program Files\steps.exe`,
			ID: snapshot.FileID{Stamp: x.Stamp}}},
	}
	var c calls
	deepest := 0
	for n, i := range all {
		c.next(i)
		deepest = max(deepest, len(c.pcs))
		if i.pc()-base >= uint64(x.Size) {
			t.Fatalf("step %d is at %#x: not in the program", n, i.pc())
		}
		p.Memory = memory{i.sp(): i.stack}
		set := image.NewSet(p, image.Options{Roots: []string{filepath.Dir(file)}})
		u, err := New(p, set)
		if err != nil {
			t.Fatal(err)
		}
		th := i.thread()
		want := append([]uint64{i.pc()}, reversed(c.pcs)...)
		s := u.Stack(&th, len(want))
		set.Close()
		var got []uint64
		for k, f := range s.Frames {
			got = append(got, f.PC)
			// The function by which gcc's programs make large frames has no entry.
			_, _, none := x.Function(uint32(i.pc() - base))
			if k > 0 && f.How != ByPE && !(k == 1 && f.How == ByCode && none) {
				t.Errorf("step %d: frame %d was found by %v", n, k, f.How)
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("step %d of %d at %#x: %#x, not %#x; %s", n, len(all), i.pc(), got, want, s.End)
		}
	}
	if len(all) < 500 || deepest < 4 {
		t.Errorf("%d steps, %d calls deep: the recording is not what it should be", len(all), deepest)
	}
	t.Logf("%d steps, at most %d calls deep", len(all), deepest)
}

func reversed(all []uint64) []uint64 {
	all = slices.Clone(all)
	slices.Reverse(all)
	return all
}

// TestFramePointersWithoutCode follows the frame pointers of an i386 program of
// which the dump has only the stack.
func TestFramePointersWithoutCode(t *testing.T) {
	stack := make([]byte, 64)
	for i, w := range []uint32{testStack + 16, 0x401100, 0, 0, testStack + 32, 0x401200, 0, 0, 0, 0x900000} {
		binary.LittleEndian.PutUint32(stack[4*i:], w)
	}
	p := &snapshot.Process{
		System:  snapshot.System{Machine: arch.I386, OS: "windows"},
		Modules: []snapshot.Module{{Range: snapshot.Range{Addr: 0x400000, Size: 0x4000}, Path: `C:\app.exe`}},
		Memory:  memory{testStack: stack},
	}
	r := arch.Registers{Machine: arch.I386}
	r.SetGP("eip", 0x401000)
	r.SetGP("esp", testStack)
	r.SetGP("ebp", testStack)
	set := image.NewSet(p, image.Options{Roots: []string{t.TempDir()}})
	defer set.Close()
	u, err := New(p, set)
	if err != nil {
		t.Fatal(err)
	}
	got := summary(u.Stack(&snapshot.Thread{TID: 1, Registers: r}, 9))
	want := "0x401000 registers; 0x401100 frame-pointer; 0x401200 frame-pointer; " + noTable.text()
	if got != want {
		t.Errorf("%s, not %s", got, want)
	}
}
