package dumped

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"procdump/arch"
	"procdump/kdump"
	"procdump/kernel/layout/layouttest"
	"procdump/kernel/pages"
)

// Where the test's kernel has things, all in its direct map, in 16 MiB.
const (
	direct   = 0xffff888000000000
	image    = 0xffffffff81000000
	ramPages = 4096
	rootPhys = 0x200000 // the image, which begins with the page table
	mapPhys  = 0x400000 // struct pages
	sectPhys = 0x600000
	infoPhys = 0x700000
	pageSize = 64 // of struct page
	lruFlag  = 4
	buddy    = -129
)

// machine is a kernel of 6.1 with a map of its memory.
type machine struct {
	mem  layouttest.Memory
	map_ []byte
	info string
}

func newMachine() *machine {
	m := &machine{map_: make([]byte, ramPages*pageSize)}
	t := layouttest.AMD64Tables(&m.mem, rootPhys+0x10000, 4)
	m.mem.Zero(rootPhys, 4096)
	for pa := uint64(0); pa < ramPages*4096; pa += 2 << 20 {
		t.Map(rootPhys, direct+pa, pa, 2, 511)
	}
	t.Map(rootPhys, image, rootPhys, 2, 511)
	for i := range uint64(ramPages) {
		binary.LittleEndian.PutUint32(m.at(i)[48:], ^uint32(0)) // mapped by nobody
		binary.LittleEndian.PutUint32(m.at(i)[52:], 1)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "OSRELEASE=6.1.0\nPAGESIZE=4096\nSYMBOL(init_uts_ns)=%x\nSYMBOL(swapper_pg_dir)=%[1]x\nSYMBOL(init_top_pgt)=%[1]x\n", uint64(image))
	fmt.Fprintf(&b, "NUMBER(phys_base)=%d\n", rootPhys-(image-0xffffffff80000000))
	b.WriteString("NUMBER(MAX_PHYSMEM_BITS)=46\nNUMBER(SECTION_SIZE_BITS)=27\nOFFSET(page.compound_head)=8\nSIZE(page)=64\nOFFSET(page.flags)=0\n" +
		"OFFSET(page.mapping)=24\nOFFSET(page.private)=40\nOFFSET(page._mapcount)=48\nOFFSET(page._refcount)=52\nNUMBER(PG_lru)=4\n" +
		"NUMBER(PG_private)=13\nNUMBER(PG_swapcache)=10\nNUMBER(PG_swapbacked)=19\nNUMBER(PG_hwpoison)=23\nNUMBER(PG_head_mask)=65536\n" +
		"NUMBER(PG_slab)=9\nNUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)=-129\nLENGTH(zone.free_area)=11\n")
	fmt.Fprintf(&b, "SYMBOL(mem_section)=%x\nLENGTH(mem_section)=4096\nSIZE(mem_section)=32\nOFFSET(mem_section.section_mem_map)=0\n", uint64(direct+sectPhys))
	m.info = b.String()
	m.anon(1000, 100)
	freeCount := int32(buddy)
	binary.LittleEndian.PutUint32(m.at(2048)[48:], uint32(freeCount))
	binary.LittleEndian.PutUint64(m.at(2048)[40:], 10)
	return m
}

// at is the struct page of a page.
func (m *machine) at(pfn uint64) []byte { return m.map_[pfn*pageSize : (pfn+1)*pageSize] }

func (m *machine) anon(pfn, n uint64) {
	for i := pfn; i < pfn+n; i++ {
		binary.LittleEndian.PutUint64(m.at(i), 1<<lruFlag)
		binary.LittleEndian.PutUint64(m.at(i)[24:], direct+1)
	}
}

// dump writes the map into memory and returns the whole as a dump.
func (m *machine) dump(info string) *kdump.Dump {
	m.mem.Write(mapPhys, m.map_)
	m.mem.Zero(sectPhys, 0x8000)
	m.mem.Put64(sectPhys, direct+sectPhys+0x4000)
	m.mem.Put64(sectPhys+0x4000, direct+mapPhys|0xb)
	d := layouttest.Dump(arch.AMD64, &m.mem, info, kdump.Run{Addr: 0, Size: ramPages * 4096})
	d.PageSize = 4096
	return d
}

// counts opens a dump, counts the uses of its pages, and checks that the
// warnings are those wanted.
func counts(t *testing.T, d *kdump.Dump, o Options, warnings ...string) (*Source, pages.Counts) {
	t.Helper()
	s := Open(d, o)
	src, err := s.Pages()
	if err != nil {
		t.Fatal(err)
	}
	c, err := pages.Count(src, s.Dump().Runs, 4096)
	if err != nil {
		t.Fatal(err)
	}
	got := s.Warnings()
	if len(got) != len(warnings) {
		t.Fatalf("warnings %q, want %q", got, warnings)
	}
	for i, w := range warnings {
		if !strings.Contains(got[i], w) {
			t.Errorf("warning %q, want %q", got[i], w)
		}
	}
	return s, c
}

// wantKnown checks the counts of newMachine.
func wantKnown(t *testing.T, s *Source, c pages.Counts) {
	t.Helper()
	if c.Pages[pages.Anon] != 100 || c.Pages[pages.Free] != 1024 || c.Pages[pages.Unknown] != 0 || c.RAM() != ramPages || !s.Known() || s.Live() {
		t.Errorf("counts %v, known %v", c, s.Known())
	}
}

