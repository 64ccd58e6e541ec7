package windump

import (
	"bytes"
	"encoding/binary"
	"maps"
	"slices"
	"testing"
	"unicode/utf16"

	"procdump/arch"
)

// machine is a Windows machine in the mind of a test: physical memory with page
// tables and the structures that a dump leads to. It writes dumps of every
// type. It has its own idea of all layouts, so that it can disagree with the
// reader.
type machine struct {
	t      testing.TB
	bits   int    // 64 or 32
	id     uint32 // IMAGE_FILE_MACHINE_*
	levels []uint // lowest bit of each level's index, the root first
	entry  int    // bytes of an entry
	arm    bool
	pae    bool

	mem  map[uint64][]byte // pages by number
	root uint64            // page number
	next uint64            // page to hand out
	runs [][2]uint64       // RAM: first page, number of pages

	build              uint32
	bugCheck           uint32
	params             [4]uint64
	context, exception []byte
	processors         int
	modulesHead        uint64
	processHead        uint64
	kdbg               uint64
	systemTime         uint64
	upTime             uint64
	comment            string
}

// Places in the kernel's half of the address space.
const (
	kernelBase = 0xfffff80000000000
	modsVA     = kernelBase + 0x100000
	kdbgVA     = kernelBase + 0x200000
	prcbVA     = kernelBase + 0x300000
	procVA     = kernelBase + 0x400000
	unldVA     = kernelBase + 0x500000
	stackVA    = kernelBase + 0x600000
	imageVA    = kernelBase + 0x700000
)

func newMachine(t testing.TB, id uint32, levels ...uint) *machine {
	m := &machine{
		t: t, bits: 64, id: id, levels: levels, entry: 8, mem: map[uint64][]byte{}, next: 0x100, processors: 2,
		runs: [][2]uint64{{1, 0x9e}, {0x100, 0x300}, {0x1000, 0x40}}, build: 19041, arm: id == MachineARM64,
		systemTime: 132583451029877657, upTime: 37470697, comment: "made by a test",
		bugCheck: 0x1000007e, params: [4]uint64{0xffffffffc0000005, kernelBase + 0x1234, stackVA + 0x800, stackVA + 0x900},
	}
	if id == MachineI386 {
		m.bits = 32
	}
	m.root = m.alloc()
	return m
}

func machineX64(t testing.TB) *machine   { return newMachine(t, MachineAMD64, 39, 30, 21, 12) }
func machineLA57(t testing.TB) *machine  { return newMachine(t, MachineAMD64, 48, 39, 30, 21, 12) }
func machineARM64(t testing.TB) *machine { return newMachine(t, MachineARM64, 39, 30, 21, 12) }
func machinePAE(t testing.TB) *machine {
	m := newMachine(t, MachineI386, 30, 21, 12)
	m.pae = true
	return m
}
func machineI386(t testing.TB) *machine {
	m := newMachine(t, MachineI386, 22, 12)
	m.entry = 4
	return m
}

// alloc returns a new page of RAM, filled with zeros.
func (m *machine) alloc() uint64 {
	pfn := m.next
	m.next++
	if m.next == 0x400 {
		m.next = 0x1000
	}
	m.mem[pfn] = make([]byte, 0x1000)
	return pfn
}

// va fits an address of the 64-bit kernel to a 32-bit machine.
func (m *machine) va(addr uint64) uint64 {
	if m.bits == 32 {
		return 0x80000000 | addr&0x7fffffff
	}
	return addr
}

// slot returns where the entry of an address is, at a level, making the tables
// above it.
func (m *machine) slot(va uint64, level int) []byte {
	page := m.root
	for i := 0; ; i++ {
		width := uint(9)
		switch {
		case m.entry == 4:
			width = 10
		case m.pae && i == 0:
			width = 2
		}
		at := int(va>>m.levels[i]&(1<<width-1)) * m.entry
		s := m.mem[page][at : at+m.entry]
		if i == level {
			return s
		}
		if m.get(s)&1 == 0 {
			flags := uint64(0x63)
			if m.arm {
				flags = 3
			}
			if m.pae && i == 0 {
				flags = 1
			}
			m.put(s, m.alloc()<<12|flags)
		}
		page = m.get(s) & 0xffffff000 >> 12
	}
}

func (m *machine) get(s []byte) uint64 {
	var b [8]byte
	copy(b[:], s)
	return binary.LittleEndian.Uint64(b[:])
}

