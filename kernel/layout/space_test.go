package layout

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"procdump/arch"
	"procdump/kdump"
	"procdump/kernel/layout/layouttest"
)

// x86Kernel is a kernel of x86-64 in memory: its image at physical 16 MiB, its
// tables behind that, the direct map at direct.
type x86Kernel struct {
	mem    layouttest.Memory
	tables *layouttest.Tables
	root   uint64
	info   strings.Builder
	direct uint64
	next   uint64 // for put
}

const (
	x86Image = 0xffffffff81000000
	x86Phys  = 0x1000000 + 0x200000 // with a phys_base of 2 MiB
)

func newX86(levels uint, direct uint64) *x86Kernel {
	k := &x86Kernel{direct: direct, next: x86Image + 0x100000}
	k.tables = layouttest.AMD64Tables(&k.mem, 0x4000000, levels)
	k.root = x86Phys + 0x10000
	k.mem.Zero(k.root, 4096)
	for pa := uint64(0); pa < 256<<20; pa += 2 << 20 {
		k.tables.Map(k.root, direct+pa, pa, 2, 511)
	}
	fmt.Fprintf(&k.info, "OSRELEASE=6.1.0\nPAGESIZE=4096\nSYMBOL(swapper_pg_dir)=%x\nNUMBER(phys_base)=%d\nNUMBER(KERNEL_IMAGE_SIZE)=1073741824\n",
		uint64(x86Image+0x10000), 0x200000)
	if levels == 5 {
		k.info.WriteString("NUMBER(pgtable_l5_enabled)=1\n")
	}
	return k
}

// phys is the physical address of one in the kernel's image.
func (k *x86Kernel) phys(va uint64) uint64 { return va - x86Image + x86Phys }

// put stores bytes in the kernel's image.
func (k *x86Kernel) put(at uint64, b []byte) uint64 {
	if at == 0 {
		at = k.next
		k.next = (k.next + uint64(len(b)) + 7) &^ 7
	}
	k.mem.Write(k.phys(at), b)
	return at
}

func (k *x86Kernel) open(t testing.TB) *Kernel {
	t.Helper()
	kernel, err := Open(k.dump())
	if err != nil {
		t.Fatal(err)
	}
	return kernel
}

func (k *x86Kernel) dump() *kdump.Dump {
	return layouttest.Dump(arch.AMD64, &k.mem, k.info.String(), kdump.Run{Addr: 0x1000, Size: 256<<20 - 0x1000})
}

// wantTranslate checks the translation of an address; want 0 means unmapped.
func wantTranslate(t *testing.T, s *Space, va, want uint64) {
	t.Helper()
	got, run, err := s.Translate(va)
	if want == 0 {
		if e := new(UnmappedError); !errors.As(err, &e) {
			t.Errorf("%#x is at %#x (%v), want unmapped", va, got, err)
		}
		return
	}
	if err != nil || got != want || run == 0 {
		t.Errorf("%#x is at %#x for %#x bytes (%v), want %#x", va, got, run, err, want)
	}
}

func TestTranslateAMD64(t *testing.T) {
	for _, c := range []struct {
		name            string
		levels          uint
		direct, vmalloc uint64
	}{
		{"four levels", 4, 0xffff888000000000, 0xffffc90000000000},
		{"four levels, KASLR", 4, 0xffff893040000000, 0xffffa5c000000000},
		{"five levels", 5, 0xff11000000000000, 0xffa0000000000000},
		{"five levels, KASLR", 5, 0xff1a00c340000000, 0xff3b000000000000},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := newX86(c.levels, c.direct)
			v := c.vmalloc
			k.tables.Map(k.root, v, 0x5003000, 1, 511)
			k.tables.Map(k.root, v+0x200000, 0x6000000, 2, 511)
			k.tables.Map(k.root, v+0x40000000, 0x80000000, 3, 511)
			// A page that faults for NUMA balancing: address inverted.
			k.tables.Set(k.root, v+0x1000, ^uint64(0x5004000)&0x000ffffffffff000|1<<8, 1, 511)
			// A swapped page: neither present nor PROT_NONE.
			k.tables.Set(k.root, v+0x2000, 0x5005000|2, 1, 511)
			s := k.open(t).Space
			if d, ok := s.DirectMap(); !ok || d != c.direct {
				t.Errorf("direct map at %#x, %v, want %#x", d, ok, c.direct)
			}
			wantTranslate(t, s, x86Image+0x12345, x86Phys+0x12345)
			wantTranslate(t, s, c.direct+0x7654321, 0x7654321)
			wantTranslate(t, s, v+0x123, 0x5003123)
			wantTranslate(t, s, v+0x1123, 0x5004123)
			wantTranslate(t, s, v+0x2123, 0)
			wantTranslate(t, s, v+0x234567, 0x6034567)
			wantTranslate(t, s, v+0x56789abc, 0x96789abc)
			wantTranslate(t, s, v+0x80000000, 0)
			wantTranslate(t, s, 0x1000, 0)

			var seen []Mapping
			err := s.Walk(s.root, v+0x800, v+0x300000, func(m Mapping) bool {
				seen = append(seen, m)
				return true
			})
			want := []Mapping{{v + 0x800, 0x5003800, 0x800}, {v + 0x1000, 0x5004000, 0x1000}, {v + 0x200000, 0x6000000, 0x100000}}
			if err != nil || fmt.Sprint(seen) != fmt.Sprint(want) {
				t.Errorf("walk gives %x (%v), want %x", seen, err, want)
			}
		})
	}
}

