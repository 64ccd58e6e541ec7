package unwind

import (
	"fmt"
	"strings"
	"testing"

	"procdump/arch"
	"procdump/kdump"
	"procdump/kernel/layout"
	"procdump/kernel/layout/layouttest"
)

// names writes a trace as "leaf+0x10! < handler+0x20": ! marks an exact place,
// ? one that is not reliable.
func names(tr Trace) string {
	var all []string
	for _, f := range tr.Frames {
		s := f.Location.String()
		if f.Exact {
			s += "!"
		}
		if !f.Reliable {
			s += "?"
		}
		all = append(all, s)
	}
	return strings.Join(all, " < ")
}

const wantInterrupted = "leaf+0x10! < handler+0x20 < vector+0x20 < irq_entry+0x10 < victim+0x30! < syscall+0x10"

func TestORC(t *testing.T) {
	for _, f := range orcForms {
		t.Run(f.release, func(t *testing.T) {
			k, regs := interrupted(f)
			tr := k.open(t).Registers(regs, layout.Task{Stack: taskLow}, 0)
			if got := names(tr); got != wantInterrupted || tr.Broken != "" {
				t.Errorf("stack %s, %q\nwant  %s", got, tr.Broken, wantInterrupted)
			}
			if tr.User == nil || tr.User.PC() != 0x401000 || tr.User.SP() != 0x7ffe0000 {
				t.Errorf("user mode %+v", tr.User)
			}
			if f := tr.Frames[len(tr.Frames)-2]; f.Regs == nil || f.Regs.values[x86DI] != 0x55 || f.Regs.FP() != 0x77 {
				t.Errorf("registers of %v: %+v", f.Location, f.Regs)
			}
		})
	}
}

// TestEnd unwinds a task that sleeps, whose stack ends in the kernel.
func TestEnd(t *testing.T) {
	for _, f := range orcForms {
		k, _ := interrupted(f)
		const sp = taskLow + 0x2000
		k.word(sp+40, 0x99)             // rbp
		k.word(sp+48, scheduleAt+0x10)  // return address of __switch_to_asm
		k.word(sp+56, victimAt+0x20)    // of schedule
		k.word(sp+64, endAt+0x10)       // of victim
		k.word(sp+72, handlerAt+0x1000) // not looked at
		tr := k.open(t).Task(layout.Task{Stack: taskLow, SP: sp})
		if got, want := names(tr), "schedule+0x10 < victim+0x20 < the_end+0x10"; got != want || tr.Broken != "" || tr.User != nil {
			t.Errorf("%s: stack %s, %q, want %s", f.release, got, tr.Broken, want)
		}
	}
}

// TestGuess breaks a stack: what looks like return addresses is left, marked.
func TestGuess(t *testing.T) {
	f := orcForms[4]
	k, regs := interrupted(f)
	k.word(irqTop-0x100+0x18, 0x1111111111111111)             // the return address of leaf
	k.put(handlerAt+0x20-5, []byte{0xe8, 1, 2, 3, 4})         // a call
	k.put(victimAt+0x20-7, []byte{0, 0, 0, 0, 0, 0x90, 0x90}) // none
	k.word(irqTop-0x80, victimAt+0x20)
	k.word(irqTop-0x78, handlerAt+0x20)
	k.put(leafAt+0x40-7, []byte{0, 0, 0, 0, 0xff, 0x53, 0x10}) // call *0x10(%rbx)
	k.word(irqTop-0x70, leafAt+0x40)
	u := k.open(t)
	tr := u.Registers(regs, layout.Task{Stack: taskLow}, 0)
	got := names(tr)
	if !strings.HasPrefix(got, "leaf+0x10! < ") || !strings.HasSuffix(got, "handler+0x20? < leaf+0x40?") || strings.Contains(got, "victim") {
		t.Errorf("stack %s", got)
	}
	if !strings.Contains(tr.Broken, "0x1111111111111111 is no address of code") {
		t.Errorf("broken because %q", tr.Broken)
	}
}

// TestJumpToNothing unwinds from an address that is no code: the caller is
// still on the stack.
func TestJumpToNothing(t *testing.T) {
	k, regs := interrupted(orcForms[5])
	regs.values[x86IP], regs.values[x86SP] = 0, irqTop-0x100+0x18
	tr := k.open(t).Registers(regs, layout.Task{Stack: taskLow}, 0)
	if got := names(tr); !strings.HasPrefix(got, "! < handler+0x20 < vector+0x20 < ") || tr.Broken != "" {
		t.Errorf("stack %s, %q", got, tr.Broken)
	}
}

