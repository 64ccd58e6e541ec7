package unwind

import (
	"encoding/binary"
	"errors"
	"fmt"

	"procdump/kernel/layout"
)

// orc is the tables by which an x86-64 kernel unwinds its stack: for each range
// of instructions, how to find the frame of the caller.
//
//	.orc_unwind_ip  s32 for each entry, the address relative to itself, ascending
//	.orc_unwind     struct orc_entry: s16 sp_offset, s16 bp_offset, u16 of bit fields
type orc struct {
	mem     *memory
	layout  orcLayout
	kernel  orcTable
	modules []moduleORC
	found   map[uint64]orcEntry
	err     error
}

type orcTable struct {
	ip, entries, count uint64
}

type moduleORC struct {
	module layout.Module
	table  orcTable
}

// orcSize is sizeof(struct orc_entry).
const orcSize = 6

// Registers of orc_entry (arch/x86/include/asm/orc_types.h), in the numbers of
// kernels up to 6.x.
const (
	orcRegUndefined  = 0
	orcRegPrevSP     = 1
	orcRegDX         = 2
	orcRegDI         = 3
	orcRegBP         = 4
	orcRegSP         = 5
	orcRegR10        = 6
	orcRegR13        = 7
	orcRegBPIndirect = 8
	orcRegSPIndirect = 9
)

// newRegisters are the numbers that the registers have in 7.x. DI, which no entry
// of the kernels that were seen names, has the number that is left.
var newRegisters = [16]uint8{
	2: orcRegDX, 3: orcRegSP, 4: orcRegBP, 5: orcRegDI, 6: orcRegR10, 7: orcRegR13,
	8: orcRegPrevSP, 9: orcRegSPIndirect, 10: orcRegBPIndirect,
}

// orcType is what lies at a frame, in the numbers of 6.4 and later.
type orcType uint8

const (
	orcUndefined orcType = iota
	orcEndOfStack
	orcCall
	orcRegs
	orcRegsPartial
)

type orcEntry struct {
	spOffset, bpOffset int16
	spReg, bpReg       uint8
	typ                orcType
	signal             bool
}

// bits is a bit field of the last two bytes of struct orc_entry.
type bits struct{ at, size uint8 }

func (b bits) of(v uint16) uint8 {
	if b.size == 0 {
		return 0
	}
	return uint8(v >> b.at & (1<<b.size - 1))
}

// orcLayout says where the bit fields are. They were
//
//	4.14        sp_reg:4 bp_reg:4 type:2
//	4.18        sp_reg:4 bp_reg:4 type:2 end:1
//	6.3         sp_reg:4 bp_reg:4 type:2 signal:1 end:1, also in stable kernels before
//	since 6.4   sp_reg:4 bp_reg:4 type:3 signal:1, and other numbers of types
type orcLayout struct {
	spReg, bpReg, typ, signal, end bits
	// indirectAfter says that sp_offset of SP_INDIRECT is added to what was
	// read, not to where it is read (since 5.12).
	indirectAfter bool
	newRegisters  bool
}

// newORCLayout takes the bit fields from the type data, or by the version.
func newORCLayout(k *layout.Kernel) orcLayout {
	l := orcLayout{spReg: bits{0, 4}, bpReg: bits{4, 4}, indirectAfter: k.Info.AtLeast(5, 12)}
	switch {
	case k.Info.AtLeast(6, 4):
		l.typ, l.signal = bits{8, 3}, bits{11, 1}
	case k.Info.AtLeast(6, 3):
		l.typ, l.signal, l.end = bits{8, 2}, bits{10, 1}, bits{11, 1}
	case k.Info.AtLeast(4, 18):
		l.typ, l.end = bits{8, 2}, bits{10, 1}
	default:
		l.typ = bits{8, 2}
	}
	field := func(name string) (bits, bool) {
		f, err := k.Field("orc_entry", name)
		at := f.Offset*8 + uint64(f.BitOffset)
		if err != nil || f.BitSize == 0 || f.BitSize > 8 || at < 32 || at+uint64(f.BitSize) > 48 {
			return bits{}, false
		}
		return bits{uint8(at - 32), f.BitSize}, true
	}
	if t, ok := field("type"); ok {
		l.typ = t
		l.signal, _ = field("signal")
		l.end, _ = field("end")
	}
	return l
}