func wantUnknown(t *testing.T, s *Source, c pages.Counts) {
	t.Helper()
	if c.Pages[pages.Unknown] != ramPages || s.Known() || c.Kept(pages.KernelKind) != ramPages {
		t.Errorf("counts %v, known %v", c, s.Known())
	}
}

func TestPages(t *testing.T) {
	m := newMachine()
	s, c := counts(t, m.dump(m.info), Options{NoTypes: true})
	wantKnown(t, s, c)
	if k, err := s.Kernel(); err != nil || k.Dump() != s.Dump() {
		t.Errorf("kernel of another dump: %v", err)
	}
	// This kernel has no type data.
	s, c = counts(t, m.dump(m.info), Options{}, "type data cannot be used")
	wantKnown(t, s, c)
}

// TestDirectMap tells where all memory is mapped if the dump does not.
func TestDirectMap(t *testing.T) {
	for _, told := range []bool{false, true} {
		m := newMachine()
		d := m.dump(m.info)
		want := kdump.Segment{VirtAddr: direct, FileSize: ramPages * 4096, MemSize: ramPages * 4096, Flags: 7}
		d.Segments = []kdump.Segment{{VirtAddr: image, PhysAddr: rootPhys, FileSize: 4096, MemSize: 4096}}
		if told {
			want = kdump.Segment{VirtAddr: direct + 4096, PhysAddr: 4096, MemSize: 8192}
			d.Segments = append(d.Segments, want)
		}
		s := Open(d, Options{NoTypes: true})
		if _, err := s.Kernel(); err != nil {
			t.Fatal(err)
		}
		if got := s.Dump().Segments; len(got) != 2 || got[1] != want {
			t.Errorf("told %v: segments %+x", told, got)
		}
	}
}

// TestInfoInMemory finds VMCOREINFO in memory where the note is missing or
// damaged, but not in a copy that is damaged itself.
func TestInfoInMemory(t *testing.T) {
	m := newMachine()
	for i := range uint64(maxCandidates + 4) { // text that only begins so
		m.mem.Write(infoPhys-0x20000+i*4096, append([]byte(infoStart+"some file"), make([]byte, 4000)...))
	}
	broken := []byte(strings.Replace(m.info, "SIZE(page)=64", "SIZE(page)=63", 1))
	page := func(at uint64, text []byte) {
		m.mem.Write(at, append(bytes.Clone(text), make([]byte, 4096-len(text))...))
	}
	page(infoPhys-0x4000, broken)
	page(infoPhys, []byte(m.info))
	for name, c := range map[string]struct{ note, warning string }{
		"missing": {"", "is missing"},
		"damaged": {string(broken), "is damaged"},
		"noise":   {strings.Repeat("\x00\xff", 1000), "is damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			d := m.dump(c.note)
			d.Arch = arch.Unknown
			s, n := counts(t, d, Options{NoTypes: true}, c.warning)
			wantKnown(t, s, n)
			if string(s.Dump().VMCoreInfo) != m.info || s.Dump().Arch != arch.AMD64 || string(d.VMCoreInfo) != c.note {
				t.Errorf("%d bytes of VMCOREINFO, machine %v", len(s.Dump().VMCoreInfo), s.Dump().Arch)
			}
			k, err := Open(d, Options{}).Kernel()
			if err != nil || k.Info.OSRelease() != "6.1.0" {
				t.Errorf("kernel: %v", err)
			}
		})
	}
}

// TestDamage keeps all pages where the uses cannot be had.
func TestDamage(t *testing.T) {
	t.Run("no info", func(t *testing.T) {
		s, c := counts(t, newMachine().dump(""), Options{}, "all pages of the dump are kept")
		wantUnknown(t, s, c)
		if k, err := s.Kernel(); k != nil || err == nil {
			t.Error("a kernel without VMCOREINFO")
		}
	})
	t.Run("shifted", func(t *testing.T) {
		// Of all pages the memory map says that processes have them.
		m := newMachine()
		m.anon(0, ramPages)
		s, c := counts(t, m.dump(m.info), Options{NoTypes: true}, "is told to be in a page of the class anonymous")
		wantUnknown(t, s, c)
	})
	t.Run("no sections", func(t *testing.T) {
		m := newMachine()
		d := m.dump(m.info)
		m.mem.Put64(sectPhys, 0)
		s, c := counts(t, d, Options{NoTypes: true}, "describes no memory")
		wantUnknown(t, s, c)
	})
}

// TestNoise damages VMCOREINFO in many ways: no page of the image may be lost.
func TestNoise(t *testing.T) {
	m := newMachine()
	r := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		text := []byte(m.info)
		for range 1 + r.IntN(4) {
			text[r.IntN(len(text))] = byte(r.Uint32())
		}
		s := Open(m.dump(string(text)), Options{NoTypes: true})
		src, err := s.Pages()
		if err != nil {
			t.Fatal(err)
		}
		var p [1]pages.Page
		if err := src.Classify(rootPhys/4096, p[:]); err != nil {
			t.Fatal(err)
		}
		if !pages.KernelKind.Has(p[0].Class()) {
			t.Errorf("the image's page is %v with VMCOREINFO\n%s", p[0].Class(), text)
		}
	}
}
