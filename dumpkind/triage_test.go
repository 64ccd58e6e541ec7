package dumpkind

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"procdump/arch"
	"procdump/snapshot"
)

// secret is what no triage dump may hold, not even in pieces of needle bytes.
const (
	secret = "kQzXvJwYpGqTzRbNxWcHdVfKjLmZgSyPqXhUzJkWvQbYxKzGwHqJ"
	needle = 3
)

// leak returns a piece of the secret in b, or "".
func leak(b []byte) string {
	for i := 0; i+needle <= len(secret); i++ {
		if bytes.Contains(b, []byte(secret[i:i+needle])) {
			return secret[i : i+needle]
		}
	}
	return ""
}

// findLeaks walks through a value of the model.
func findLeaks(t *testing.T, where string, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.String:
		if s := leak([]byte(v.String())); s != "" {
			t.Errorf("%s holds %q of the secret: %.80q", where, s, v.String())
		}
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 && v.Kind() == reflect.Slice {
			if s := leak(v.Bytes()); s != "" {
				t.Errorf("%s holds %q of the secret", where, s)
			}
			return
		}
		for i := range v.Len() {
			findLeaks(t, fmt.Sprintf("%s[%d]", where, i), v.Index(i))
		}
	case reflect.Map:
		for k, e := range v.Seq2() {
			findLeaks(t, where+" key", k)
			findLeaks(t, where+"["+k.String()+"]", e)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() {
				findLeaks(t, where+"."+f.Name, v.Field(i))
			}
		}
	case reflect.Pointer:
		if !v.IsNil() {
			findLeaks(t, where, v.Elem())
		}
	}
}

// spread writes the secret where a program may have it, beginning at every
// place within a word.
func spread(p *program) {
	put := func(addr uint64) { p.write(addr, []byte(secret)) }
	put(p.exe.Addr + phdrSecret)                     // on the page of the ELF header
	put(p.exe.Addr + dynamicAt + 0x70)               // behind the dynamic section
	put(p.linker.Addr)                               // round the linker's list
	put(p.linker.Addr + 0x100 - uint64(len(secret))) // up to its structure
	put(p.linker.Addr + 0x129)                       // just behind its structure
	for i, m := range p.p.Linker.Maps {              // just behind its names, even within a word
		put(p.linker.Addr + namesOffset + uint64(i*nameSpace+len(m.Name)) + 1)
	}
	put(p.linker.Addr + page - uint64(len(secret)) - 1) // at the page's end
	put(p.heap.Addr)
	for i := range uint64(8) {
		put(p.sp() + 0x400 + i*0x81)              // in the stack
		put(p.stack.Addr + 31*page + i*0x101)     // below the stack pointer
		put(p.sp() - 0x180 + i*0x41)              // at the red zone
		put(p.stack.End() - 0x1000 + i*0x1ff + i) // environment, at its end
	}
}

// secretProcess fills every fact that may hold what the user typed.
func secretProcess(p *program) {
	q := p.p
	q.Name = "prog"
	q.Exe = "/home/bob/prog"
	q.Args, q.Environ = []string{"prog", "--password=" + secret}, []string{"PASSWORD=" + secret}
	q.Files = []snapshot.File{{Target: "/tmp/" + secret}}
	q.Info.CommandLine = []string{"procdump", secret}
	q.Info.Container = secret
	q.Info.LeftOut = []snapshot.LeftOut{{What: secret}}
	q.Texts = map[string][]byte{"environ": []byte(secret), "cmdline": []byte(secret), "status": []byte("Name: " + secret), "stat": []byte(secret), "cgroup": []byte(secret),
		"limits": []byte("limits"), "maps": []byte("1000-2000 r-xp 00000000 08:01 5   /home/bob/prog\n2000-3000 rw-p 0 00:00 0 /run/user/1/home/eve/x y\n")}
}

