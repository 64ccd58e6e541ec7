package unwind

import (
	"bytes"
	"debug/elf"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/arch/x86/x86asm"

	"procdump/arch"
	"procdump/image"
	"procdump/image/pe"
	"procdump/internal/packed"
	"procdump/snapshot"
	"procdump/victims/need"
)

// callsAt is where tests have a page of nothing but call *%rax: after each of them
// is a return address.
const callsAt = 0x900000

// library is a process that has mapped a library, with a stack of return addresses
// of which no two are the same.
func library(t testing.TB, file string, machine arch.Machine, base uint64) (*Unwinder, *image.Image) {
	t.Helper()
	stack := make([]uint64, 0x1000)
	for i := range stack {
		stack[i] = callsAt + 2 + 2*uint64(i)
	}
	b := words(stack...)
	if machine == arch.I386 {
		b = nil
		for i := 0; i+1 < len(stack); i += 2 {
			b = append(b, words(stack[i]|stack[i+1]<<32)...)
		}
	}
	p := &snapshot.Process{
		System:  snapshot.System{Machine: machine},
		Modules: []snapshot.Module{{Range: snapshot.Range{Addr: base, Size: 0x400000}, Path: file}},
		Regions: []snapshot.Region{
			{Range: snapshot.Range{Addr: callsAt, Size: 0x4000}, Perm: snapshot.Read | snapshot.Execute},
			{Range: snapshot.Range{Addr: testStack, Size: 0x8000}, Perm: snapshot.Read | snapshot.Write},
			{Range: snapshot.Range{Addr: base, Size: 0x400000}, Perm: snapshot.Read | snapshot.Execute},
		},
		Memory: memory{testStack: b, callsAt: bytes.Repeat([]byte{0xff, 0xd0}, 0x2000)},
	}
	set := image.NewSet(p, image.Options{})
	t.Cleanup(set.Close)
	u, err := New(p, set)
	if err != nil {
		t.Fatal(err)
	}
	return u, set.All()[0]
}

// TestAheadAgainstTables follows the code of a C library from every few of its
// instructions, and holds the caller that it finds against what call frame
// information says of that place.
func TestAheadAgainstTables(t *testing.T) {
	for machine, files := range map[arch.Machine][]string{
		arch.AMD64: {"/lib/x86_64-linux-gnu/libc.so.6", "/lib64/libc.so.6"}, arch.I386: {"/lib32/libc.so.6", "/lib/i386-linux-gnu/libc.so.6"},
	} {
		t.Run(machine.String(), func(t *testing.T) {
			file := ""
			for _, f := range files {
				if _, err := os.Stat(f); err == nil {
					file, _ = filepath.EvalSymlinks(f)
				}
			}
			if file == "" && runtime.GOARCH != "amd64" {
				t.Skip("no C library of this machine")
			} else if file == "" {
				need.Missing(t, "libc", "no C library of this machine")
			}
			f, err := elf.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			symbols, err := f.DynamicSymbols()
			if err != nil {
				t.Fatal(err)
			}
			const base = 0x10000000
			u, im := library(t, file, machine, base)
			var right, wrong, none, n int
			for _, s := range symbols {
				if elf.ST_TYPE(s.Info) != elf.STT_FUNC || s.Value == 0 {
					continue
				}
				epilog, padding := false, false
				for pc := base + s.Value; pc < base+s.Value+s.Size; {
					inst, ok := u.instructionAt(pc)
					if !ok {
						break
					}
					padding = padding && pc%16 != 0
					if n++; n%29 == 0 && !epilog && !padding {
						switch found, same := aheadAt(u, im, pc); {
						case same:
							right++
						case found:
							wrong++
						default:
							none++
						}
						u.work = 0
					}
					// There the frame pointer that the test makes up does not fit the stack
					// pointer.
					epilog = inst.Op == x86asm.LEA && (inst.Args[0] == x86asm.RSP || inst.Args[0] == x86asm.ESP) || epilog && inst.Op != x86asm.RET && inst.Op != x86asm.JMP
					padding = padding || inst.Op == x86asm.RET || inst.Op == x86asm.JMP || inst.Op == x86asm.CALL && u.padded(pc+uint64(inst.Len))
					pc += uint64(inst.Len)
				}
			}
			t.Logf("%s: %d right, %d wrong, %d not found", file, right, wrong, none)
			// Wrong are places from which only calls that never return lead on.
			if all := right + wrong + none; all < 2000 || right*100 < all*90 || wrong*100 > all*2 {
				t.Errorf("of %d places %d are right and %d wrong", all, right, wrong)
			}
		})
	}
}

