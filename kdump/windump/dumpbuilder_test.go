package windump

import (
	"bytes"
	"encoding/binary"
	"strings"
)

// header writes DUMP_HEADER64 or DUMP_HEADER32 of a dump of that type.
func (m *machine) header(typ uint32, runs bool) []byte {
	if m.bits == 32 {
		return m.header32(typ, runs)
	}
	b := bytes.Repeat([]byte("PAGE"), 0x2000/4)
	le := binary.LittleEndian
	copy(b[4:], "DU64")
	le.PutUint32(b[8:], 15)
	le.PutUint32(b[0xc:], m.build)
	le.PutUint64(b[0x10:], m.root<<12|2) // a PCID
	le.PutUint64(b[0x18:], kernelBase+0x99)
	le.PutUint64(b[0x20:], m.modulesHead)
	le.PutUint64(b[0x28:], m.processHead)
	le.PutUint32(b[0x30:], m.id)
	le.PutUint32(b[0x34:], uint32(m.processors))
	le.PutUint32(b[0x38:], m.bugCheck)
	for i, p := range m.params {
		le.PutUint64(b[0x40+8*i:], p)
	}
	le.PutUint64(b[0x80:], m.kdbg)
	if runs {
		block := m.w().u32(uint32(len(m.runs)), 0).u64(0)
		for _, r := range m.runs {
			block.u64(r[0], r[1])
		}
		copy(b[0x88:], block.b)
	}
	copy(b[0x348:], make([]byte, 3000))
	copy(b[0x348:], m.context)
	copy(b[0xf00:], m.exception)
	le.PutUint32(b[0xf98:], typ)
	le.PutUint64(b[0xfa8:], m.systemTime)
	copy(b[0xfb0:], m.comment+"\x00")
	le.PutUint64(b[0x1030:], m.upTime)
	le.PutUint32(b[0x1040:], 1)
	le.PutUint32(b[0x1044:], 0x110)
	return b
}

func (m *machine) header32(typ uint32, runs bool) []byte {
	b := bytes.Repeat([]byte("PAGE"), 0x1000/4)
	le := binary.LittleEndian
	copy(b[4:], "DUMP")
	for off, v := range map[int]uint32{
		8: 15, 0xc: m.build, 0x10: uint32(m.root << 12), 0x18: uint32(m.modulesHead), 0x1c: uint32(m.processHead), 0x20: m.id,
		0x24: uint32(m.processors), 0x28: m.bugCheck, 0x60: uint32(m.kdbg), 0xf88: typ, 0xf94: 3,
	} {
		le.PutUint32(b[off:], v)
	}
	for i, p := range m.params {
		le.PutUint32(b[0x2c+4*i:], uint32(m.va(p)))
	}
	b[0x5c] = 0
	if m.pae {
		b[0x5c] = 1
	}
	if runs {
		block := m.w().u32(uint32(len(m.runs)), 0)
		for _, r := range m.runs {
			block.u32(uint32(r[0]), uint32(r[1]))
		}
		copy(b[0x64:], block.b)
	}
	copy(b[0x320:], make([]byte, 1200))
	copy(b[0x320:], m.context)
	copy(b[0x7d0:], m.exception)
	copy(b[0x820:], m.comment+"\x00")
	le.PutUint64(b[0xfb8:], m.upTime)
	le.PutUint64(b[0xfc0:], m.systemTime)
	return b
}

// full writes a complete dump (type 1).
func (m *machine) full() []byte {
	b := m.header(1, true)
	for _, r := range m.runs {
		for pfn := r[0]; pfn < r[0]+r[1]; pfn++ {
			b = append(b, m.page(pfn)...)
		}
	}
	return b
}

// bitmapSize is the number of bits in the machine's bitmaps: no multiple of 8.
const bitmapSize = 0x1040 + 3

