package pages

import (
	"fmt"

	"procdump/arch"
	"procdump/kernel/layout"
)

// memMap finds the struct page of a page frame number.
//
// With SPARSEMEM, memory is cut into sections of 2^SECTION_SIZE_BITS bytes, and
// mem_section describes each. The array is flat, or (SPARSEMEM_EXTREME) its
// elements hang in pages below an array of pointers. section_mem_map of a
// section is the address that the struct page of page 0 would have, and flags
// in its low bits.
type memMap struct {
	k        *layout.Kernel
	pageSize uint64 // of a page, in bytes
	size     uint64 // of struct page

	flat      uint64 // address of the struct page of flatStart, without SPARSEMEM
	flatStart uint64

	sections   uint64 // address of mem_section
	extreme    bool
	perRoot    uint64 // sections in one page of the extreme form
	sectionLen uint64 // SIZE(mem_section)
	mapOffset  uint64
	perSection uint64 // pages
	count      uint64 // of sections

	last     uint64 // the section that was looked up last
	lastMap  uint64
	lastOK   bool
	lastRead bool
}

const (
	// sectionPresent is bit 0 of section_mem_map; the flags take 6 bits at
	// most, and every map is aligned to more than that.
	sectionPresent  = 1
	sectionFlagMask = 63
)

func newMemMap(k *layout.Kernel, pageSize, size uint64) (*memMap, error) {
	m := &memMap{k: k, pageSize: pageSize, size: size}
	if sections, ok := k.Info.Symbol("mem_section"); ok {
		return m, m.openSparse(sections)
	}
	if at, ok := k.Info.Symbol("mem_map"); ok {
		v, err := k.Space.Uint64(at)
		if err != nil {
			return nil, fmt.Errorf("read mem_map: %w", err)
		}
		m.flat = v
		if off, ok := k.Info.Number("PHYS_OFFSET"); ok {
			m.flatStart = uint64(off) / pageSize
		}
		return m, nil
	}
	return nil, &layout.MissingError{What: "SYMBOL(mem_section) or SYMBOL(mem_map)", Why: "the use of pages is not known without"}
}

func (m *memMap) openSparse(sections uint64) error {
	info := m.k.Info
	var ok bool
	if m.sectionLen, ok = info.Size("mem_section"); !ok || m.sectionLen == 0 || m.sectionLen > m.pageSize {
		return &layout.MissingError{What: "SIZE(mem_section)"}
	}
	if m.mapOffset, ok = info.Offset("mem_section.section_mem_map"); !ok || m.mapOffset+8 > m.sectionLen {
		return &layout.MissingError{What: "OFFSET(mem_section.section_mem_map)"}
	}
	sectionBits, physBits := sectionDefaults(m.k)
	if v, ok := info.Number("SECTION_SIZE_BITS"); ok {
		sectionBits = v
	}
	if v, ok := info.Number("MAX_PHYSMEM_BITS"); ok {
		physBits = v
	}
	if sectionBits < 20 || sectionBits > 40 || physBits <= sectionBits || physBits > 60 {
		return fmt.Errorf("pages: sections of 2^%d bytes in memory of 2^%d: implausible", sectionBits, physBits)
	}
	m.perSection = 1 << sectionBits / m.pageSize
	m.count = 1 << (physBits - sectionBits)
	m.perRoot = m.pageSize / m.sectionLen
	length, ok := info.Length("mem_section")
	m.extreme = !ok || length == (m.count+m.perRoot-1)/m.perRoot
	m.sections = sections
	if m.extreme && !m.plausible() {
		// From 4.15 on mem_section is a pointer to the array. VMCOREINFO gives
		// the array, other sources of symbols the pointer.
		v, err := m.k.Space.Uint64(sections)
		if err != nil {
			return fmt.Errorf("read mem_section: %w", err)
		}
		m.sections = v
		if !m.plausible() {
			return fmt.Errorf("pages: mem_section at %#x describes no memory", sections)
		}
	}
	return nil
}

// sectionDefaults are the sizes of kernels that do not export them:
// SECTION_SIZE_BITS since 5.13 (and some before), MAX_PHYSMEM_BITS since 5.7.
func sectionDefaults(k *layout.Kernel) (section, phys int64) {
	if k.Machine == arch.ARM64 {
		if bits, ok := k.Info.Number("VA_BITS"); ok && bits == 52 {
			return 30, 52
		}
		return 30, 48
	}
	if v, ok := k.Info.Number("pgtable_l5_enabled"); ok && v == 1 {
		return 27, 52
	}
	return 27, 46
}

// plausible tells whether some section of the dump's memory has a map.
func (m *memMap) plausible() bool {
	m.lastRead = false
	for _, r := range m.k.Dump().Runs {
		if _, ok := m.find(r.Addr / m.pageSize); ok {
			return true
		}
		if _, ok := m.find((r.End() - 1) / m.pageSize); ok {
			return true
		}
	}
	return false
}

// find returns the address of the struct page of pfn.
func (m *memMap) find(pfn uint64) (addr uint64, ok bool) {
	if m.flat != 0 {
		if pfn < m.flatStart {
			return 0, false
		}
		return m.flat + (pfn-m.flatStart)*m.size, true
	}
	section := pfn / m.perSection
	if !m.lastRead || section != m.last {
		m.last, m.lastRead = section, true
		m.lastMap, m.lastOK = m.readSection(section)
	}
	return m.lastMap + pfn*m.size, m.lastOK
}

// end is the first page behind pfn's that may have its struct page elsewhere.
func (m *memMap) end(pfn uint64) uint64 {
	if m.flat != 0 {
		return 1 << 60
	}
	return (pfn/m.perSection + 1) * m.perSection
}

func (m *memMap) readSection(section uint64) (base uint64, ok bool) {
	if section >= m.count {
		return 0, false
	}
	at := m.sections + section*m.sectionLen
	if m.extreme {
		root, err := m.k.Space.Uint64(m.sections + section/m.perRoot*8)
		if err != nil || root == 0 {
			return 0, false
		}
		at = root + section%m.perRoot*m.sectionLen
	}
	v, err := m.k.Space.Uint64(at + m.mapOffset)
	// A map is an address of the kernel.
	if err != nil || v&sectionPresent == 0 || (v&^sectionFlagMask+section*m.perSection*m.size)>>63 == 0 {
		return 0, false
	}
	return v &^ sectionFlagMask, true
}
