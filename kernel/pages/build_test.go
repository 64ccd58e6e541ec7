package pages

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"procdump/arch"
	"procdump/kdump"
	"procdump/kernel/layout"
	"procdump/kernel/layout/layouttest"
)

// Where the test's kernel has things: all in its direct map.
const (
	testDirect = 0xffff888000000000
	testImage  = 0xffffffff81000000
	rootPhys   = 0x1000000
	mapPhys    = 0x2000000 // struct pages
	sectPhys   = 0x2800000 // mem_section
	ramPages   = 16384     // 64 MiB
)

// form is how a version of the kernel describes pages.
type form struct {
	name, release string
	keys          string
	size          uint64
	// Offsets in struct page, and the numbers of flags.
	lru, private, swapCache, swapBacked, poison, head uint

	slabFlag uint  // bit of PG_slab, or 0
	slabType int32 // or the page type
	buddy    int32
	offline  int32 // 0: not exported
	table    int32
	unaccept int32

	// compound writes order and hugetlb into head and first tail.
	compound func(head, tail []byte, order uint, huge bool)
}

func flagsOf(lru, private, swapCache, swapBacked, poison, head uint) form {
	return form{size: 64, lru: lru, private: private, swapCache: swapCache, swapBacked: swapBacked, poison: poison, head: head}
}

func (f form) named(name, release, keys string) form {
	f.name, f.release, f.keys = name, release, keys
	return f
}

// byteForm writes order and destructor as bytes of the first tail.
func byteForm(orderAt, dtorAt int) func(head, tail []byte, order uint, huge bool) {
	return func(_, tail []byte, order uint, huge bool) {
		tail[orderAt], tail[dtorAt] = byte(order), 1
		if huge {
			tail[dtorAt] = 2
		}
	}
}

func flagsForm(hugeBit uint, hugeType int32) func(head, tail []byte, order uint, huge bool) {
	return func(head, tail []byte, order uint, huge bool) {
		v := uint64(order) | 0xabcd000000000000
		if huge && hugeBit != 0 {
			v |= 1 << hugeBit
		}
		binary.LittleEndian.PutUint64(tail, v)
		if huge && hugeType != 0 {
			binary.LittleEndian.PutUint32(head[48:], uint32(hugeType))
		}
	}
}

const compoundKeys = "OFFSET(page.compound_head)=8\n"

// forms are the versions at which struct page or the keys changed.
func forms() []form {
	old := flagsOf(5, 12, 9, 18, 22, 15)
	old.slabFlag, old.buddy, old.compound, old.table = 8, -129, byteForm(17, 16), -1025
	v418 := old.named("4.18", "4.18.0-553.el8.x86_64", compoundKeys+"OFFSET(page.compound_dtor)=16\nOFFSET(page.compound_order)=17\nNUMBER(HUGETLB_PAGE_DTOR)=2\n")
	v54 := old.named("5.4", "5.4.0", v418.keys+"NUMBER(PAGE_OFFLINE_MAPCOUNT_VALUE)=-257\n")
	v54.offline = -257
	v510 := v54
	v510.name, v510.release = "5.10", "5.10.0"
	v510.keys += "NUMBER(MAX_PHYSMEM_BITS)=46\n"
	v61 := flagsOf(4, 13, 10, 19, 23, 16)
	v61 = v61.named("6.1", "6.1.0-56-amd64", v510.keys+"NUMBER(SECTION_SIZE_BITS)=27\n")
	v61.slabFlag, v61.buddy, v61.offline, v61.compound, v61.table = 9, -129, -257, byteForm(17, 16), -513
	v64 := v61.named("6.4", "6.4.0", compoundKeys+"OFFSET(folio._folio_dtor)=80\nOFFSET(folio._folio_order)=81\nNUMBER(HUGETLB_PAGE_DTOR)=2\n"+
		"NUMBER(PAGE_OFFLINE_MAPCOUNT_VALUE)=-257\nNUMBER(MAX_PHYSMEM_BITS)=46\nNUMBER(SECTION_SIZE_BITS)=27\n")
	v64.compound = byteForm(17, 16)
	common := compoundKeys + "NUMBER(MAX_PHYSMEM_BITS)=46\nNUMBER(SECTION_SIZE_BITS)=27\n"
	v66 := v61.named("6.6", "6.6.0", common+"NUMBER(PAGE_OFFLINE_MAPCOUNT_VALUE)=-257\nNUMBER(PG_hugetlb)=8\n")
	v66.compound = flagsForm(8, 0)
	v69 := v61.named("6.9", "6.9.0", common+"NUMBER(PAGE_OFFLINE_MAPCOUNT_VALUE)=-257\nNUMBER(PAGE_HUGETLB_MAPCOUNT_VALUE)=-2049\n")
	v69.compound = flagsForm(0, -2049)
	v612 := flagsOf(5, 14, 10, 17, 20, 6)
	const types = "NUMBER(PAGE_OFFLINE_MAPCOUNT_VALUE)=-251658240\nNUMBER(PAGE_HUGETLB_MAPCOUNT_VALUE)=-201326592\nNUMBER(PAGE_SLAB_MAPCOUNT_VALUE)=-184549376\n"
	v612 = v612.named("6.12", "6.12.0", common+types)
	v612.slabType, v612.buddy, v612.offline, v612.compound = -184549376, -268435456, -251658240, flagsForm(0, -201326592)
	v72 := v612.named("7.2", "7.2.0", strings.Replace(common, "compound_head", "compound_info", 1)+types+"NUMBER(PAGE_UNACCEPTED_MAPCOUNT_VALUE)=-150994944\n")
	v72.poison, v72.unaccept = 21, -150994944
	return []form{v418, v54, v510, v61, v64, v66, v69, v612, v72}
}