// bitmap writes a dump of type 5 or 6, which holds the pages of the machine that
// were written to.
func (m *machine) bitmap(typ uint32, magic string, runs bool) []byte {
	head, first := make([]byte, 0x38), uint64(0)
	bits, pages := m.bits1()
	b := m.header(typ, runs)
	first = uint64(len(b)+0x38+len(bits)+0xfff) &^ 0xfff
	copy(head, magic+"DUMP")
	le := binary.LittleEndian
	le.PutUint64(head[0x20:], first)
	le.PutUint64(head[0x28:], uint64(len(pages)/0x1000))
	le.PutUint64(head[0x30:], bitmapSize)
	b = append(append(b, head...), bits...)
	b = append(b, bytes.Repeat([]byte{0xaa}, int(first)-len(b))...)
	return append(b, pages...)
}

// bits1 returns the bitmap of the written pages, with rubbish behind its end,
// and the pages.
func (m *machine) bits1() (bits, pages []byte) {
	bits = make([]byte, (bitmapSize+7)/8)
	bits[len(bits)-1] |= 0xf8
	for _, pfn := range m.pfns() {
		bits[pfn/8] |= 1 << (pfn % 8)
		pages = append(pages, m.mem[pfn]...)
	}
	return bits, pages
}

// summary writes a kernel dump of the older form (type 2).
func (m *machine) summary() []byte {
	bits, pages := m.bits1()
	b := m.header(2, true)
	head := make([]byte, 0x28)
	if m.bits == 32 {
		head = head[:0x20]
	}
	copy(head, "SDMPDUMP")
	first := len(b) + len(head) + len(bits)
	le := binary.LittleEndian
	le.PutUint32(head[0xc:], uint32(first))
	le.PutUint32(head[0x10:], bitmapSize)
	le.PutUint32(head[0x14:], uint32(len(pages)/0x1000))
	le.PutUint32(head[0x18:], bitmapSize)
	return append(append(append(b, head...), bits...), pages...)
}

// ranges writes a dump of type 8, 9 or 10.
func (m *machine) ranges(typ uint32) []byte {
	var list, pages []byte
	var n uint64
	pfns := m.pfns()
	for i := 0; i < len(pfns); {
		k := i
		for k < len(pfns) && pfns[k] == pfns[i]+uint64(k-i) {
			pages = append(pages, m.mem[pfns[k]]...)
			k++
		}
		list = m.w().raw(list).u64(pfns[i], uint64(k-i)).b
		n, i = n+uint64(k-i), k
	}
	// What follows the end of the list means nothing. A complete dump ends it by
	// the number of pages.
	if typ != 10 {
		list = append(list, make([]byte, 16)...)
	}
	list = m.w().raw(list).u64(0x77, 1).b
	b := m.header(typ, true)
	first := (len(b) + 0x30 + len(list) + 0xfff) &^ 0xfff
	size := first - len(b) - 0x30
	list = append(list, make([]byte, size-len(list))...)
	head := m.w().u32(0x40).raw([]byte("RDMPDUMP")).u32(0).u64(uint64(size)+16, uint64(first), 0, n).b
	b = append(append(b, head...), list...)
	return append(b, pages...)
}

