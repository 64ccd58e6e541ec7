package pages

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"procdump/arch"
	"procdump/kdump"
	"procdump/kernel/layout"
	"procdump/kernel/layout/layouttest"
)

// span is a range of pages with the verdict that is wanted for it.
type span struct {
	pfn, n uint64
	want   Page
}

// fillMachine describes pages of every class, and returns what they are.
func fillMachine(m *machine) []span {
	f := m.form
	const anon, ksm, file = 0xffff888001234501, 0xffff888001234503, 0xffff888001234500
	var out []span
	want := func(pfn, n uint64, v Page) { out = append(out, span{pfn, n, v}) }

	m.count(16, f.buddy)
	m.private(16, 3)
	want(16, 8, page(Free))
	want(24, 1, page(Kernel))
	m.count(200, f.buddy) // of an impossible order
	m.private(200, 50)
	want(200, 1, page(Unknown))
	dirty := f.lru - 1
	for i, bits := range [][]uint{{f.lru}, {f.lru, dirty}, {f.lru}, {f.lru, f.swapBacked}, {f.lru, f.private}, {f.swapCache, f.swapBacked}, {f.swapCache}} {
		m.flags(32+uint64(i), bits...)
		m.mapping(32+uint64(i), file)
	}
	m.count(34, 0)
	for i, v := range []Page{page(CleanCache), page(DirtyFile), page(MappedFile), page(Shmem), page(CleanCache) | privateFlag, page(Shmem), page(Kernel)} {
		want(32+uint64(i), 1, v)
	}
	m.flags(40, f.lru, f.swapBacked)
	m.mapping(40, anon)
	want(40, 1, page(Anon))
	m.mapping(41, ksm)
	want(41, 1, page(KSM))
	// A huge page of anonymous memory, one page of it broken.
	m.compound(48, 3, false)
	m.flags(48, f.lru, f.swapBacked)
	m.mapping(48, anon)
	m.flags(51, f.poison)
	want(48, 3, page(Anon))
	want(51, 1, page(Poison))
	want(52, 4, page(Anon))
	m.compound(64, 4, true)
	want(64, 16, page(HugeUsed))
	m.compound(80, 4, true)
	m.refcount(80, 0)
	want(80, 16, page(HugeFree))
	// A slab, whose other fields look like those of anonymous memory.
	m.compound(96, 1, false)
	if f.slabFlag != 0 {
		m.flags(96, f.slabFlag)
	} else {
		m.count(96, f.slabType)
	}
	m.mapping(96, anon)
	want(96, 2, page(Slab))
	m.flags(100, f.poison)
	want(100, 1, page(Poison))
	if f.offline != 0 {
		m.count(101, f.offline)
		want(101, 1, page(Offline))
	}
	if f.table != 0 {
		m.count(102, f.table)
		want(102, 1, page(PageTable))
	}
	// A compound page of an impossible order, and one that is not aligned.
	m.compound(120, 60, false)
	want(120, 1, page(Kernel))
	m.compound(122, 3, false)
	want(122, 1, page(Kernel))
	// A large page of a file, not mapped, and with data of the file system.
	m.compound(136, 2, false)
	m.flags(136, f.lru, f.private)
	want(136, 4, page(MappedFile)|privateFlag) // without types it counts as mapped
	// A block that spans the pieces that are read at once.
	m.compound(4096-512, 9, false)
	m.flags(4096-512, f.lru, f.swapBacked)
	m.mapping(4096-512, anon)
	want(4096-512, 512, page(Anon))
	want(4096, 1, page(Kernel))
	if f.unaccept != 0 {
		m.count(8192, f.unaccept)
		want(8192, 1024, page(Free))
	}
	want(9300, 100, page(Kernel))
	// Free blocks in a row, across the pieces: of large ones the head is read
	// alone. What stands behind each head is no flag of the block's.
	for at, order := range map[uint64]uint{10240: 10, 11264: 10, 12288: 9, 12800: 8, 13824: 9} {
		m.count(at, f.buddy)
		m.private(at, uint64(order))
		want(at, 1<<order, page(Free))
		m.flags(at+100, f.poison)
	}
	want(13056, 768, page(Kernel))
	want(14336, 100, page(Kernel))
	return out
}

func wantSpans(t *testing.T, src Source, spans []span) {
	t.Helper()
	got := make([]Page, ramPages)
	if err := src.Classify(0, got); err != nil {
		t.Fatal(err)
	}
	for _, s := range spans {
		for i := range s.n {
			if g := got[s.pfn+i]; g != s.want {
				t.Errorf("page %d is %v/%v, want %v/%v", s.pfn+i, g.Class(), g.Private(), s.want.Class(), s.want.Private())
				break
			}
		}
	}
	// Pages in any order are the same as all in a row.
	one := make([]Page, 3)
	for pfn := uint64(ramPages - 3); pfn >= 5; pfn -= 5 {
		if err := src.Classify(pfn, one); err != nil {
			t.Fatal(err)
		}
		for i := range one {
			if one[i] != got[pfn+uint64(i)] {
				t.Errorf("page %d alone is %v, in a row %v", pfn+uint64(i), one[i].Class(), got[pfn+uint64(i)].Class())
			}
		}
	}
}