// machine is a kernel with a map of its memory.
type machine struct {
	mem   layouttest.Memory
	form  form
	info  strings.Builder
	pages []byte
	runs  []kdump.Run
}

func newMachine(f form) *machine {
	m := &machine{form: f, pages: make([]byte, ramPages*f.size), runs: []kdump.Run{{Addr: 0, Size: ramPages * 4096}}}
	t := layouttest.AMD64Tables(&m.mem, rootPhys+0x10000, 4)
	m.mem.Zero(rootPhys, 4096)
	for pa := uint64(0); pa < ramPages*4096; pa += 2 << 20 {
		t.Map(rootPhys, testDirect+pa, pa, 2, 511)
	}
	t.Map(rootPhys, testImage, rootPhys, 2, 511)
	for i := range uint64(ramPages) {
		binary.LittleEndian.PutUint32(m.at(i)[48:], ^uint32(0)) // mapped by nobody
		binary.LittleEndian.PutUint32(m.at(i)[52:], 1)
	}
	fmt.Fprintf(&m.info, "OSRELEASE=%s\nPAGESIZE=4096\nSYMBOL(swapper_pg_dir)=%x\nSYMBOL(init_top_pgt)=%[2]x\nNUMBER(phys_base)=0\n", f.release, uint64(testImage))
	m.info.WriteString(f.keys)
	fmt.Fprintf(&m.info, "SIZE(page)=%d\nOFFSET(page.flags)=0\nOFFSET(page.mapping)=24\nOFFSET(page.private)=40\nOFFSET(page._mapcount)=48\nOFFSET(page._refcount)=52\n", f.size)
	fmt.Fprintf(&m.info, "NUMBER(PG_lru)=%d\nNUMBER(PG_private)=%d\nNUMBER(PG_swapcache)=%d\nNUMBER(PG_swapbacked)=%d\nNUMBER(PG_hwpoison)=%d\nNUMBER(PG_head_mask)=%d\n",
		f.lru, f.private, f.swapCache, f.swapBacked, f.poison, 1<<f.head)
	if f.slabFlag != 0 {
		fmt.Fprintf(&m.info, "NUMBER(PG_slab)=%d\n", f.slabFlag)
	}
	fmt.Fprintf(&m.info, "NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)=%d\nLENGTH(zone.free_area)=11\n", f.buddy)
	return m
}

// at is the struct page of a page.
func (m *machine) at(pfn uint64) []byte { return m.pages[pfn*m.form.size : (pfn+1)*m.form.size] }

func (m *machine) flags(pfn uint64, bits ...uint) {
	var v uint64
	for _, b := range bits {
		v |= 1 << b
	}
	binary.LittleEndian.PutUint64(m.at(pfn), binary.LittleEndian.Uint64(m.at(pfn))|v)
}

func (m *machine) mapping(pfn, v uint64) { binary.LittleEndian.PutUint64(m.at(pfn)[24:], v) }
func (m *machine) private(pfn, v uint64) { binary.LittleEndian.PutUint64(m.at(pfn)[40:], v) }
func (m *machine) count(pfn uint64, v int32) {
	binary.LittleEndian.PutUint32(m.at(pfn)[48:], uint32(v))
}
func (m *machine) refcount(pfn uint64, v int32) {
	binary.LittleEndian.PutUint32(m.at(pfn)[52:], uint32(v))
}

func (m *machine) compound(pfn uint64, order uint, huge bool) {
	m.flags(pfn, m.form.head)
	for i := uint64(1); order <= 9 && i < 1<<order; i++ {
		binary.LittleEndian.PutUint64(m.at(pfn + i)[8:], testDirect+mapPhys+pfn*m.form.size|1)
	}
	m.form.compound(m.at(pfn), m.at(pfn+1), order, huge)
}

// sparse writes mem_section in the extreme form and the map of its section.
func (m *machine) sparse() {
	m.mem.Write(mapPhys, m.pages)
	m.mem.Zero(sectPhys, 0x8000)
	m.mem.Put64(sectPhys, testDirect+sectPhys+0x4000) // root 0
	m.mem.Put64(sectPhys+0x4000, testDirect+mapPhys|0xb)
	fmt.Fprintf(&m.info, "SYMBOL(mem_section)=%x\nLENGTH(mem_section)=4096\nSIZE(mem_section)=32\nOFFSET(mem_section.section_mem_map)=0\n", uint64(testDirect+sectPhys))
}

func (m *machine) open(t testing.TB) *layout.Kernel {
	t.Helper()
	// The image begins at the root of the page tables.
	info := strings.Replace(m.info.String(), "NUMBER(phys_base)=0", fmt.Sprintf("NUMBER(phys_base)=%d", rootPhys-(testImage-0xffffffff80000000)), 1)
	k, err := layout.Open(layouttest.Dump(arch.AMD64, &m.mem, info, m.runs...))
	if err != nil {
		t.Fatal(err)
	}
	return k
}