func TestTranslateEncrypted(t *testing.T) {
	k := newX86(4, 0xffff888000000000)
	k.tables.Map(k.root, 0xffffc90000000000, 0x5003000|1<<47, 1, 511)
	k.info.WriteString("NUMBER(sme_mask)=140737488355328\n")
	wantTranslate(t, k.open(t).Space, 0xffffc90000000010, 0x5003010)
}

func TestTranslateARM64(t *testing.T) {
	for _, c := range []struct {
		name              string
		shift, levels     uint
		built, t1sz, phys int
		release           string
	}{
		{"4 KiB 39 bits", 12, 3, 39, 25, 48, "6.1.0"},
		{"4 KiB 48 bits", 12, 4, 48, 16, 48, "6.1.0"},
		{"4 KiB 52 bits LPA2", 12, 5, 52, 12, 52, "6.12.0"},
		{"4 KiB built for 52, runs with 48", 12, 4, 52, 16, 52, "6.12.0"},
		{"16 KiB 36 bits", 14, 2, 36, 28, 48, "6.1.0"},
		{"16 KiB 47 bits", 14, 3, 47, 17, 48, "6.1.0"},
		{"16 KiB 48 bits", 14, 4, 48, 16, 48, "6.1.0"},
		{"16 KiB 52 bits", 14, 4, 52, 12, 52, "7.2.0"},
		{"64 KiB 42 bits", 16, 2, 42, 22, 48, "6.1.0"},
		{"64 KiB 48 bits", 16, 3, 48, 16, 48, "4.18.0"},
		{"64 KiB 52 bits", 16, 3, 52, 12, 52, "6.1.0"},
		{"64 KiB built for 52, runs with 48", 16, 3, 52, 16, 52, "6.1.0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var mem layouttest.Memory
			low, highMask, highShift := uint(48), uint64(0), uint(0)
			high := uint64(0)
			actual := uint(64 - c.t1sz)
			switch {
			case c.phys == 52 && c.shift == 16:
				highMask, highShift, high = 0xf<<12, 36, 0xa<<48
			case c.phys == 52 && actual == 52:
				low, highMask, highShift, high = 50, 3<<8, 42, 2<<50
			}
			tb := layouttest.ARM64Tables(&mem, 0x50000000, c.shift, c.levels, low, highMask, highShift)
			root := uint64(0x48000000)
			mem.Zero(root, 1<<c.shift)
			topBits := actual
			if c.shift == 16 {
				topBits = uint(c.built)
			}
			topMask := uint64(1)<<(topBits-(c.shift+(c.levels-1)*(c.shift-3))) - 1
			old := c.release == "4.18.0"
			pageOffset, image := -(uint64(1) << actual), -(uint64(1)<<(min(uint(c.built), 48)-1))+0x8000000
			if old {
				pageOffset, image = -(uint64(1) << (actual - 1)), -(uint64(1)<<actual)+0x8080000
			}
			v := -(uint64(1) << (actual - 2)) + 0x40000000 // vmalloc
			if old {
				v = -(uint64(1) << actual) + 0x40000000
			}
			page := uint64(1) << c.shift
			tb.Map(root, v, 0x60000000|high, 1, topMask)
			block := uint64(1) << (2*c.shift - 3)
			tb.Map(root, v+block, block|high, 2, topMask)
			// Set to fault, but in memory.
			invalid := tb.Leaf(0x60000000+page|high, 1) &^ (1 | 1<<10)
			if c.release == "6.12.0" || c.release == "7.2.0" {
				invalid |= 1 << 11
			} else {
				invalid |= 1 << 58
			}
			tb.Set(root, v+page, invalid, 1, topMask)
			info := fmt.Sprintf("OSRELEASE=%s\nPAGESIZE=%d\nNUMBER(VA_BITS)=%d\nNUMBER(TCR_EL1_T1SZ)=%#x\nNUMBER(MAX_PHYSMEM_BITS)=%d\n"+
				"NUMBER(PHYS_OFFSET)=0x40000000\nNUMBER(kimage_voffset)=%#x\nSYMBOL(_stext)=%x\nSYMBOL(swapper_pg_dir)=%x\nNUMBER(KERNELPACMASK)=0x7f000000000000\n",
				c.release, page, c.built, c.t1sz, c.phys, image-0x48000000, image+0x10000, image)
			d := layouttest.Dump(arch.ARM64, &mem, info, kdump.Run{Addr: 0x40000000, Size: 1 << 30})
			d.PageSize = int(page)
			k, err := Open(d)
			if err != nil {
				t.Fatal(err)
			}
			s := k.Space
			if s.PageSize() != page || s.root != root {
				t.Errorf("pages of %d, root at %#x", s.PageSize(), s.root)
			}
			wantTranslate(t, s, pageOffset+0x1234567, 0x41234567)
			wantTranslate(t, s, v+0x123, 0x60000123|high)
			wantTranslate(t, s, (v+0x123)&^(0xf<<56)|3<<56, 0x60000123|high) // a tagged pointer
			wantTranslate(t, s, v+page+0x10, 0x60000010+page|high)
			wantTranslate(t, s, v+2*page, 0)
			wantTranslate(t, s, v+block+0x4567, block+0x4567|high)
			if got := s.StripPAC(0xff80800000001234); got != 0xffff800000001234 {
				t.Errorf("return address without its code is %#x", got)
			}
		})
	}
}