func (m *machine) put(s []byte, v uint64) {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], v)
	copy(s, b[:m.entry])
}

// setEntry sets the entry of an address in the last table.
func (m *machine) setEntry(va, e uint64) { m.put(m.slot(va, len(m.levels)-1), e) }

// present returns a last-level entry for a page.
func (m *machine) present(pfn uint64) uint64 {
	if m.arm {
		return pfn<<12 | 0x403 // accessed, page, valid
	}
	return pfn<<12 | 0x163
}

// write puts bytes at a virtual address, mapping pages as it goes.
func (m *machine) write(va uint64, b []byte) {
	for len(b) > 0 {
		s := m.slot(va, len(m.levels)-1)
		if m.get(s) == 0 {
			m.put(s, m.present(m.alloc()))
		}
		n := copy(m.mem[m.get(s)&0xffffff000>>12][va&0xfff:], b)
		va, b = va+uint64(n), b[n:]
	}
}

// w builds bytes with a pointer's width.
type w struct {
	ptr int
	b   []byte
}

func (m *machine) w() *w { return &w{ptr: m.bits / 8} }

func (w *w) p(vs ...uint64) *w {
	for _, v := range vs {
		w.b = binary.LittleEndian.AppendUint64(w.b, v)
		w.b = w.b[:len(w.b)-8+w.ptr]
	}
	return w
}
func (w *w) u32(vs ...uint32) *w {
	for _, v := range vs {
		w.b = binary.LittleEndian.AppendUint32(w.b, v)
	}
	return w
}
func (w *w) u64(vs ...uint64) *w {
	for _, v := range vs {
		w.b = binary.LittleEndian.AppendUint64(w.b, v)
	}
	return w
}
func (w *w) raw(b []byte) *w { w.b = append(w.b, b...); return w }

// str appends a UNICODE_STRING.
func (w *w) str(bytes int, at uint64) *w {
	w.u32(uint32(bytes) | uint32(bytes)<<16)
	if w.ptr == 8 {
		w.u32(0)
	}
	return w.p(at)
}

// at puts bytes at an offset, growing what is there.
func at(b []byte, off int, v []byte) []byte {
	if n := off + len(v) - len(b); n > 0 {
		b = append(b, make([]byte, n)...)
	}
	copy(b[off:], v)
	return b
}

func utf16le(s string) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

// driver is a module of the machine.
type driver struct {
	path       string
	base, size uint64
	checkSum   uint32
	stamp      uint32
}

var drivers = []driver{
	{`\SystemRoot\system32\ntoskrnl.exe`, imageVA, 0x46000, 0x1111, 0x60000001},
	{`\SystemRoot\system32\hal.dll`, kernelBase + 0x1000000, 0x6000, 0x2222, 0x60000002},
	{`\SystemRoot\System32\drivers\amdppm.sys`, kernelBase + 0x2000000, 0x3b000, 0x3333, 0x60000003},
}

// entryOf is the KLDR_DATA_TABLE_ENTRY of a driver.
func (m *machine) entryOf(d driver, flink, blink, full, name uint64) []byte {
	w := m.w().p(flink, blink, 0, 0, 0, 0)
	if m.bits == 32 {
		w = m.w().p(flink, blink, 0, 0, 0, 0)
	}
	w.p(m.va(d.base), m.va(d.base)+0x1000).u32(uint32(d.size))
	if m.bits == 64 {
		w.u32(0)
	}
	w.str(2*len(d.path), full)
	base := d.path[bytes.LastIndexByte([]byte(d.path), '\\')+1:]
	w.str(2*len(base), name)
	b := w.b
	if m.bits == 64 {
		b = at(b, 0x78, binary.LittleEndian.AppendUint32(nil, d.checkSum))
		return at(b, 0x9c, binary.LittleEndian.AppendUint32(nil, d.stamp))
	}
	b = at(b, 0x40, binary.LittleEndian.AppendUint32(nil, d.checkSum))
	return at(b, 0x54, nil)
}

// addModules writes the list of modules.
func (m *machine) addModules(ds []driver) {
	m.modulesHead = m.va(modsVA)
	node := func(i int) uint64 {
		if i < 0 || i == len(ds) {
			return m.modulesHead
		}
		return m.va(modsVA + 0x100 + uint64(i)*0x400)
	}
	m.write(m.modulesHead, m.w().p(node(0), node(len(ds)-1)).b)
	for i, d := range ds {
		full := node(i) + 0x100
		name := full + uint64(2*(bytes.LastIndexByte([]byte(d.path), '\\')+1))
		m.write(full, utf16le(d.path))
		m.write(node(i), m.entryOf(d, node(i+1), node(i-1), full, name))
	}
}