func TestStructs(t *testing.T) {
	for _, f := range forms() {
		t.Run(f.name, func(t *testing.T) {
			m := newMachine(f)
			spans := fillMachine(m)
			m.sparse()
			s, err := NewStructs(m.open(t), StructOptions{NoTypes: true})
			if err != nil {
				t.Fatal(err)
			}
			wantSpans(t, s, spans)
			if s.Unread() != 0 {
				t.Errorf("%d pages were not read", s.Unread())
			}
		})
	}
}

// TestFlagsHugeFree: a page of hugetlbfs that is free again has the flags of one
// that is in a file; struct page tells them apart.
func TestFlagsHugeFree(t *testing.T) {
	for _, f := range forms() {
		t.Run(f.name, func(t *testing.T) {
			m := newMachine(f)
			fillMachine(m)
			m.sparse()
			structs, err := NewStructs(m.open(t), StructOptions{NoTypes: true})
			if err != nil {
				t.Fatal(err)
			}
			// The pages of hugetlbfs of fillMachine.
			const used, free, size = 64, 80, 16
			table := make([]uint64, free+size+1)
			for _, head := range []int{used, free} {
				table[head] = kpfHuge | kpfUptodate | kpfDirty | kpfCompoundHead
				for i := 1; i < size; i++ {
					table[head+i] = kpfHuge | kpfCompoundTail
				}
			}
			table[free+7] |= kpfHWPoison
			flags := NewFlags(flagTable(table...))
			flags.Structs = structs
			want := func(pfn uint64, n int, class Class) {
				t.Helper()
				got := make([]Page, n)
				if err := flags.Classify(pfn, got); err != nil {
					t.Fatal(err)
				}
				for i, p := range got {
					if p != page(class) {
						t.Errorf("page %d is %v, want %v", pfn+uint64(i), p.Class(), class)
					}
				}
			}
			want(used, size, HugeUsed)
			want(free, 7, HugeFree)
			want(free+7, 1, Poison)
			want(free+8, 8, HugeFree)
			want(free+size, 1, Kernel)
			want(free+3, 1, HugeFree) // from the middle
			want(used+3, 1, HugeUsed)
			// It is used again.
			binary.LittleEndian.PutUint32(m.at(free)[52:], 1)
			m.mem.Write(mapPhys, m.pages)
			want(free, 7, HugeUsed)
			flags.Structs = nil
			want(free+3, 1, HugeUsed)
		})
	}
}

// TestStructsTypes reads what only the type data tells.
func TestStructsTypes(t *testing.T) {
	for _, c := range []struct {
		name   string
		form   int
		member string // that counts mappings
		types  func(b *layouttest.BTF, u32 uint32)
		off    uint64
		mapped uint32
		free   uint32
	}{
		{"each page counts", 3, "", func(b *layouttest.BTF, u32 uint32) {}, 64 + 48, 0, 0xffffffff},
		{"6.1", 3, "", func(b *layouttest.BTF, u32 uint32) {
			b.Struct("page", 64, layouttest.Member{Name: "compound_mapcount", Type: u32, Bits: 20 * 8})
		}, 64 + 20, 0, 0xffffffff},
		{"6.4 entire", 4, "_entire_mapcount", nil, 64 + 24, 0, 0xffffffff},
		{"6.4 pages", 4, "_nr_pages_mapped", nil, 64 + 28, 2, 0},
		{"6.12", 7, "_large_mapcount", nil, 64 + 16, 0, 0xffffffff},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(forms()[c.form])
			b := layouttest.NewBTF()
			u32 := b.Int("int", 4)
			if c.types != nil {
				c.types(b, u32)
			} else {
				b.Struct("folio", 192, layouttest.Member{Name: c.member, Type: u32, Bits: uint32(c.off * 8)})
			}
			b.Enum("pageflags", layouttest.Value{Name: "PG_dirty", Value: 3}, layouttest.Value{Name: "PG_writeback", Value: 2}, layouttest.Value{Name: "PG_reserved", Value: 30})
			b.Enum("pagetype", layouttest.Value{Name: "PGTY_table", Value: 0xf2})
			for i, v := range []uint32{c.mapped, c.free} {
				pfn := uint64(64 + 8*i)
				m.compound(pfn, 2, false)
				m.flags(pfn, m.form.lru)
				if c.off >= 64+48 {
					m.count(pfn+1, int32(v))
				} else {
					le32(m.at(pfn + 1)[c.off-64:], v)
				}
			}
			m.flags(100, 30)
			m.flags(101, m.form.lru, 2)
			m.count(102, -234881024) // 0xf2 << 24
			m.sparse()
			k := m.open(t)
			if err := k.UseBTF(b.Bytes()); err != nil {
				t.Fatal(err)
			}
			s, err := NewStructs(k, StructOptions{})
			if err != nil || s.TypesError() != nil {
				t.Fatal(err, s.TypesError())
			}
			wantSpans(t, s, []span{{64, 4, page(MappedFile)}, {72, 4, page(CleanCache)}, {100, 1, page(Reserved)}, {101, 1, page(DirtyFile)}, {102, 1, page(PageTable)}})
		})
	}
}

