package sample

import "encoding/binary"

// Pages of the samples that hold kernel structures, as the samples'
// VMCOREINFO says: makedumpfile walks them before it copies a page.
const (
	utsPFN      = 0x300 // init_uts_ns
	pgdPFN      = 0x310 // swapper_pg_dir
	imagePUD    = 0x311
	imagePMD    = 0x312
	directPUD   = 0x313
	rootsPFN    = 0x318 // mem_section: 4096 pointers
	sectionsPFN = 0x320 // 128 sections of 128 MiB
	memMapPFN   = 0x328 // struct pages of the first 6 MiB
	highMapPFN  = 0x340 // struct pages of the pages from 4 GiB on
)

// Page table flags of x86-64: present, writable, accessed, dirty; large page.
const (
	tableFlags = 0x67
	largeFlag  = 0x80
)

// imageBias is the virtual address of the kernel image less its physical one.
const imageBias = 0xffffffff9e200000 - 0x200000

// kernelPage returns the contents of a page that holds kernel structures.
func kernelPage(pfn uint64) ([]byte, bool) {
	b := make([]byte, Page)
	put := func(i, v uint64) { binary.LittleEndian.PutUint64(b[i*8:], v) }
	direct, image := uint64(Direct), uint64(imageBias)
	switch {
	case pfn == utsPFN:
		copy(b, Uname.Encode())
	case pfn == pgdPFN:
		put(direct>>39&511, directPUD*Page|tableFlags)
		put(511, imagePUD*Page|tableFlags)
	case pfn == imagePUD:
		put(image>>30&511, imagePMD*Page|tableFlags)
	case pfn == imagePMD:
		for i := range uint64(4) {
			put((image>>21+i)&511, i<<21|tableFlags|largeFlag)
		}
	case pfn == directPUD:
		for i := range uint64(8) {
			put((direct>>30+i)&511, i<<30|tableFlags|largeFlag)
		}
	case pfn >= rootsPFN && pfn < rootsPFN+8:
		if pfn == rootsPFN {
			put(0, Direct+sectionsPFN*Page)
		}
	case pfn == sectionsPFN:
		// section_mem_map: where the section's struct pages are, less those of
		// all sections before it, and the flags that the section is present and
		// has some.
		put(0, Direct+memMapPFN*Page|3)
		const highSection, sectionPages, structPage = 32, 1 << 15, 64
		put(4*highSection, Direct+highMapPFN*Page-highSection*sectionPages*structPage|3)
	case pfn >= memMapPFN && pfn < highMapPFN+3:
		// All struct pages are zero: pages in use.
	default:
		return nil, false
	}
	return b, true
}