// TestLoop unwinds a stack whose frames lead back to themselves.
func TestLoop(t *testing.T) {
	k, regs := interrupted(orcForms[5])
	const t0 = taskLow + 0x3000
	k.regs(t0+16, map[int]uint64{x86IP: vectorAt + 0x20, x86CS: 0x10, x86SP: irqTop - 0x100 + 0x38})
	tr := k.open(t).Registers(regs, layout.Task{Stack: taskLow}, 0)
	if len(tr.Frames) > maxFrames || tr.Broken == "" {
		t.Errorf("%d frames, %q", len(tr.Frames), tr.Broken)
	}
}

// TestFramePointers unwinds a kernel without ORC.
func TestFramePointers(t *testing.T) {
	k := newKernel("5.4.0")
	k.symbol("inner", leafAt)
	k.symbol("outer", handlerAt)
	k.symbol("entry", irqEntryAt)
	const low = taskLow + 0x1000
	k.word(low, low+0x20)
	k.word(low+8, handlerAt+0x20)
	k.word(low+0x20, (low+0x40)|1) // pt_regs
	k.word(low+0x28, irqEntryAt+0x10)
	k.regs(low+0x40, map[int]uint64{x86IP: leafAt + 0x40, x86CS: 0x10, x86SP: low + 0x200, x86BP: low + 0x200})
	k.word(low+0x200, 0)
	k.word(low+0x208, 0)
	regs := &Regs{machine: arch.AMD64, values: make([]uint64, 21)}
	regs.values[x86IP], regs.values[x86CS], regs.values[x86SP], regs.values[x86BP] = leafAt+0x10, 0x10, low-0x10, low
	u := k.open(t)
	if w := fmt.Sprint(u.Warnings()); !strings.Contains(w, "orc_unwind") {
		t.Errorf("warnings %s", w)
	}
	tr := u.Registers(regs, layout.Task{Stack: taskLow}, 0)
	if got, want := names(tr), "inner+0x10! < outer+0x20 < entry+0x10 < inner+0x40!"; got != want || tr.Broken != "" {
		t.Errorf("stack %s, %q\nwant  %s", got, tr.Broken, want)
	}
}

// TestNoSymbols says nothing for sure about a kernel whose symbols are not in
// the dump.
func TestNoSymbols(t *testing.T) {
	k, regs := interrupted(orcForms[4])
	d := k.dump()
	d.VMCoreInfo = []byte(strings.ReplaceAll(string(d.VMCoreInfo), "kallsyms_names", "nothing"))
	l, err := layout.Open(d)
	if err != nil {
		t.Fatal(err)
	}
	tr := New(l).Registers(regs, layout.Task{Stack: taskLow}, 0)
	for i, f := range tr.Frames {
		if f.Symbol != "" || f.Reliable != (i == 0) {
			t.Errorf("frame %d: %+v", i, f)
		}
	}
	if tr.Broken == "" || len(tr.Frames) < 2 {
		t.Errorf("%d frames, %q", len(tr.Frames), tr.Broken)
	}
}

