package unwind

import (
	"encoding/binary"
	"testing"

	"procdump/arch"
	"procdump/kernel/layout"
	"procdump/kernel/layout/layouttest"
)

// at makes registers of the kernel.
func at(pc, sp, bp uint64) *Regs {
	r := &Regs{machine: arch.AMD64, values: make([]uint64, ptRegs(arch.AMD64))}
	r.values[x86IP], r.values[x86CS], r.values[x86SP], r.values[x86BP] = pc, 0x10, sp, bp
	return r
}

// wantNames unwinds from registers.
func wantNames(t *testing.T, u *Unwinder, r *Regs, want string) {
	t.Helper()
	tr := u.Registers(r, layout.Task{Stack: taskLow}, 0)
	if got := names(tr); got != want || tr.Broken != "" {
		t.Errorf("stack %s, %q\nwant  %s", got, tr.Broken, want)
	}
}

// TestSignal: what called a function whose entry says so was interrupted.
func TestSignal(t *testing.T) {
	for n, bit := range map[int]int{2: 10, 3: 10, 4: 11, 5: 11} {
		f := orcForms[n]
		encode := f.encode
		f.encode = func(r orcRow) uint16 {
			if r.at == leafAt+8 {
				return encode(r) | 1<<bit
			}
			return encode(r)
		}
		k, regs := interrupted(f)
		t.Run(f.release, func(t *testing.T) {
			wantNames(t, k.open(t), regs, "leaf+0x10! < handler+0x20! < vector+0x20 < irq_entry+0x10 < victim+0x30! < syscall+0x10")
		})
	}
}

// TestPartial goes through an interrupt that has kept few registers: the others
// are those of the one before.
func TestPartial(t *testing.T) {
	k := newKernel("6.12.0")
	k.addORC(orcForms[5], []orcRow{
		{at: text, sp: orcRegUndefined, typ: orcUndefined},
		{at: k.symbol("leaf", leafAt), sp: orcRegSP, spOff: 8, typ: orcCall},
		{at: k.symbol("handler", handlerAt), sp: orcRegSP, typ: orcRegs},
		{at: k.symbol("vector", vectorAt), sp: orcRegSP, typ: orcRegsPartial},
		{at: k.symbol("victim", victimAt), sp: orcRegDX, typ: orcCall},
		{at: k.symbol("the_end", endAt), sp: orcRegUndefined, typ: orcEndOfStack},
	})
	const s0, t0, t1, t2 = taskLow + 0x1000, taskLow + 0x2000, taskLow + 0x2100, taskLow + 0x2080
	k.word(s0, handlerAt+0x10)
	k.regs(s0+8, map[int]uint64{x86IP: vectorAt + 0x10, x86CS: 0x10, x86SP: t0, x86DX: t1})
	k.regs(t0-8*x86IP, map[int]uint64{x86IP: victimAt + 0x10, x86CS: 0x10, x86SP: t2})
	k.word(t1-8, endAt+0x10)
	wantNames(t, k.open(t), at(leafAt+0x10, s0, 0), "leaf+0x10! < handler+0x10 < vector+0x10! < victim+0x10! < the_end+0x10")
}

// TestBehindBPF: code that the kernel has no data of is left by its frame
// pointer, and nothing is certain behind it.
func TestBehindBPF(t *testing.T) {
	k, _ := interrupted(orcForms[5])
	const bpf, sp, bp = data + 0x800000, taskLow + 0x1000, taskLow + 0x1040
	k.word(sp, 0x1234)
	k.word(bp, 0)
	k.word(bp+8, scheduleAt+0x10)
	k.word(bp+16, endAt+0x10)
	wantNames(t, k.open(t), at(bpf, sp, bp), "! < schedule+0x10? < the_end+0x10?")
}

// TestLoopEnds: a frame that was there before ends a trace, not the number of
// frames.
func TestLoopEnds(t *testing.T) {
	k, regs := interrupted(orcForms[5])
	k.regs(taskLow+0x3010, map[int]uint64{x86IP: vectorAt + 0x20, x86CS: 0x10, x86SP: irqTop - 0x100 + 0x38})
	tr := k.open(t).Registers(regs, layout.Task{Stack: taskLow}, 0)
	if len(tr.Frames) > 10 || tr.Broken != "it does not end" {
		t.Errorf("%d frames, %q", len(tr.Frames), tr.Broken)
	}
}

// TestModule unwinds by the tables of a module.
func TestModule(t *testing.T) {
	const code, base, size = image + 0x3800000, image + 0x3800000, 4096
	const list, name, layoutAt, archAt, moduleSize = 8, 24, 88, 104, 128
	k := newKernel("6.12.0")
	le := binary.LittleEndian
	f := orcForms[5]
	f.btf = func() *layouttest.BTF {
		b := orcBTF(3, 11, 0)()
		u8, u32, u64 := b.Int("u8", 1), b.Int("u32", 4), b.Int("u64", 8)
		m := func(name string, typ, offset uint32) layouttest.Member {
			return layouttest.Member{Name: name, Type: typ, Bits: offset * 8}
		}
		pair := b.Struct("list_head", 16, m("next", u64, 0), m("prev", u64, 8))
		core := b.Struct("module_layout", 16, m("base", u64, 0), m("size", u32, 8))
		special := b.Struct("mod_arch_specific", 24, m("num_orcs", u32, 0), m("orc_unwind_ip", u64, 8), m("orc_unwind", u64, 16))
		b.Struct("module", moduleSize, m("state", u32, 0), m("list", pair, list), m("name", b.Array(u8, 56), name), m("taints", u64, 80),
			m("core_layout", core, layoutAt), m("arch", special, archAt))
		return b
	}
	// A frame of 0x28 bytes, which the kernel's own table would not tell.
	ip, entry := k.put(0, make([]byte, 16)), uint64(0)
	var row []byte
	row = le.AppendUint16(le.AppendUint16(row, 0x28), 0)
	row = le.AppendUint16(row, f.encode(orcRow{sp: orcRegSP, typ: orcCall}))
	entry = k.put(0, row)
	k.put(ip, le.AppendUint32(nil, uint32(code-ip)))
	head := k.symbol("modules", k.put(0, make([]byte, 16)))
	b := make([]byte, moduleSize)
	copy(b[name:], "msr")
	le.PutUint64(b[list:], head)
	le.PutUint64(b[layoutAt:], base)
	le.PutUint32(b[layoutAt+8:], size)
	le.PutUint32(b[archAt:], 1)
	le.PutUint64(b[archAt+8:], ip)
	le.PutUint64(b[archAt+16:], entry)
	k.word(head, k.put(0, b)+list)
	k.addORC(f, []orcRow{
		{at: text, sp: orcRegUndefined, typ: orcUndefined},
		{at: k.symbol("the_end", endAt), sp: orcRegUndefined, typ: orcEndOfStack},
		{at: text + 0x80000, sp: orcRegSP, spOff: 8, typ: orcCall},
	})
	const sp = taskLow + 0x1000
	k.word(sp, 0x99)
	k.word(sp+0x20, endAt+0x10)
	wantNames(t, k.open(t), at(code+0x20, sp, 0), "[msr]! < the_end+0x10")
}