// kdbg offsets of the machine's structures.
const (
	prcbNumber, prcbThread, prcbMHz, prcbVendor, prcbContext, prcbSize = 0x24, 0x8, 0x44, 0x50, 0x80, 0x100
	threadProcess, procSize, procParent, procTables                    = 0xb8, 0x700, 0x540, 0x28
	procName, procLinks, threadSize                                    = 0x5a8, 0x448, 0x400
)

// debuggerData is the machine's KDDEBUGGER_DATA64.
func (m *machine) debuggerData() []byte {
	b := make([]byte, 0x380)
	le := binary.LittleEndian
	for off, v := range map[int]uint64{
		0: m.va(kdbgVA), 8: m.va(kdbgVA), 0x18: m.va(imageVA), 0x48: m.modulesHead, 0x50: m.processHead,
		0x208: m.va(kdbgVA + 0x400), 0x218: m.va(prcbVA), 0x220: m.va(unldVA), 0x228: m.va(unldVA + 0x10),
	} {
		if m.bits == 32 {
			v = uint64(int64(int32(v))) // sign-extended
		}
		le.PutUint64(b[off:], v)
	}
	copy(b[0x10:], "KDBG")
	le.PutUint32(b[0x14:], uint32(len(b)))
	for off, v := range map[int]int{
		0x2a0: threadProcess, 0x2a8: procSize, 0x2ac: procParent, 0x2ae: procTables, 0x2b0: prcbSize, 0x2b4: prcbThread,
		0x2b6: prcbMHz, 0x2ba: prcbVendor, 0x2be: prcbNumber, 0x2c0: threadSize, 0x338: prcbContext,
	} {
		le.PutUint16(b[off:], uint16(v))
	}
	return b
}

// process is an EPROCESS.
func (m *machine) process(pid uint64, name string, flink, blink, thread uint64) []byte {
	b := make([]byte, procSize)
	le := binary.LittleEndian
	le.PutUint64(b[procTables:], m.root<<12)
	le.PutUint64(b[procLinks-8:], pid)
	le.PutUint64(b[procLinks:], flink)
	le.PutUint64(b[procLinks+8:], blink)
	copy(b[procName:], name)
	return b
}

// prcb is the KPRCB of a processor.
func (m *machine) prcb(i int, context uint64) []byte {
	b := make([]byte, prcbSize)
	copy(b[prcbThread:], m.w().p(m.va(procVA+0x8000)).b)
	binary.LittleEndian.PutUint32(b[prcbNumber:], uint32(i))
	binary.LittleEndian.PutUint32(b[prcbMHz:], 3593)
	copy(b[prcbVendor:], "GenuineIntel")
	if m.arm {
		copy(b[prcbVendor:], "Q\x00")
	}
	copy(b[prcbContext:], m.w().p(context).b)
	return b
}

// regs are the registers of a processor of the machine.
func (m *machine) regs(i int) []byte {
	r := arch.Registers{Machine: map[uint32]arch.Machine{MachineAMD64: arch.AMD64, MachineARM64: arch.ARM64, MachineI386: arch.I386}[m.id]}
	for k, n := range r.Machine.GPNames() {
		r.SetGP(n, uint64(0x1000*(i+1)+k))
	}
	pc, sp := map[uint32]string{MachineAMD64: "rip", MachineARM64: "pc", MachineI386: "eip"}[m.id], map[uint32]string{MachineAMD64: "rsp", MachineARM64: "sp", MachineI386: "esp"}[m.id]
	r.SetGP(pc, m.va(imageVA+uint64(i)))
	r.SetGP(sp, m.va(stackVA+uint64(i)*0x20000+0x100))
	b, err := r.Context()
	if err != nil {
		m.t.Fatal(err)
	}
	if m.id == MachineAMD64 {
		copy(b[720:736], "reserved bytes!!")
	}
	return b
}

