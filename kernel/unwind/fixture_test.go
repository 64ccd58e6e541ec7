package unwind

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"procdump/arch"
	"procdump/kdump"
	"procdump/kernel/layout"
	"procdump/kernel/layout/layouttest"
)

const (
	image   = 0xffffffff80000000 // maps physical address 0
	text    = image + 0x1000000
	data    = image + 0x2000000
	irqTop  = image + 0x3004000
	taskLow = image + 0x3010000
)

// kernel is a kernel that a test builds: its image is all there is.
type kernel struct {
	mem     layouttest.Memory
	release string
	symbols []layouttest.Symbol
	next    uint64 // where the next data goes
	info    strings.Builder
}

func newKernel(release string) *kernel {
	k := &kernel{release: release, next: data}
	k.mem.Zero(0x500000, 4096) // the topmost page table
	k.mem.Zero(irqTop-image-0x4000, 0x4000)
	k.mem.Zero(taskLow-image, 0x4000)
	k.symbol("_stext", text)
	k.symbol("_etext", text+0x100000)
	return k
}

func (k *kernel) symbol(name string, addr uint64) uint64 {
	k.symbols = append(k.symbols, layouttest.Symbol{Addr: addr, Type: 'T', Name: name})
	return addr
}

func (k *kernel) put(at uint64, b []byte) uint64 {
	if at == 0 {
		at = k.next
		k.next += uint64(len(b)+15) &^ 15
	}
	k.mem.Write(at-image, b)
	return at
}

func (k *kernel) word(at, v uint64) { k.mem.Put64(at-image, v) }

// regs stores pt_regs.
func (k *kernel) regs(at uint64, set map[int]uint64) {
	for i, v := range set {
		k.word(at+uint64(i)*8, v)
	}
}

func (k *kernel) dump() *kdump.Dump {
	slices.SortFunc(k.symbols, func(a, b layouttest.Symbol) int {
		switch {
		case a.Addr < b.Addr:
			return -1
		case a.Addr > b.Addr:
			return 1
		}
		return 0
	})
	fmt.Fprintf(&k.info, "OSRELEASE=%s\nPAGESIZE=4096\nNUMBER(phys_base)=0\nSYMBOL(swapper_pg_dir)=%x\nSYMBOL(_stext)=%x\n", k.release, uint64(image+0x500000), uint64(text))
	k.info.WriteString(layouttest.Kallsyms(k.symbols, layouttest.AbsolutePerCPU, text, k.put))
	return layouttest.Dump(arch.AMD64, &k.mem, k.info.String(), kdump.Run{Addr: 0, Size: 64 << 20})
}

func (k *kernel) open(t testing.TB) *Unwinder {
	t.Helper()
	l, err := layout.Open(k.dump())
	if err != nil {
		t.Fatal(err)
	}
	return New(l)
}

// orcRow is an entry of an ORC table, in the numbers of 6.4.
type orcRow struct {
	at           uint64
	sp           uint8
	spOff, bpOff int16
	bp           uint8
	typ          orcType
}

// orcForm is how a version of the kernel stores ORC entries.
type orcForm struct {
	release string
	encode  func(r orcRow) uint16
	btf     func() *layouttest.BTF
}

func oldType(t orcType) uint16 {
	if t < orcCall {
		return 0
	}
	return uint16(t - orcCall)
}

// orcBTF is type data with the bit fields of struct orc_entry.
func orcBTF(typeBits, signal, end uint32) func() *layouttest.BTF {
	return func() *layouttest.BTF {
		b := layouttest.NewBTF()
		short, word := b.Int("short", 2), b.Int("unsigned int", 4)
		members := []layouttest.Member{
			{Name: "sp_offset", Type: short, Bits: 0}, {Name: "bp_offset", Type: short, Bits: 16},
			{Name: "sp_reg", Type: word, Bits: 32, Bit: 4}, {Name: "bp_reg", Type: word, Bits: 36, Bit: 4}, {Name: "type", Type: word, Bits: 40, Bit: typeBits},
		}
		if signal != 0 {
			members = append(members, layouttest.Member{Name: "signal", Type: word, Bits: 32 + signal, Bit: 1})
		}
		if end != 0 {
			members = append(members, layouttest.Member{Name: "end", Type: word, Bits: 32 + end, Bit: 1})
		}
		b.Struct("orc_entry", 6, members...)
		return b
	}
}

// plain are the fields without end and signal.
func plain(r orcRow, typ uint16) uint16 { return uint16(r.sp) | uint16(r.bp)<<4 | typ<<8 }

func endBit(r orcRow, bit int) uint16 {
	if r.typ == orcEndOfStack {
		return 1 << bit
	}
	return 0
}

// In 7.x registers have other numbers.
var numbers7 = map[uint8]uint8{orcRegUndefined: 0, orcRegDX: 2, orcRegSP: 3, orcRegBP: 4, orcRegR10: 6, orcRegR13: 7, orcRegPrevSP: 8, orcRegSPIndirect: 9, orcRegBPIndirect: 10}