func triage(t *testing.T, p *program) (*Selection, *snapshot.MemoryImage) {
	t.Helper()
	sel := mustSelect(t, p.p, Options{Kind: Triage})
	img := mustCopy(t, sel)
	for _, r := range img.Ranges() {
		if s := leak(img.Bytes(r.Addr)); s != "" {
			at := bytes.Index(img.Bytes(r.Addr), []byte(s))
			t.Errorf("memory holds %q of the secret at %#x", s, r.Addr+uint64(at))
		}
	}
	findLeaks(t, "Process", reflect.ValueOf(sel.Process))
	return sel, img
}

func wordAt(t *testing.T, img *snapshot.MemoryImage, addr uint64, w int) uint64 {
	t.Helper()
	b := img.Bytes(addr)
	if len(b) < w {
		t.Fatalf("%#x is not in the dump", addr)
	}
	return word(b, w)
}

func TestTriage(t *testing.T) {
	for _, m := range []arch.Machine{arch.AMD64, arch.I386, arch.ARM64} {
		t.Run(m.String(), func(t *testing.T) {
			p := newProgram(m)
			spread(p)
			secretProcess(p)
			w := uint64(m.PointerSize())
			code, heap := p.exe.Addr+codePage+0x84, p.heap.Addr+0x40
			negative := uint64(0xffffffffffffffff)
			p.words(p.linker.Addr+0x600, 7, code)
			p.words(p.sp(), code, p.sp()+0x40, 7, heap, 0, negative, 4097)
			th := p.main(nil)
			names := m.GPNames()
			th.Registers.SetGP(names[0], word([]byte(secret), int(w)))
			th.Registers.SetGP(names[1], heap)
			th.Registers.SetGP(names[2], code)
			th.Registers.Put(arch.NT_PRFPREG, []byte(secret))
			xsave := bytes.Repeat([]byte(secret), 20)
			copy(xsave[464:], []byte{7, 0, 0, 0, 0, 0, 0, 0}) // XCR0, which the kernel puts there
			th.Registers.Put(arch.NT_X86_XSTATE, xsave)
			th.Registers.Put(arch.NT_ARM_SVE, []byte(secret))
			th.Siginfo, th.Syscall = []byte(secret), "0 "+secret
			sel, img := triage(t, p)

			defaced := uint64(defaced64)
			if w == 4 {
				defaced, negative = defaced32, 0xffffffff
			}
			want := []uint64{code, p.sp() + 0x40, 7, defaced, 0, negative, defaced}
			for i, v := range want {
				if got := wordAt(t, img, p.sp()+uint64(i)*w, int(w)); got != v {
					t.Errorf("stack word %d is %#x, want %#x", i, got, v)
				}
			}
			for i := range uint64(2) {
				if got := wordAt(t, img, p.linker.Addr+0x600+i*w, int(w)); got != defaced {
					t.Errorf("a word that is no stack's is %#x", got)
				}
			}
			r := sel.Process.Threads[0].Registers
			for i, v := range []uint64{defaced, defaced, code} {
				if got, _ := r.GP(names[i]); got != v {
					t.Errorf("%s is %#x, want %#x", names[i], got, v)
				}
			}
			if r.SP() != p.sp() || r.PC() != p.exe.Addr+codePage+0x80 || r.Set(arch.NT_ARM_SVE) != nil {
				t.Errorf("sp %#x, pc %#x, %d register sets", r.SP(), r.PC(), len(r.Sets))
			}
			// Sets that readers expect are those of a new thread.
			if x := r.Set(arch.NT_X86_XSTATE); len(x) != len(xsave) || x[464] != 7 || bytes.Count(x, []byte{0}) < len(x)-8 {
				t.Errorf("vector registers %x", x)
			}
			if got, _ := p.p.Threads[0].Registers.GP(names[1]); got != heap || len(p.p.Environ) != 1 {
				t.Error("the scrub changes the process it is given")
			}
			if sel.holds(p.heap) {
				t.Error("the heap is in")
			}
			if code := span(p.exe.Addr+codePage, 1); sel.holds(code) {
				t.Error("code is in")
			}
			triageLinker(t, p, sel, img)
		})
	}
}