// triageOf writes a small dump.
func (m *machine) triageOf() []byte {
	b := m.header(4, false)
	start := len(b)
	words := 0x80
	if m.bits == 32 {
		words = 0x68
	}
	b = append(b, make([]byte, words)...)
	add := func(v []byte) uint32 {
		for len(b)%8 != 0 {
			b = append(b, 0)
		}
		off := len(b)
		b = append(b, v...)
		return uint32(off)
	}
	mm := add(make([]byte, 0x50))
	list := m.w().p(uint64(len(unloaded)))
	for i, name := range unloaded {
		list.str(2*len(name), 0).raw(at(utf16le(name), 24, nil)[:24]).p(m.va(kernelBase+0x10000*uint64(i+1)), m.va(kernelBase+0x10000*uint64(i+1)+0x3000))
	}
	unloadedOff := add(list.b)
	prcb := add(m.prcb(1, 0))
	var process uint32
	if m.bits == 64 {
		process = add(m.process(1236, "crashing.exe", 0, 0, 0))
	}
	thread := add(bytes.Repeat([]byte("thread"), threadSize/6+1)[:threadSize])
	stack := add(bytes.Repeat([]byte("kernel stack here"), 100))
	debugger := add(m.debuggerData())
	var pool []byte
	var offs []int
	for _, d := range append([]driver{{path: "broken.sys"}}, drivers...) {
		offs = append(offs, len(pool))
		pool = m.w().raw(pool).u32(uint32(len(d.path))).raw(utf16le(d.path + "\x00")).b
		for len(pool)%8 != 0 {
			pool = append(pool, 0)
		}
	}
	poolOff := add(pool)
	var ds []byte
	for i, d := range drivers {
		e := m.w().p(uint64(poolOff) + uint64(offs[i+1]))
		ldr := m.entryOf(d, 0, 0, 0, 0)
		size, stamp := 0x88, 0x80
		if m.bits == 32 {
			size, stamp = 0x48, 0x44
		}
		ldr = at(at(ldr, size, nil)[:size], stamp, binary.LittleEndian.AppendUint32(nil, d.stamp))
		ds = append(ds, e.raw(ldr).b...)
	}
	driverList := add(ds)
	type block struct {
		va uint64
		b  []byte
	}
	blocks := []block{
		{m.va(imageVA), m.image(0x60606060)},
		{m.va(stackVA + 0x900), m.regs(5)},
		{m.va(stackVA + 0x800), m.exceptionRecord(0xc0000005)},
		{m.va(kdbgVA + 0x400), []byte("19041.1.amd64fre.test\x00")},
	}
	var table []byte
	for _, x := range blocks {
		off := add(x.b)
		table = m.w().raw(table).p(x.va).u32(off, uint32(len(x.b))).b
	}
	tableOff := add(table)
	valid := add([]byte("TRGD"))
	h := m.w().u32(0, uint32(len(b)), valid, map[int]uint32{64: 0x348, 32: 0x320}[m.bits], map[int]uint32{64: 0xf00, 32: 0x7d0}[m.bits], mm, unloadedOff, prcb, process, thread, stack, 1700)
	h.u32(driverList, uint32(len(drivers)), poolOff, uint32(len(pool)), poolOff, 0xffffffff)
	h.p(m.va(stackVA))
	if m.bits == 64 {
		h.u64(0, 0)
	}
	h.p(0).u32(0, 0, debugger, 0x380, tableOff, uint32(len(blocks)))
	if len(h.b) != words {
		m.t.Fatalf("head of %#x bytes, want %#x", len(h.b), words)
	}
	copy(b[start:], h.b)
	return b
}

// dump is a dump of a machine.
type dump struct {
	name string
	m    *machine
	b    []byte
}

// dumps returns a dump of every type of every machine.
func dumps(machines map[string]*machine) []dump {
	var all []dump
	for _, name := range []string{"x64", "la57", "arm64", "pae", "i386"} {
		m := machines[name]
		if m == nil {
			continue
		}
		all = append(all,
			dump{name + "/full", m, m.full()},
			dump{name + "/bitmap full", m, m.bitmap(5, "FDMP", true)},
			dump{name + "/bitmap kernel", m, m.bitmap(6, "SDMP", true)},
			dump{name + "/bitmap without runs", m, m.bitmap(6, "SDMP", false)},
			dump{name + "/automatic", m, m.bitmap(7, "SDMP", true)},
			dump{name + "/summary", m, m.summary()},
			dump{name + "/header", m, m.header(3, true)},
			dump{name + "/triage", m, m.triageOf()},
		)
		if !strings.HasPrefix(name, "pae") && m.bits == 64 {
			all = append(all, dump{name + "/ranges kernel", m, m.ranges(8)}, dump{name + "/ranges kernel and user", m, m.ranges(9)}, dump{name + "/ranges complete", m, m.ranges(10)})
		}
	}
	return all
}