func le32(b []byte, v uint32) { b[0], b[1], b[2], b[3] = byte(v), byte(v>>8), byte(v>>16), byte(v>>24) }

// TestMemoryModels finds the struct pages in each form of the memory map.
func TestMemoryModels(t *testing.T) {
	for name, write := range map[string]func(m *machine){
		"extreme": func(m *machine) { m.sparse() },
		"extreme by a pointer": func(m *machine) {
			m.sparse()
			m.mem.Put64(sectPhys+0x7000, testDirect+sectPhys)
			replaceInfo(m, "SYMBOL(mem_section)=", sectPhys+0x7000)
		},
		"flat array": func(m *machine) {
			m.sparse()
			m.mem.Put64(sectPhys, testDirect+mapPhys|3)
			text := strings.Replace(m.info.String(), "LENGTH(mem_section)=4096", "LENGTH(mem_section)=524288", 1)
			m.info.Reset()
			m.info.WriteString(text)
		},
		"without sections": func(m *machine) {
			m.mem.Write(mapPhys, m.pages)
			m.mem.Zero(sectPhys, 4096)
			m.mem.Put64(sectPhys, testDirect+mapPhys)
			fmt.Fprintf(&m.info, "SYMBOL(mem_map)=%x\n", uint64(testDirect+sectPhys))
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(forms()[3])
			spans := fillMachine(m)
			write(m)
			s, err := NewStructs(m.open(t), StructOptions{NoTypes: true})
			if err != nil {
				t.Fatal(err)
			}
			wantSpans(t, s, spans)
		})
	}
}

// replaceInfo sets the address in the line that begins with key.
func replaceInfo(m *machine, key string, phys uint64) {
	var out strings.Builder
	for line := range strings.Lines(m.info.String()) {
		if strings.HasPrefix(line, key) {
			line = fmt.Sprintf("%s%x\n", key, testDirect+phys)
		}
		out.WriteString(line)
	}
	m.info = strings.Builder{}
	m.info.WriteString(out.String())
}

// TestStructsDamaged reads maps of memory that are incomplete or wrong.
func TestStructsDamaged(t *testing.T) {
	m := newMachine(forms()[3])
	m.sparse()
	for at := uint64(0); at < 4096; at += 256 {
		m.mem.Drop(mapPhys + 64*1024 + at) // of pages 1024 to 1087
	}
	m.runs = []kdump.Run{{Addr: 0x10000, Size: 0x3000000 - 0x10000}, {Addr: 0x3100000, Size: 0x8000000}} // more than there is
	s, err := NewStructs(m.open(t), StructOptions{NoTypes: true})
	if err != nil {
		t.Fatal(err)
	}
	got := make([]Page, 0xc000)
	if err := s.Classify(0, got); err != nil {
		t.Fatal(err)
	}
	for pfn, want := range map[int]Class{0: Hole, 15: Hole, 16: Kernel, 1023: Kernel, 1024: Unknown, 1087: Unknown, 1088: Kernel, 0x3050: Hole, 0x3200: Kernel, 0x9000: Unknown, 0xb200: Hole} {
		if got[pfn].Class() != want {
			t.Errorf("page %#x is %v, want %v", pfn, got[pfn].Class(), want)
		}
	}
	if s.Unread() == 0 {
		t.Error("pages that were not read are not counted")
	}
	for _, key := range []string{"SIZE(page)=64", "NUMBER(PG_lru)=4", "OFFSET(page.flags)=0", "SYMBOL(mem_section)", "SIZE(mem_section)", "OFFSET(page.compound_head)=8"} {
		bad := newMachine(forms()[3])
		bad.sparse()
		text := strings.Replace(bad.info.String(), key, "X"+key, 1)
		bad.info.Reset()
		bad.info.WriteString(text)
		if _, err := NewStructs(bad.open(t), StructOptions{NoTypes: true}); !errors.Is(err, layout.ErrMissing) {
			t.Errorf("without %s: %v", key, err)
		}
	}
	for _, edit := range [][2]string{{"SIZE(page)=64", "SIZE(page)=8"}, {"OFFSET(page.flags)=0", "OFFSET(page.flags)=60"}, {"SECTION_SIZE_BITS)=27", "SECTION_SIZE_BITS)=90"}} {
		bad := newMachine(forms()[3])
		bad.sparse()
		text := strings.Replace(bad.info.String(), edit[0], edit[1], 1)
		bad.info.Reset()
		bad.info.WriteString(text)
		if _, err := NewStructs(bad.open(t), StructOptions{NoTypes: true}); err == nil {
			t.Errorf("%s was accepted", edit[1])
		}
	}
}

