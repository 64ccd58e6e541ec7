package layout

import "procdump/kdump"

const (
	// kernelMap is where the kernel's image is mapped, __START_KERNEL_map.
	kernelMap = 0xffffffff80000000
	// imageSize is the room for the image without KASLR; with it the kernel
	// exports NUMBER(KERNEL_IMAGE_SIZE).
	imageSize = 512 << 20

	// Entries of page tables (arch/x86/include/asm/pgtable_types.h).
	x86Present  = 1 << 0
	x86Huge     = 1 << 7
	x86ProtNone = 1 << 8
	x86AddrMask = 0x000ffffffffff000
)

// Where the direct map begins without KASLR, for 4 and 5 level page tables
// (Documentation/arch/x86/x86_64/mm.rst).
const (
	x86Direct4    = 0xffff888000000000
	x86Direct4Old = 0xffff880000000000 // before 4.20
	x86Direct5    = 0xff11000000000000
)

func (k *Kernel) openAMD64() error {
	s := k.Space
	s.mmu = mmu{pageShift: 12, levels: 4, topBits: 9, canonical: func(va uint64) uint64 { return va }}
	if v, ok := k.Info.Number("pgtable_l5_enabled"); ok && v == 1 {
		s.mmu.levels = 5
	}
	mask := uint64(x86AddrMask)
	if sme, ok := k.Info.Number("sme_mask"); ok {
		mask &^= uint64(sme) // the bit that marks encrypted memory (AMD SME)
	}
	s.mmu.decode = func(e uint64, level int) entry {
		r := entry{addr: e & mask, present: e&x86Present != 0}
		if !r.present && e&x86ProtNone != 0 {
			// A page that is in memory, but set to fault by NUMA balancing or
			// mprotect. The kernel inverts the address of these against L1TF
			// (arch/x86/include/asm/pgtable-invert.h).
			r.present, r.addr = level == 1 || e&x86Huge != 0, ^e&mask
		}
		// Level 2 maps 2 MiB, level 3 maps 1 GiB. The top tables map nothing.
		r.leaf = e&x86Huge != 0 && (level == 2 || level == 3)
		return r
	}

	physBase := uint64(k.dump.PhysBase)
	if v, ok := k.Info.Number("phys_base"); ok {
		physBase = uint64(v)
	} else {
		for _, seg := range k.dump.Segments {
			if seg.VirtAddr >= kernelMap && seg.PhysAddr != kdump.NoPhysAddr {
				physBase = seg.PhysAddr - (seg.VirtAddr - kernelMap)
				break
			}
		}
	}
	size := uint64(imageSize)
	if v, ok := k.Info.Number("KERNEL_IMAGE_SIZE"); ok && v > 0 && v <= 1<<31-1 {
		size = uint64(v)
	}
	s.linears = append(s.linears, linear{virt: kernelMap, size: size, phys: physBase})

	root, err := k.rootSymbol()
	if err != nil {
		return err
	}
	s.root, _, err = s.Translate(root)
	if err != nil {
		return err
	}
	s.root &= mask
	k.findDirectMap()
	return nil
}

// rootSymbol is the address of the kernel's topmost page table.
func (k *Kernel) rootSymbol() (uint64, error) {
	for _, name := range []string{"swapper_pg_dir", "init_top_pgt", "init_level4_pgt"} {
		if a, ok := k.Info.Symbol(name); ok {
			return a, nil
		}
	}
	return 0, &MissingError{What: "SYMBOL(swapper_pg_dir)", Why: "addresses cannot be translated"}
}

// findDirectMap looks for the map of all memory. It only makes reading faster,
// for page tables say the same, and gives addresses to physical memory; so
// what does not prove right by the page tables is not used.
func (k *Kernel) findDirectMap() {
	var candidates []uint64
	for _, seg := range k.dump.Segments {
		if seg.VirtAddr>>63 == 1 && seg.VirtAddr < kernelMap && seg.PhysAddr != kdump.NoPhysAddr {
			// Linux 4.19 has other segments before those of the direct map.
			candidates = append([]uint64{seg.VirtAddr - seg.PhysAddr}, candidates...)
		}
	}
	candidates = append(candidates, x86Direct4, x86Direct4Old)
	if k.Space.mmu.levels == 5 {
		candidates = append(candidates, x86Direct5)
	}
	for n, c := range candidates {
		if n < 64 && k.useDirectMap(c) {
			return
		}
	}
	k.scanDirectMap()
}

// useDirectMap takes base as the direct map if it is true of the page tables'
// own root.
func (k *Kernel) useDirectMap(base uint64) bool {
	s := k.Space
	phys, _, err := s.TranslateIn(s.root, base+s.root)
	if err != nil || phys != s.root {
		return false
	}
	s.direct = linear{virt: base, size: 1 << 46}
	if n := len(k.dump.Runs); n > 0 {
		s.direct.size = k.dump.Runs[n-1].End()
	}
	if base+s.direct.size < base {
		s.direct = linear{}
		return false
	}
	s.linears = append(s.linears, s.direct)
	return true
}

// scanDirectMap searches the page tables: KASLR puts the direct map at a
// multiple of 1 GiB, before everything else in the upper half of the address
// space, and its first page is one of the first of memory.
func (k *Kernel) scanDirectMap() {
	s := k.Space
	tries := 0
	from := uint64(0xffff800000000000)
	if s.mmu.levels == 5 {
		from = 0xff00000000000000
	}
	_ = s.Walk(s.root, from, kernelMap, func(m Mapping) bool {
		tries++
		base := m.Virt - m.Phys
		if base%(1<<30) == 0 && base >= from && k.useDirectMap(base) {
			return false
		}
		return tries < 4096
	})
}