// aheadAt tells whether the code finds a caller of a function that stands at pc,
// and whether it is the one that call frame information says.
func aheadAt(u *Unwinder, im *image.Image, pc uint64) (found, same bool) {
	var cur walk
	cur.pc = pc
	cur.frame = Frame{PC: pc, SP: testStack + 0x1000, Exact: true}
	for n := range u.m.columns {
		cur.set(n, 0x11110000+uint64(n))
	}
	cur.set(u.m.sp, testStack+0x1000)
	cur.set(u.m.fp, testStack+0x1800)
	row := u.row(im, pc)
	if row == nil || row.signal || row.cfaExpr != nil {
		return false, true
	}
	want, _, ok := u.apply(&cur, row)
	if !ok || want.pc < callsAt || want.pc > callsAt+0x4000 {
		return false, true
	}
	got, end, found := u.ahead(&cur)
	if !found || end != goesOn {
		return found, false
	}
	if got.pc != want.pc || got.v[u.m.sp] != want.v[u.m.sp] {
		return true, false
	}
	for n := range u.m.columns {
		// What has been taken from the stack already is in its register.
		if r := row.rules[n]; r.kind == atOffset && u.m.trim(want.v[u.m.sp]+uint64(r.off)) >= cur.frame.SP {
			a, known := got.get(uint64(n))
			if b, _ := want.get(uint64(n)); known && a != b {
				return true, false
			}
		}
	}
	return true, true
}