var orcForms = []orcForm{
	{"4.14.0", func(r orcRow) uint16 { return plain(r, oldType(r.typ)) }, nil},
	{"5.10.0", func(r orcRow) uint16 { return plain(r, oldType(r.typ)) | endBit(r, 10) }, nil},
	{"6.1.0", func(r orcRow) uint16 { return plain(r, oldType(r.typ)) | endBit(r, 11) }, orcBTF(2, 10, 11)},
	{"6.3.0", func(r orcRow) uint16 { return plain(r, oldType(r.typ)) | endBit(r, 11) }, nil},
	{"6.6.0", func(r orcRow) uint16 { return plain(r, uint16(r.typ)) }, nil},
	{"6.12.0", func(r orcRow) uint16 { return plain(r, uint16(r.typ)) }, orcBTF(3, 11, 0)},
	{"7.2.0", func(r orcRow) uint16 {
		r.sp, r.bp = numbers7[r.sp], numbers7[r.bp]
		return plain(r, uint16(r.typ))
	}, orcBTF(3, 11, 0)},
}

// addORC stores the tables.
func (k *kernel) addORC(f orcForm, rows []orcRow) {
	ips, entries := k.next, k.next+uint64(len(rows))*4+16
	k.next = entries + uint64(len(rows))*orcSize + 16
	var ip, entry []byte
	le := binary.LittleEndian
	for i, r := range rows {
		ip = le.AppendUint32(ip, uint32(r.at-(ips+uint64(i)*4)))
		entry = le.AppendUint16(le.AppendUint16(entry, uint16(r.spOff)), uint16(r.bpOff))
		entry = le.AppendUint16(entry, f.encode(r))
	}
	k.put(ips, ip)
	k.put(entries, entry)
	k.symbol("__start_orc_unwind_ip", ips)
	k.symbol("__stop_orc_unwind_ip", ips+uint64(len(ip)))
	k.symbol("__start_orc_unwind", entries)
	k.symbol("__stop_orc_unwind", entries+uint64(len(entry)))
	if f.btf != nil {
		b := f.btf().Bytes()
		at := k.put(0, b)
		k.symbol("__start_BTF", at)
		k.symbol("__stop_BTF", at+uint64(len(b)))
	}
}

const (
	leafAt = text + 0x1000*(iota+1)
	handlerAt
	vectorAt
	irqEntryAt
	victimAt
	syscallAt
	endAt
	scheduleAt
)

// interrupted builds a kernel whose processor handles an interrupt on a stack
// of its own, and returns its registers.
func interrupted(f orcForm) (*kernel, *Regs) {
	k := newKernel(f.release)
	for name, at := range map[string]uint64{"leaf": leafAt, "handler": handlerAt, "vector": vectorAt, "irq_entry": irqEntryAt,
		"victim": victimAt, "syscall": syscallAt, "the_end": endAt, "schedule": scheduleAt} {
		k.symbol(name, at)
	}
	// Before 5.12 the offset is added before reading.
	indirect, saved := int16(16), uint64(0)
	old := f.release[0] < '6'
	if old {
		indirect, saved = 0, 16
	}
	k.addORC(f, []orcRow{
		{at: text, sp: orcRegUndefined, typ: orcUndefined},
		{at: leafAt, sp: orcRegSP, spOff: 8, typ: orcCall},
		{at: leafAt + 8, sp: orcRegSP, spOff: 0x20, typ: orcCall},
		{at: handlerAt, sp: orcRegSP, spOff: 8, typ: orcCall},
		{at: handlerAt + 4, sp: orcRegBP, spOff: 16, bp: orcRegPrevSP, bpOff: -16, typ: orcCall},
		{at: vectorAt, sp: orcRegSP, spOff: 8, typ: orcCall},
		{at: vectorAt + 0x18, sp: orcRegSPIndirect, spOff: indirect, typ: orcCall},
		{at: irqEntryAt, sp: orcRegSP, spOff: 0, typ: orcRegs},
		{at: victimAt, sp: orcRegSP, spOff: 8, typ: orcCall},
		{at: syscallAt, sp: orcRegSP, spOff: 0, typ: orcRegs},
		{at: endAt, sp: orcRegUndefined, typ: orcEndOfStack},
		{at: scheduleAt, sp: orcRegSP, spOff: 8, typ: orcCall},
	})
	const s0 = irqTop - 0x100
	const t0, t1 = taskLow + 0x3000, taskLow + 0x3100
	k.word(s0+0x18, handlerAt+0x20)
	k.word(s0+0x28, 0x1234)
	k.word(s0+0x30, vectorAt+0x20)
	k.word(s0+0x38, t0+saved)
	k.word(t0+8, irqEntryAt+0x10)
	k.regs(t0+16, map[int]uint64{x86BP: 0x77, x86IP: victimAt + 0x30, x86CS: 0x10, x86SP: t1, x86DI: 0x55})
	k.word(t1, syscallAt+0x10)
	k.regs(t1+8, map[int]uint64{x86IP: 0x401000, x86CS: 0x33, x86SP: 0x7ffe0000})
	r := &Regs{machine: arch.AMD64, values: make([]uint64, ptRegs(arch.AMD64))}
	r.values[x86IP], r.values[x86CS], r.values[x86SP], r.values[x86BP] = leafAt+0x10, 0x10, s0, s0+0x28
	return k, r
}

// damage changes n bytes of a kernel.
func (k *kernel) damage(n int, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 2))
	for range n {
		k.mem.Damage(rnd)
	}
}