func TestReadVirt(t *testing.T) {
	k := newX86(4, 0xffff888000000000)
	v := uint64(0xffffc90000000000)
	// Two pages that lie apart, then nothing.
	k.tables.Map(k.root, v, 0x5003000, 1, 511)
	k.tables.Map(k.root, v+0x1000, 0x5001000, 1, 511)
	k.mem.Zero(0x5001000, 4096)
	k.mem.Write(0x5003ff8, []byte("across t"))
	k.mem.Write(0x5001000, []byte("he page\x00"))
	s := k.open(t).Space
	if got, err := s.String(v+0xff8, 100); got != "across the page" || err != nil {
		t.Errorf("string is %q (%v)", got, err)
	}
	b := make([]byte, 0x2000)
	n, err := s.ReadVirt(b, v+0xff8)
	if e := new(UnmappedError); n != 0x1008 || !errors.As(err, &e) || e.Addr != v+0x2000 {
		t.Errorf("read %#x bytes (%v), want 0x1008 and an unmapped address", n, err)
	}
	if !bytes.HasPrefix(b, []byte("across the page")) {
		t.Errorf("read %q", b[:16])
	}
	if got, err := s.String(v+0xff8, 6); got != "across" || err != nil {
		t.Errorf("cut string is %q (%v)", got, err)
	}
	k.mem.Drop(0x5001000)
	if _, err := s.Uint64(v + 0x1000); !errors.Is(err, kdump.ErrAbsent) {
		t.Errorf("read of absent memory: %v", err)
	}
	if _, err := s.Bytes(v, 1<<40); err == nil {
		t.Error("a read of 1 TiB was tried")
	}
}

// TestWalkLoop walks page tables that refer to themselves.
func TestWalkLoop(t *testing.T) {
	k := newX86(4, 0xffff888000000000)
	for i := range uint64(512) {
		k.mem.Put64(0x5000000+i*8, 0x5000000|0x67)
	}
	s := k.open(t).Space
	n := 0
	if err := s.Walk(0x5000000, 0, 1<<47, func(Mapping) bool { n++; return n < 1<<20 }); err != nil {
		t.Error(err)
	}
	// The same without a single page in it.
	for i := range uint64(512) {
		k.mem.Put64(0x5001000+i*8, 0x5001000|0x67)
		k.mem.Put64(0x5002000+i*8, 0x5001000|0x67)
	}
	s.maxTables = 1000
	if err := s.Walk(0x5002000, 0, 1<<48, func(Mapping) bool { return true }); !errors.Is(err, errTables) {
		t.Errorf("walk of tables in a loop: %v", err)
	}
}

func TestOpenErrors(t *testing.T) {
	full := newX86(4, 0xffff888000000000).info.String()
	for name, d := range map[string]*kdump.Dump{
		"no VMCOREINFO": layouttest.Dump(arch.AMD64, &layouttest.Memory{}, ""),
		"no page table": layouttest.Dump(arch.AMD64, &layouttest.Memory{}, strings.ReplaceAll(full, "swapper", "x")),
		"i386":          layouttest.Dump(arch.I386, &layouttest.Memory{}, full),
		"arm64 without": layouttest.Dump(arch.ARM64, &layouttest.Memory{}, "PAGESIZE=4096\n"),
		"arm64 odd T1SZ": layouttest.Dump(arch.ARM64, &layouttest.Memory{},
			"PAGESIZE=4096\nNUMBER(VA_BITS)=48\nNUMBER(TCR_EL1_T1SZ)=0xfff\n"),
	} {
		if _, err := Open(d); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
	// Without memory it opens, and every read fails.
	k, err := Open(layouttest.Dump(arch.AMD64, &layouttest.Memory{}, full))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Space.Uint64(0xffffc90000000000); !errors.Is(err, kdump.ErrAbsent) {
		t.Errorf("read without memory: %v", err)
	}
	if _, err := k.Log(); !errors.Is(err, ErrMissing) {
		t.Errorf("log without its keys: %v", err)
	}
	if _, err := k.Symbol("jiffies"); !errors.Is(err, ErrMissing) {
		t.Errorf("symbol without a table: %v", err)
	}
	if _, err := k.Modules(); !errors.Is(err, ErrMissing) {
		t.Errorf("modules without a table: %v", err)
	}
}