// TestAheadSteps finds the caller by code alone at each instruction of functions
// that gcc has compiled for Windows. What the processor has called is the judge.
func TestAheadSteps(t *testing.T) {
	base, all := readSteps(t)
	file := filepath.Join(t.TempDir(), "Steps.EXE")
	b := packed.Read(t, "testdata/windows/steps.exe.gz")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	x, err := pe.NewFile(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	var c calls
	right, none := 0, 0
	for n, i := range all {
		c.next(i)
		if len(c.pcs) == 0 {
			continue
		}
		p := &snapshot.Process{
			System: snapshot.System{Machine: arch.AMD64, OS: "windows"},
			Modules: []snapshot.Module{{Range: snapshot.Range{Addr: base, Size: uint64(x.Size)}, Path: `C:\steps.exe`,
				ID: snapshot.FileID{Stamp: x.Stamp}}},
			Memory: memory{i.sp(): i.stack},
		}
		set := image.NewSet(p, image.Options{Roots: []string{filepath.Dir(file)}})
		u, err := New(p, set)
		if err != nil {
			t.Fatal(err)
		}
		th := i.thread()
		cur := walk{registers: u.m.start(&th.Registers), frame: Frame{PC: i.pc(), SP: i.sp(), Exact: true}}
		next, _, ok := u.ahead(&cur)
		set.Close()
		sp, _ := next.get(uint64(u.m.sp))
		switch want, slot := c.pcs[len(c.pcs)-1], c.slots[len(c.slots)-1]; {
		case !ok:
			none++
		case next.pc != want || sp != slot+8:
			t.Errorf("step %d at %#x: %#x at %#x, not %#x at %#x", n, i.pc(), next.pc, sp, want, slot+8)
		default:
			right++
		}
	}
	// Not found are places before a jump through a table, and before the stack
	// pointer goes down by what a register holds.
	t.Logf("%d right, %d not found", right, none)
	if right < 400 {
		t.Errorf("%d of %d places are right", right, right+none)
	}
}

// aheadCode is code without tables: functions at multiples of 0x20.
func aheadCode() []byte {
	b := bytes.Repeat([]byte{0xcc}, 0x200)
	// push %rbx; sub $8, %rsp; call *%rax; add $8, %rsp; pop %rbx; ret
	copy(b[0x00:], []byte{0x53, 0x48, 0x83, 0xec, 0x08, 0xff, 0xd0, 0x48, 0x83, 0xc4, 0x08, 0x5b, 0xc3})
	// call 0x00
	copy(b[0x20:], []byte{0xe8, 0xdb, 0xff, 0xff, 0xff})
	// call 0x60
	copy(b[0x40:], []byte{0xe8, 0x1b, 0, 0, 0})
	// xor %eax, %eax; ret
	copy(b[0x60:], []byte{0x31, 0xc0, 0xc3})
	// The end of a thread: call *%r9; mov %eax, %edi; xor %eax, %eax; mov $60, %al; syscall; hlt
	copy(b[0x80:], []byte{0x41, 0xff, 0xd1, 0x89, 0xc7, 0x31, 0xc0, 0xb0, 0x3c, 0x0f, 0x05, 0xf4})
	// It never returns: push %rbp; push %rbx; sub $8, %rsp; xor %ebx, %ebx; call *%rax; jmp to itself
	copy(b[0xa0:], []byte{0x55, 0x53, 0x48, 0x83, 0xec, 0x08, 0x31, 0xdb, 0xff, 0xd0, 0xeb, 0xfe})
	// call 0xa0
	copy(b[0xc0:], []byte{0xe8, 0xdb, 0xff, 0xff, 0xff})
	// It jumps by a return instruction: push %rax; ret. What calls it: call 0xe0
	copy(b[0xe0:], []byte{0x50, 0xc3})
	copy(b[0x100:], []byte{0xe8, 0xdb, 0xff, 0xff, 0xff})
	return b
}

func TestAhead(t *testing.T) {
	const at = 0x900000
	const nothing = "there is no call frame information of this code, and nothing on the stack looks like its caller"
	for _, c := range []struct {
		name  string
		pc    uint64
		stack []uint64
		want  string
		rbx   uint64 // of the caller
	}{
		{"to the return instruction", at + 0x07, []uint64{0, 0xb, at + 0x25, 0}, "0x900007 registers; 0x900025 code; " + nothing, 0xb},
		{"past what was left there", at + 0x07, []uint64{at + 0x45, 0xb, at + 0x25, 0}, "0x900007 registers; 0x900025 code; " + nothing, 0xb},
		{"in the prolog", at + 0x01, []uint64{0xb, at + 0x25, 0}, "0x900001 registers; 0x900025 code; " + nothing, 0xb},
		{"a call of another function", at + 0x07, []uint64{0, 0xb, at + 0x45, 0}, "0x900007 registers; " + nothing, 0},
		{"a call of what may go anywhere", at + 0x07, []uint64{0, 0xb, at + 0x105, 0}, "0x900007 registers; 0x900105 code; " + nothing, 0xb},
		{"not at this depth", at + 0x07, []uint64{0, 0xb, 0, at + 0x25, 0}, "0x900007 registers; " + nothing, 0},
		{"it never returns", at + 0xaa, []uint64{at + 0x45, 0xb, 0xc, at + 0xc5, 0}, "0x9000aa registers; 0x9000c5 code; " + nothing, 0xb},
		{"what calls a thread's function", at + 0x07, []uint64{0, 0xb, at + 0x83, at + 0x25, at + 0x25}, "0x900007 registers; 0x900083 code; complete", 0xb},
	} {
		t.Run(c.name, func(t *testing.T) {
			u, p := process(t)
			p.Memory = memory{testStack: words(c.stack...), at: aheadCode()}
			p.Modules = append(p.Modules, snapshot.Module{Range: snapshot.Range{Addr: at, Size: 0x200}})
			u.set = image.NewSet(p, image.Options{})
			defer u.set.Close()
			th := thread(c.pc, testStack, 0x77)
			if got := summary(u.Stack(&th, 100)); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			cur := walk{registers: u.m.start(&th.Registers), frame: Frame{PC: c.pc, SP: testStack, Exact: true}}
			next, end := u.guess(&cur, noTable)
			if rbx, _ := next.get(3); end == goesOn && rbx != c.rbx {
				t.Errorf("the caller's rbx is %#x, not %#x", rbx, c.rbx)
			}
		})
	}
	u, _ := process(t)
	first := walk{frame: Frame{PC: 0x40105a, SP: testStack}}
	first.pc = 0x40105a
	if _, end, ok := u.ahead(&first); !ok || end != outermost {
		t.Error("a program's first function has a caller")
	}
}
