package pages

import "encoding/binary"

// Bits of page.mapping (include/linux/page-flags.h).
const (
	mappingAnon = 1
	mappingKSM  = 3
)

// maxOrder bounds the order of a compound page: 2^18 pages of 4 KiB are 1 GiB;
// arm64 has 16 GiB of 64 KiB pages.
const maxOrder = 18

// tail tells whether p is a page of a compound page other than its first.
func (l *pageLayout) tail(p []byte) bool { return p[l.head]&1 != 0 }

// decide classifies the page described by the struct page at the beginning of
// p, and tells how many pages the verdict is for, as a power of two. p goes on
// with the struct pages that follow, as far as they are known. The order of
// the tests is makedumpfile's, except that broken memory comes first.
func (l *pageLayout) decide(pfn uint64, p []byte) (verdict Page, order uint) {
	le := binary.LittleEndian
	flags := le.Uint64(p[l.flags:])
	count := int32(le.Uint32(p[l.mapcount:]))
	mapping := le.Uint64(p[l.mapping:])

	slab := flags&l.slab != 0 || l.slabType != typeNone && count == l.slabType
	huge := false
	if flags&l.compound != 0 {
		order, huge = l.compoundOf(pfn, p, count)
	}
	anon := mapping&mappingAnon != 0 && !slab
	switch {
	case flags&l.poison != 0 && order == 0: // of larger pages each is looked at
		return page(Poison), 0
	case !slab && l.buddy != typeNone && count == l.buddy:
		if free := le.Uint64(p[l.private:]); free < l.maxBuddy {
			return page(Free), uint(free)
		}
		return page(Unknown), 0
	case l.unaccepted != typeNone && count == l.unaccepted:
		return page(Free), uint(l.maxBuddy - 1)
	case !anon && !huge && (flags&l.lru != 0 || flags&l.swapCache != 0 && flags&l.swapBacked != 0):
		return l.cache(flags, count, p, order), order
	case huge:
		if le.Uint32(p[l.refcount:]) == 0 {
			return page(HugeFree), order
		}
		return page(HugeUsed), order
	case anon && mapping&mappingKSM == mappingKSM:
		return page(KSM), order
	case anon:
		return page(Anon), order
	case slab:
		return page(Slab), order
	case l.offline != typeNone && count == l.offline:
		return page(Offline), order
	case l.tableMask != 0 && count&l.tableMask == l.tableType:
		return page(PageTable), order
	case flags&l.reserved != 0:
		return page(Reserved), order
	}
	return page(Kernel), order
}

// compoundOf returns the order of the compound page whose head is p, and
// whether it belongs to hugetlbfs. An impossible order counts as 0.
func (l *pageLayout) compoundOf(pfn uint64, p []byte, count int32) (order uint, huge bool) {
	if uint64(len(p)) < 2*l.size {
		return 0, false
	}
	tailFlags := binary.LittleEndian.Uint64(p[l.size+l.flags:])
	switch l.hugetlb {
	case hugetlbPageType:
		huge = count == l.hugetlbType
	case hugetlbFlag:
		huge = tailFlags&l.hugetlbVal != 0
	case hugetlbDtor:
		huge = l.dtorAt < uint64(len(p)) && uint64(p[l.dtorAt]) == l.hugetlbVal
	}
	switch l.order {
	case orderFlags:
		order = uint(tailFlags & 0xff)
	case orderByte:
		if l.orderAt < uint64(len(p)) {
			order = uint(p[l.orderAt])
		}
	}
	if order > maxOrder || pfn&(1<<order-1) != 0 {
		order = 0
	}
	return order, huge
}

// cache classifies a page of the page cache.
func (l *pageLayout) cache(flags uint64, count int32, p []byte, order uint) Page {
	v := page(CleanCache)
	switch {
	case flags&l.swapBacked != 0:
		v = page(Shmem)
	case count >= 0 || order > 0 && l.largeMapped(p, order):
		v = page(MappedFile)
	case flags&(l.dirty|l.writeback) != 0:
		v = page(DirtyFile)
	}
	if flags&l.privateBit != 0 {
		v |= privateFlag
	}
	return v
}

// largeMapped tells whether a process has mapped part of a compound page.
func (l *pageLayout) largeMapped(p []byte, order uint) bool {
	le := binary.LittleEndian
	at := func(off uint64) (int32, bool) {
		if off == 0 || off+4 > uint64(len(p)) {
			return 0, false
		}
		return int32(le.Uint32(p[off:])), true
	}
	if l.mapsUnknown {
		return true
	}
	// These two count from -1.
	if v, ok := at(l.entireMapcount); ok && v >= 0 {
		return true
	}
	if v, ok := at(l.largeMapcount); ok {
		return v >= 0
	}
	if v, ok := at(l.mappedPages); ok {
		return v != 0
	}
	// Until 6.1 each page counts for itself.
	for i := uint64(1); i < 1<<order && (i+1)*l.size <= uint64(len(p)); i++ {
		if int32(le.Uint32(p[i*l.size+l.mapcount:])) >= 0 {
			return true
		}
	}
	return false
}