// fill gives the machine a kernel: modules, processors, processes, unloaded
// drivers, a stack and an image.
func (m *machine) fill() *machine {
	m.addModules(drivers)
	m.kdbg = m.va(kdbgVA)
	m.processHead = m.va(procVA)
	if m.bits == 64 {
		first, second := m.va(procVA+0x1000), m.va(procVA+0x2000)
		m.write(m.processHead, m.w().p(first+procLinks, second+procLinks).b)
		m.write(first, m.process(4, "System", second+procLinks, m.processHead, 0))
		m.write(second, m.process(1236, "crashing.exe", m.processHead, first+procLinks, 0))
		m.write(m.va(procVA+0x8000+threadProcess), m.w().p(second).b)
	}
	m.write(m.kdbg, m.debuggerData())
	m.write(m.va(kdbgVA+0x400), []byte("19041.1.amd64fre.test\x00"))
	for i := range m.processors {
		at, context := m.va(prcbVA+0x1000*uint64(i+1)), m.va(prcbVA+0x10000+0x1000*uint64(i))
		m.write(m.va(prcbVA)+uint64(i*m.bits/8), m.w().p(at).b)
		m.write(at, m.prcb(i, context))
		m.write(context, m.regs(i))
	}
	m.context = m.regs(1)
	m.exception = m.exceptionRecord(0x80000003)
	m.addUnloaded()
	m.write(m.va(stackVA), bytes.Repeat([]byte("kernel stack here"), 300))
	m.write(m.va(stackVA+0x800), m.exceptionRecord(0xc0000005))
	m.write(m.va(stackVA+0x900), m.regs(5))
	m.write(m.va(imageVA), m.image(0x60606060))
	return m
}

func (m *machine) exceptionRecord(code uint32) []byte {
	w := m.w().u32(code, 1).p(0, m.va(imageVA+0x77)).u32(2)
	if m.bits == 64 {
		w.u32(0)
	}
	w.p(1, 0x5555)
	return at(w.b, map[int]int{64: 0x98, 32: 0x50}[m.bits], nil)
}

// unloaded are the drivers that the machine unloaded, the latest first.
var unloaded = []string{"dam.sys", "WdBoot.sys", "hwpolicy.sys", "oldest.sys"}

func (m *machine) addUnloaded() {
	ring, size := m.va(unldVA+0x1000), 0x28
	if m.bits == 32 {
		size = 0x18
	}
	m.write(m.va(unldVA), m.w().p(ring).b)
	// The ring has gone round: the next is written to slot 1.
	m.write(m.va(unldVA+0x10), m.w().u32(51).b)
	m.write(ring, make([]byte, 50*size))
	for i, name := range unloaded {
		slot := []int{0, 49, 48, 1}[i]
		text := m.va(unldVA+0x4000) + uint64(i*0x100)
		m.write(text, utf16le(name))
		m.write(ring+uint64(slot*size), m.w().str(2*len(name), text).p(m.va(kernelBase+0x10000*uint64(i+1)), m.va(kernelBase+0x10000*uint64(i+1)+0x3000)).u64(m.systemTime).b)
	}
}

// image is the head of a PE image with a CodeView record.
func (m *machine) image(stamp uint32) []byte {
	b := at(nil, 0x800, nil)
	copy(b, "MZ")
	le := binary.LittleEndian
	le.PutUint32(b[0x3c:], 0x80)
	copy(b[0x80:], "PE\x00\x00")
	le.PutUint32(b[0x88:], stamp)
	dirs := 0x80 + 0x18 + 112
	le.PutUint16(b[0x98:], 0x20b)
	if m.bits == 32 {
		le.PutUint16(b[0x98:], 0x10b)
		dirs = 0x80 + 0x18 + 96
	}
	le.PutUint32(b[dirs+6*8:], 0x400)
	le.PutUint32(b[dirs+6*8+4:], 2*28)
	le.PutUint32(b[0x400+28+12:], 2)
	le.PutUint32(b[0x400+28+16:], 24+13)
	le.PutUint32(b[0x400+28+20:], 0x500)
	copy(b[0x500:], "RSDS\x33\x22\x11\x00\x55\x44\x77\x66\x88\x99\xaa\xbb\xcc\xdd\xee\xff\x01\x00\x00\x00D:\\ntkrnlmp.pdb\x00")
	le.PutUint32(b[0x400+28+16:], uint32(24+len("D:\\ntkrnlmp.pdb")+1))
	return b
}

// pfns returns the pages that the machine has written to, in order.
func (m *machine) pfns() []uint64 { return slices.Sorted(maps.Keys(m.mem)) }

// page returns a page, zeros where nothing was written.
func (m *machine) page(pfn uint64) []byte {
	if b := m.mem[pfn]; b != nil {
		return b
	}
	return make([]byte, 0x1000)
}