// triageLinker checks what a debugger needs to find the modules.
func triageLinker(t *testing.T, p *program, sel *Selection, img *snapshot.MemoryImage) {
	t.Helper()
	whole := func(what string, r snapshot.Range) {
		t.Helper()
		want := make([]byte, r.Size)
		if _, err := p.ReadMemory(want, r.Addr); err != nil || !bytes.HasPrefix(img.Bytes(r.Addr), want) {
			t.Errorf("%s is %x, want %x", what, img.Bytes(r.Addr)[:r.Size], want)
		}
	}
	w := uint64(p.p.Machine().PointerSize())
	whole("ELF header", span(p.exe.Addr, 52+32))
	whole("note", span(p.exe.Addr+0x200, 16))
	whole("dynamic section", p.p.Linker.Dynamic)
	whole("link map", span(p.linker.Addr+0x100, 5*w))
	whole("vdso", p.vdso)
	for i, want := range []string{"/home/***/lib/libx.so", "libs/home/***/y.so"} {
		if got := string(img.Bytes(p.linker.Addr + namesOffset + uint64(i)*nameSpace)[:len(want)+1]); got != want+"\x00" {
			t.Errorf("name %d in memory is %q, want %q", i, got, want)
		}
		if got := sel.Process.Linker.Maps[i].Name; got != want {
			t.Errorf("name %d is %q, want %q", i, got, want)
		}
	}
	q := sel.Process
	if q.Exe != "/home/***/prog" || q.Modules[0].Path != q.Exe || q.Regions[0].Path != q.Exe || p.p.Regions[0].Path != "/home/bob/prog" {
		t.Errorf("paths %q, %q, %q", q.Exe, q.Modules[0].Path, q.Regions[0].Path)
	}
	if maps := string(q.Texts["maps"]); strings.Contains(maps, "bob") || strings.Contains(maps, "eve") || len(maps) != len(p.p.Texts["maps"]) {
		t.Errorf("maps: %s", maps)
	}
	if string(q.Texts["limits"]) != "limits" || len(q.Args) != 1 || q.Args[0] != "prog" {
		t.Errorf("limits %q, arguments %q", q.Texts["limits"], q.Args)
	}
}

// TestTriageNameAcrossPages has a name that begins on one page, which a stack
// takes, and ends on another, which is taken for its own sake.
func TestTriageNameAcrossPages(t *testing.T) {
	p := newProgram(arch.AMD64)
	name := append([]byte("/home/"+secret+"/x.so"), 0)
	at := p.stack.Addr - 10 // the end of a region just below the stack
	p.region(snapshot.Region{Range: span(p.stack.Addr-page, page), Perm: rw})
	p.exists(anon, span(p.stack.Addr-page, page))
	p.write(at, name)
	p.p.Linker.Ranges = append(p.p.Linker.Ranges, span(at, uint64(len(name))))
	p.main(map[string]uint64{"rsp": p.stack.Addr})
	_, img := triage(t, p)
	got := make([]byte, len(name))
	if _, err := img.ReadMemory(got, at); err != nil || !strings.HasPrefix(string(got), "/home/***") || !strings.HasSuffix(string(got), "*/x.so\x00") {
		t.Errorf("name %q, %v", got, err)
	}
	// With half of it gone the rest is overwritten.
	k := p.p.FindRegion(at)
	p.p.Regions[k].Flags |= snapshot.DontDump
	triage(t, p)
}