// TestStructsARM64 reads the map of an arm64 kernel with pages of 64 KiB.
func TestStructsARM64(t *testing.T) {
	f := forms()[7]
	m := newMachine(f)
	m.mem = layouttest.Memory{}
	const ram, pageOffset = 0x40000000, 0xffff000000000000
	virt := func(phys uint64) uint64 { return pageOffset + phys - ram }
	m.flags(4, f.lru, f.swapBacked)
	m.count(8, f.buddy)
	m.private(8, 2)
	m.mem.Write(ram+mapPhys, m.pages)
	m.mem.Zero(ram+sectPhys, 0x20000)
	// Section 2 of 2^29 bytes holds the memory; its map counts from page 0.
	base := virt(ram+mapPhys) - ram>>16*64
	m.mem.Put64(ram+sectPhys, virt(ram+sectPhys+0x10000))
	m.mem.Put64(ram+sectPhys+0x10000+2*16, base|3)
	info := m.info.String() + fmt.Sprintf("SYMBOL(mem_section)=%x\nLENGTH(mem_section)=128\nSIZE(mem_section)=16\nOFFSET(mem_section.section_mem_map)=0\n"+
		"NUMBER(VA_BITS)=48\nNUMBER(TCR_EL1_T1SZ)=0x10\nNUMBER(PHYS_OFFSET)=0x40000000\nNUMBER(kimage_voffset)=0xffff800040000000\nSYMBOL(_stext)=ffff800080010000\n", virt(ram+sectPhys))
	info = strings.NewReplacer("PAGESIZE=4096", "PAGESIZE=65536", "SECTION_SIZE_BITS)=27", "SECTION_SIZE_BITS)=29", "PHYSMEM_BITS)=46", "PHYSMEM_BITS)=48").Replace(info)
	info = strings.Replace(info, fmt.Sprintf("(swapper_pg_dir)=%x", uint64(testImage)), "(swapper_pg_dir)=ffff800080000000", 1)
	d := layouttest.Dump(arch.ARM64, &m.mem, info, kdump.Run{Addr: ram, Size: 256 << 16})
	d.PageSize = 64 << 10
	k, err := layout.Open(d)
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewStructs(k, StructOptions{NoTypes: true})
	if err != nil {
		t.Fatal(err)
	}
	got := make([]Page, 256)
	if err := s.Classify(ram>>16, got); err != nil {
		t.Fatal(err)
	}
	for i, want := range map[int]Class{0: Kernel, 4: Shmem, 8: Free, 11: Free, 12: Kernel} {
		if got[i].Class() != want {
			t.Errorf("page %d is %v, want %v", i, got[i].Class(), want)
		}
	}
}

// TestFlagsWithoutTypes compares the flags that are derived without type data
// with those that real kernels have.
func TestFlagsWithoutTypes(t *testing.T) {
	files, err := filepath.Glob("../layout/testdata/*.piece")
	if err != nil || len(files) == 0 {
		t.Fatalf("pieces %v, %v", files, err)
	}
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		p, err := layouttest.DecodePiece(f)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		if p.BTF == nil {
			continue
		}
		types, err := layout.ParseBTF(p.BTF, nil)
		if err != nil {
			t.Fatal(err)
		}
		info := layout.ParseInfo([]byte(p.Info))
		with, err := newPageLayout(info, types)
		if err != nil {
			t.Fatal(err)
		}
		without, err := newPageLayout(info, nil)
		if err != nil {
			t.Fatal(err)
		}
		if with.dirty != without.dirty || with.writeback != without.writeback {
			t.Errorf("%s: PG_dirty %#x derived as %#x, PG_writeback %#x as %#x", file, with.dirty, without.dirty, with.writeback, without.writeback)
		}
		if without.tableMask != 0 && (with.tableMask != without.tableMask || with.tableType != without.tableType) && with.tableMask != 0 {
			t.Errorf("%s: type of page tables %#x/%#x derived as %#x/%#x", file, with.tableMask, with.tableType, without.tableMask, without.tableType)
		}
	}
}