// decode reads struct orc_entry.
func (l *orcLayout) decode(b []byte) orcEntry {
	le := binary.LittleEndian
	v := le.Uint16(b[4:])
	e := orcEntry{
		spOffset: int16(le.Uint16(b)), bpOffset: int16(le.Uint16(b[2:])),
		spReg: l.spReg.of(v), bpReg: l.bpReg.of(v), typ: orcType(l.typ.of(v)), signal: l.signal.of(v) == 1,
	}
	if l.newRegisters {
		e.spReg, e.bpReg = newRegisters[e.spReg&15], newRegisters[e.bpReg&15]
	}
	if l.typ.size > 2 {
		return e
	}
	switch { // before 6.4: call, registers, part of registers
	case e.spReg == orcRegUndefined && (l.end.size == 0 || l.end.of(v) == 1):
		e.typ = orcEndOfStack
	case e.spReg == orcRegUndefined || e.typ > 2:
		e.typ = orcUndefined
	default:
		e.typ += orcCall
	}
	return e
}

func newORC(k *layout.Kernel, mem *memory, modules []layout.Module) *orc {
	o := &orc{mem: mem, found: make(map[uint64]orcEntry), layout: newORCLayout(k)}
	var at [4]uint64
	for i, name := range []string{"__start_orc_unwind_ip", "__stop_orc_unwind_ip", "__start_orc_unwind", "__stop_orc_unwind"} {
		if at[i], o.err = k.Symbol(name); o.err != nil {
			return o
		}
	}
	const most = 16 << 20 // entries; a kernel of Debian has 300,000
	o.kernel = orcTable{ip: at[0], entries: at[2], count: (at[1] - at[0]) / 4}
	if at[1] <= at[0] || o.kernel.count > most || at[3]-at[2] != o.kernel.count*orcSize {
		o.err = fmt.Errorf("unwind: ORC tables of %d and %d bytes: implausible", at[1]-at[0], at[3]-at[2])
		return o
	}
	// A dump may have symbols, but not these tables: then they are as good as
	// not there.
	var b [orcSize]byte
	if err := mem.read(b[:], o.kernel.ip+o.kernel.count/2*4); err != nil {
		o.err = fmt.Errorf("read ORC table: %w", err)
		return o
	}
	o.findNumbers(k)
	o.addModules(k, modules, most)
	return o
}

// findNumbers tells how registers are numbered: where a function begins, its
// return address is all that lies on the stack, so the register of the entry is
// the stack pointer.
func (o *orc) findNumbers(k *layout.Kernel) {
	for _, name := range []string{"schedule", "panic", "vfs_read", "do_exit", "kernel_clone"} {
		a, err := k.Symbol(name)
		if err != nil {
			continue
		}
		e, err := o.search(o.kernel, a)
		if err == nil && e.typ == orcCall && e.spOffset == 8 {
			o.layout.newRegisters = e.spReg != orcRegSP && newRegisters[e.spReg&15] == orcRegSP
			return
		}
	}
}

// addModules finds the tables of modules, in struct mod_arch_specific.
func (o *orc) addModules(k *layout.Kernel, modules []layout.Module, most uint64) {
	num, err := k.Field("module", "arch.num_orcs")
	ip, err2 := k.Field("module", "arch.orc_unwind_ip")
	entries, err3 := k.Field("module", "arch.orc_unwind")
	if errors.Join(err, err2, err3) != nil {
		return
	}
	for _, m := range modules {
		var v [3]uint64
		for i, f := range []layout.Field{num, ip, entries} {
			var err error
			if v[i], err = k.ReadField(m.Addr, f); err != nil {
				v[0] = 0
				break
			}
		}
		if n := v[0] & 0xffffffff; n != 0 && n <= most {
			o.modules = append(o.modules, moduleORC{m, orcTable{ip: v[1], entries: v[2], count: n}})
		}
	}
}

// errNoORC says that there is no entry for an address.
var errNoORC = errors.New("unwind: no ORC entry")

// find returns the entry for an instruction.
func (o *orc) find(addr uint64) (orcEntry, error) {
	if e, ok := o.found[addr]; ok {
		return e, nil
	}
	table := o.kernel
	for _, m := range o.modules {
		if m.module.Contains(addr) {
			table = m.table
			break
		}
	}
	e, err := o.search(table, addr)
	if err == nil && len(o.found) < maxKnown {
		o.found[addr] = e
	}
	return e, err
}

// search looks for the last entry at or before addr.
func (o *orc) search(t orcTable, addr uint64) (orcEntry, error) {
	lo, hi := uint64(0), t.count // the entries before lo are at or before addr
	for lo < hi {
		mid := (lo + hi) / 2
		at := t.ip + mid*4
		var b [4]byte
		if err := o.mem.read(b[:], at); err != nil {
			return orcEntry{}, fmt.Errorf("read ORC table: %w", err)
		}
		if at+uint64(int64(int32(binary.LittleEndian.Uint32(b[:])))) <= addr {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == 0 {
		return orcEntry{}, errNoORC
	}
	var b [orcSize]byte
	if err := o.mem.read(b[:], t.entries+(lo-1)*orcSize); err != nil {
		return orcEntry{}, fmt.Errorf("read ORC table: %w", err)
	}
	return o.layout.decode(b[:]), nil
}