// TestARM64 follows frame records, of which return addresses are signed.
func TestARM64(t *testing.T) {
	const (
		offset = 0x40000000
		direct = 0xffff000000000000 // of physical address offset
		code   = 0xffff800008000000
		low    = direct + 0x100000
	)
	m := &layouttest.Memory{}
	m.Zero(offset+0x10000, 4096)
	m.Zero(offset+0x100000, 0x4000)
	next := uint64(direct + 0x200000)
	put := func(at uint64, b []byte) uint64 {
		if at == 0 {
			at = next
			next += uint64(len(b)+15) &^ 15
		}
		m.Write(at-direct+offset, b)
		return at
	}
	symbols := []layouttest.Symbol{{Addr: code, Type: 'T', Name: "_stext"}, {Addr: code + 0x1000, Type: 'T', Name: "schedule"},
		{Addr: code + 0x2000, Type: 'T', Name: "worker"}, {Addr: code + 0x3000, Type: 'T', Name: "ret_from_fork"}, {Addr: code + 0x10000, Type: 'T', Name: "_etext"}}
	const pac = 0xff7f000000000000
	info := fmt.Sprintf("OSRELEASE=6.1.0\nPAGESIZE=4096\nNUMBER(VA_BITS)=48\nNUMBER(PHYS_OFFSET)=0x%x\nNUMBER(kimage_voffset)=0x%x\nNUMBER(KERNELPACMASK)=0x%x\nSYMBOL(swapper_pg_dir)=%x\nSYMBOL(_stext)=%x\n",
		uint64(offset), uint64(direct-offset), uint64(pac), uint64(direct+0x10000), uint64(code))
	info += layouttest.Kallsyms(symbols, layouttest.AbsolutePerCPU, code, put)
	word := func(at, v uint64) { m.Put64(at-direct+offset, v) }
	word(low+0x100, low+0x200)
	word(low+0x108, (code+0x2010)&^uint64(0x3f<<48)) // signed: bits of the mask differ
	word(low+0x200, low+0x300)
	word(low+0x208, code+0x3010)
	want := func(text string) {
		t.Helper()
		l, err := layout.Open(layouttest.Dump(arch.ARM64, m, info, kdump.Run{Addr: offset, Size: 64 << 20}))
		if err != nil {
			t.Fatal(err)
		}
		tr := New(l).Task(layout.Task{Stack: low, SP: low + 0xf0, FP: low + 0x100, PC: code + 0x1010})
		if got := names(tr); got != text || tr.Broken != "" {
			t.Errorf("stack %s, %q\nwant  %s", got, tr.Broken, text)
		}
	}
	want("schedule+0x10 < worker+0x10 < ret_from_fork+0x10")

	// Since 6.14 a record of zeros may say that pt_regs is around it.
	const stackframe = 34*8 + 16
	word(low+0x300, 0)
	word(low+0x308, 0)
	word(low+0x310, armMetaRegs)
	regs := uint64(low + 0x300 - stackframe)
	word(regs+8*armPC, code+0x2020)
	word(regs+8*armSP, low+0x400)
	word(regs+8*armPState, 5) // EL1h
	word(regs+8*armFP, 0)
	want("schedule+0x10 < worker+0x10 < ret_from_fork+0x10") // before that it was the end
	b := layouttest.NewBTF()
	u64 := b.Int("u64", 8)
	b.Struct("frame_record_meta", 24, layouttest.Member{Name: "type", Type: u64, Bits: 128})
	b.Struct("pt_regs", stackframe+24, layouttest.Member{Name: "stackframe", Type: u64, Bits: stackframe * 8})
	types := put(0, b.Bytes())
	info += fmt.Sprintf("SYMBOL(__start_BTF)=%x\nSYMBOL(__stop_BTF)=%x\n", types, types+uint64(len(b.Bytes())))
	want("schedule+0x10 < worker+0x10 < ret_from_fork+0x10 < worker+0x20!")
}

func TestPRStatus(t *testing.T) {
	for _, m := range []arch.Machine{arch.AMD64, arch.ARM64} {
		if r := FromPRStatus(m, kdump.BlankPRStatus(m, 3)); r != nil {
			t.Errorf("%v: registers of a processor that are not known: %+v", m, r)
		}
		b := kdump.BlankPRStatus(m, 0)
		regs := kdump.PRStatusRegisters(m, b)
		for _, at := range []int{x86IP, x86CS, armPC} {
			if 8*at < len(regs) {
				regs[8*at] = 0x13
			}
		}
		r := FromPRStatus(m, b)
		if r == nil || r.PC() != 0x13 {
			t.Fatalf("%v: %+v", m, r)
		}
		seen := map[string]uint64{}
		r.All(func(name string, v uint64) { seen[name] = v })
		if name := map[arch.Machine]string{arch.AMD64: "rip", arch.ARM64: "pc"}[m]; seen[name] != 0x13 {
			t.Errorf("%v: %v", m, seen)
		}
		if FromPRStatus(m, b[:100]) != nil {
			t.Errorf("%v: registers of a note that is cut off", m)
		}
	}
}

// FuzzDamaged unwinds in damaged memory.
func FuzzDamaged(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(seed, uint16(1<<(seed%12)), uint64(leafAt+0x10), uint64(irqTop-0x100))
	}
	f.Fuzz(func(t *testing.T, seed uint64, n uint16, pc, sp uint64) {
		form := orcForms[seed%uint64(len(orcForms))]
		k, regs := interrupted(form)
		regs.values[x86IP], regs.values[x86SP] = pc, sp
		d := k.dump()
		k.damage(int(n), seed)
		l, err := layout.Open(d)
		if err != nil {
			return
		}
		u := New(l)
		for _, tr := range []Trace{u.Registers(regs, layout.Task{Stack: taskLow}, 0), u.Task(layout.Task{Stack: taskLow, SP: sp, FP: pc})} {
			if len(tr.Frames) > maxFrames+maxGuessed {
				t.Fatalf("%d frames", len(tr.Frames))
			}
		}
	})
}