func TestHideUser(t *testing.T) {
	for in, want := range map[string]string{
		"/home/bob/x":                    "/home/***/x",
		"/home/bob":                      "/home/bob",
		"/home/b\u00f6b/x":               "/home/****/x",
		"/var/home/bob/x":                "/var/home/***/x",
		"home/bob/x":                     "home/***/x",
		"/home/home/bob/x":               "/home/****/***/x",
		"/home/a/home/b/x":               "/home/*/home/*/x",
		`C:\Users\John Doe\x.dll`:        `C:\Users\********\x.dll`,
		"/Users/x y/z":                   "/Users/***/z",
		"/run/media/bob/usb/x":           "/run/media/***/usb/x",
		"/media/bob/x":                   "/media/***/x",
		"/usr/share/media/plugins/x.so":  "/usr/share/media/plugins/x.so",
		"/athome/bob/x":                  "/athome/bob/x",
		"/opt/users/libx.so":             "/opt/users/libx.so",
		"1-2 r-xp 5 /home/bob/x\n/etc/y": "1-2 r-xp 5 /home/***/x\n/etc/y",
		"1-2 r-xp 5 /media/bob/x":        "1-2 r-xp 5 /media/***/x",
		"home\nbob/x":                    "home\nbob/x",
		"":                               "",
		"/":                              "/",
	} {
		if got := hideUserIn(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

// signalFrame writes the frame that the kernel puts on an alternate stack.
func signalFrame(p *program, alt snapshot.Range, at, sp, pc uint64) {
	p.write(at, make([]byte, 1024))
	switch p.p.Machine() {
	case arch.AMD64:
		p.words(at+16, alt.Addr, 0, alt.Size)
		p.words(at+160, sp, pc, 0x246, 0x2b000000000033)
	case arch.I386:
		p.words(at+8, alt.Addr, 0, alt.Size)
		p.words(at+48, sp)
		p.words(at+76, pc, 0x23, 0x246, sp, 0x2b)
	case arch.ARM64:
		p.words(at+16, alt.Addr, 0, alt.Size)
		p.words(at+432, sp, pc, 0)
	}
}

// TestSignalStack has a thread in a signal handler on an alternate stack: both
// stacks are in.
func TestSignalStack(t *testing.T) {
	alt := span(0x40000000, 2*page)
	for _, tt := range []struct {
		name string
		m    arch.Machine
		sp   func(p *program) uint64 // where it was interrupted; 0: in the middle of its stack
	}{
		{"amd64", arch.AMD64, nil}, {"i386", arch.I386, nil}, {"arm64", arch.ARM64, nil},
		{"overflow", arch.AMD64, func(p *program) uint64 { return p.stack.Addr - 0x2008 }},
		{"overflow of i386", arch.I386, func(p *program) uint64 { return p.stack.Addr - 4 }},
		{"i386 without SA_SIGINFO", arch.I386, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newProgram(tt.m)
			spread(p)
			p.region(snapshot.Region{Range: alt, Perm: rw})
			p.exists(anon, alt)
			w := uint64(tt.m.PointerSize())
			code, old := p.exe.Addr+codePage+0x44, p.sp()
			if tt.sp != nil {
				old = tt.sp(p)
			}
			p.words(p.sp(), 0, code, p.sp()+0x80)
			sp, frame := alt.Addr+0x400, alt.Addr+0x500
			signalFrame(p, alt, frame, old, code)
			if strings.HasSuffix(tt.name, "SIGINFO") {
				p.write(frame, make([]byte, 1024))
				p.words(frame+8+28, old)
				p.words(frame+8+56, code, 0x23, 0x246, old, 0x2b)
			}
			p.write(frame+600, []byte(secret))
			th := p.main(map[string]uint64{spName(tt.m): sp, "cs": 0x33, "ss": 0x2b})
			th.Stack = span(sp, alt.End()-sp)
			if tt.m == arch.I386 {
				th.Registers.SetGP("cs", 0x23)
			}
			used := span(max(old, p.stack.Addr), p.stack.End()-max(old, p.stack.Addr))
			for _, kind := range []Kind{Mini, Triage} {
				if sel := mustSelect(t, p.p, Options{Kind: kind}); !sel.holds(used) || !sel.holds(th.Stack) {
					t.Errorf("%v: both stacks are not in: %v", kind, sel.Ranges)
				}
			}
			_, img := triage(t, p)
			if got := wordAt(t, img, p.sp()+w, int(w)); got != code {
				t.Errorf("a return address of the interrupted stack is %#x, want %#x", got, code)
			}
			if l := frameLayouts[tt.m]; !strings.HasSuffix(tt.name, "SIGINFO") && tt.sp == nil {
				if pc, sp := wordAt(t, img, frame+uint64(l.pc), int(w)), wordAt(t, img, frame+uint64(l.sp), int(w)); pc != code || sp != old {
					t.Errorf("the signal frame has pc %#x and sp %#x", pc, sp)
				}
			}
		})
	}
}

// TestSignalStackOfGo has both stacks be pieces of one large heap.
func TestSignalStackOfGo(t *testing.T) {
	p := newProgram(arch.AMD64)
	arena := span(0xc000000000, 1<<30)
	p.region(snapshot.Region{Range: arena, Perm: rw})
	p.exists(anon, arena)
	alt, old := span(arena.Addr+1<<20, 32<<10), arena.Addr+64<<20
	sp := alt.Addr + 0x400
	signalFrame(p, alt, alt.Addr+0x500, old, p.exe.Addr+codePage)
	p.main(map[string]uint64{"rsp": sp, "cs": 0x33}).Stack = span(sp, alt.End()-sp)
	sel := mustSelect(t, p.p, Options{Kind: Mini})
	if !sel.holds(span(old, 64<<10)) {
		t.Error("the interrupted goroutine's stack is not in")
	}
	if n := total(within(sel.Ranges, arena)) * page; n > 1<<20 {
		t.Errorf("%d KiB of the heap", n>>10)
	}
}

// TestNoSignalStack has words on a stack that look a little like a frame.
func TestNoSignalStack(t *testing.T) {
	for _, m := range []arch.Machine{arch.AMD64, arch.I386, arch.ARM64} {
		p := newProgram(m)
		th := p.main(map[string]uint64{"cs": 0x33, "ss": 0x2b})
		used := th.Stack
		// An old stack_t, with an address of the heap where a frame has sp.
		signalFrame(p, span(p.stack.Addr, 64<<30), p.sp()+64, p.heap.Addr, 0)
		signalFrame(p, span(p.stack.Addr, 512), p.sp()+2048, p.heap.Addr, 0)
		signalFrame(p, span(p.heap.Addr, page), p.sp()+4096, p.heap.Addr, 0)
		if m == arch.AMD64 {
			signalFrame(p, p.stack, p.sp()+6000&^7, p.heap.Addr, 0)
			p.words(p.sp()+6000&^7+184, 0x10) // no code segment
		}
		signalFrame(p, p.stack, p.sp()+8192, p.sp()+0x100, 0) // on its own stack
		if got := signalFrameSP(th, mustRead(t, p, used)); got != 0 {
			t.Errorf("%v: found a frame with sp %#x", m, got)
		}
	}
}

func mustRead(t *testing.T, p *program, r snapshot.Range) []byte {
	t.Helper()
	b := make([]byte, r.Size)
	if _, err := p.ReadMemory(b, r.Addr); err != nil {
		t.Fatal(err)
	}
	return b
}

// TestInterruptedBudget has many threads in handlers, each having left a deep
// stack: together they stay within the budget.
func TestInterruptedBudget(t *testing.T) {
	p := newProgram(arch.AMD64)
	for i := range uint64(40) {
		stack, alt := span(1<<40+i<<32, 8<<20), span(1<<40+i<<32+1<<30, 4*page)
		p.region(snapshot.Region{Range: stack, Perm: rw})
		p.region(snapshot.Region{Range: alt, Perm: rw})
		p.exists(anon, stack)
		p.exists(anon, alt)
		sp := alt.Addr + 0x400
		signalFrame(p, alt, alt.Addr+0x500, stack.Addr+64, p.exe.Addr+codePage)
		th := p.main(map[string]uint64{"rsp": sp, "cs": 0x33})
		th.TID, th.Stack = int(i), span(sp, alt.End()-sp)
	}
	sel := mustSelect(t, p.p, Options{Kind: Mini})
	if n := total(sel.Ranges); n > stackBudget+pointedBudget+4<<20 {
		t.Errorf("%d MiB", n>>20)
	}
}
