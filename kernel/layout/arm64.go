package layout

import (
	"fmt"

	"procdump/kdump"
)

const (
	// Descriptors of page tables (arch/arm64/include/asm/pgtable-hwdef.h).
	armValid = 1 << 0
	armTable = 1 << 1 // of a table or page; clear in a block
	// A page that is in memory, but set to fault: PTE_PROT_NONE until 6.10,
	// PTE_PRESENT_INVALID since.
	armProtNoneOld = 1 << 58
	armProtNone    = 1 << 11
)

func (k *Kernel) openARM64() error {
	s := k.Space
	page := k.Info.PageSize()
	if page == 0 {
		page = uint64(k.dump.PageSize)
	}
	var shift uint
	switch page {
	case 4 << 10:
		shift = 12
	case 16 << 10:
		shift = 14
	case 64 << 10:
		shift = 16
	default:
		return fmt.Errorf("layout: arm64 kernel with pages of %d bytes (4, 16 and 64 KiB are known)", page)
	}
	built, actual, err := k.armVABits()
	if err != nil {
		return err
	}
	s.mmu = mmu{pageShift: shift, canonical: func(va uint64) uint64 {
		if va>>55&1 == 1 { // an address of the kernel: bits 63:56 may be a tag
			va |= 0xff << 56
		}
		return va
	}}
	// The number of levels follows from the bits to translate
	// (ARM64_HW_PGTABLE_LEVELS).
	s.mmu.levels = int((actual - shift + (shift - 3) - 1) / (shift - 3))
	// With 64 KiB pages the topmost table is laid out for the VA_BITS that the
	// kernel was built for, even where the processor has fewer.
	top := actual
	if shift == 16 {
		top = built
	}
	s.mmu.topBits = top - s.mmu.shift(s.mmu.levels)
	k.armDecode(shift, actual)

	pageOffset := -(uint64(1) << actual)
	stext, flippedKnown := k.Info.Symbol("_stext")
	if flippedKnown && stext <= -(uint64(1)<<(min(built, 48)-1)) {
		// Before 5.4 the direct map was the upper half of the kernel's
		// addresses; the image was below it.
		pageOffset = -(uint64(1) << (actual - 1))
	}
	physOffset, ok := k.armPhysOffset(pageOffset)
	if !ok {
		return &MissingError{What: "NUMBER(PHYS_OFFSET)", Why: "addresses cannot be translated"}
	}
	s.direct = linear{virt: pageOffset, size: 1 << (actual - 1), phys: physOffset}
	s.linears = append(s.linears, s.direct)
	if v, ok := k.Info.Number("KERNELPACMASK"); ok {
		s.pacMask = uint64(v)
	}

	root, err := k.rootSymbol()
	if err != nil {
		return err
	}
	if v, ok := k.Info.Number("kimage_voffset"); ok && root-s.direct.virt >= s.direct.size {
		s.root = root - uint64(v)
		return nil
	}
	s.root, _, err = s.Translate(root)
	return err
}

// armVABits returns the number of bits of a kernel address: that the kernel was
// built for, and that it uses on this processor.
func (k *Kernel) armVABits() (built, actual uint, err error) {
	v, ok := k.Info.Number("VA_BITS")
	if !ok || v < 36 || v > 52 {
		return 0, 0, &MissingError{What: "NUMBER(VA_BITS)", Why: "addresses cannot be translated"}
	}
	built, actual = uint(v), uint(v)
	if t, ok := k.Info.Number("TCR_EL1_T1SZ"); ok { // since 5.9
		if t < 64-52 || t > 64-36 {
			return 0, 0, fmt.Errorf("layout: NUMBER(TCR_EL1_T1SZ) is %d: implausible", t)
		}
		actual = uint(64 - t)
	} else if built == 52 {
		// 5.4 to 5.8 keep mem_section in the direct map: the lower half of
		// either 48 or 52 bits.
		if ms, ok := k.Info.Symbol("mem_section"); ok && ms>>51&1 == 1 {
			actual = 48
		}
	}
	return built, actual, nil
}

// armDecode sets how descriptors are read.
func (k *Kernel) armDecode(shift, actual uint) {
	physBits, ok := k.Info.Number("MAX_PHYSMEM_BITS")
	if !ok {
		physBits = 48
	}
	low := (uint64(1)<<48 - 1) &^ (1<<shift - 1)
	var high uint64 // bits of the descriptor that hold address bits from 48 or 50 up
	var highShift uint
	switch {
	case physBits == 52 && shift == 16: // LPA: bits 15:12 are 51:48
		high, highShift = 0xf<<12, 36
	case physBits == 52 && actual == 52: // LPA2: bits 9:8 are 51:50
		low = (uint64(1)<<50 - 1) &^ (1<<shift - 1)
		high, highShift = 3<<8, 42
	}
	protNone := uint64(armProtNoneOld)
	if k.Info.AtLeast(6, 11) {
		protNone = armProtNone
	}
	k.Space.mmu.decode = func(e uint64, level int) entry {
		r := entry{addr: e&low | e&high<<highShift, present: e&armValid != 0}
		if !r.present && e&protNone != 0 {
			r.present = true
			r.leaf = e&armTable == 0 || level == 1
			return r
		}
		r.leaf = e&armTable == 0
		if level == 1 {
			r.present = r.present && e&armTable != 0
		}
		return r
	}
}

// armPhysOffset is the physical address that the direct map begins with.
func (k *Kernel) armPhysOffset(pageOffset uint64) (uint64, bool) {
	if v, ok := k.Info.Number("PHYS_OFFSET"); ok {
		return uint64(v), true
	}
	for _, seg := range k.dump.Segments {
		if seg.PhysAddr != kdump.NoPhysAddr && seg.VirtAddr >= pageOffset && seg.VirtAddr != 0 {
			return seg.PhysAddr - (seg.VirtAddr - pageOffset), true
		}
	}
	return 0, false
}
