package pages

import (
	"fmt"

	"procdump/kernel/layout"
)

// pageLayout is how a kernel's struct page is read. It changes with the
// kernel's version and configuration; the keys of VMCOREINFO tell which of the
// forms below it has, so that no version number is compared.
type pageLayout struct {
	size                                           uint64
	flags, refcount, mapcount, mapping, private    uint64 // offsets
	head                                           uint64 // of compound_head, compound_info since 7.1
	lru, privateBit, swapCache, swapBacked, poison uint64 // masks of flags
	compound, slab, dirty, writeback, reserved     uint64

	// Values of the field that _mapcount shares with page_type. Types that the
	// kernel does not have are typeNone.
	buddy, offline, slabType, hugetlbType, unaccepted, tableType int32
	// tableMask selects what tableType is compared with.
	tableMask int32

	order      orderForm
	orderAt    uint64 // offset from the head, for orderByte
	hugetlb    hugetlbForm
	dtorAt     uint64 // offset from the head, for hugetlbByDtor
	hugetlbVal uint64 // value of the destructor, or mask of the flag
	maxBuddy   uint64 // orders of free blocks are below this

	// Counts of mappings of a compound page; offsets from the head, 0 where
	// the kernel has none.
	entireMapcount, largeMapcount, mappedPages uint64
	// mapsUnknown says that they may be there, but not where.
	mapsUnknown bool
}

// orderForm is where the order of a compound page is: its number of pages is
// 2^order.
type orderForm int

const (
	_ orderForm = iota // not known
	// orderByte: a byte in the first tail. page.compound_order from 4.16 to
	// 6.2, folio._folio_order from 6.3 to 6.5.
	orderByte
	// orderFlags: the low byte of the first tail's flags, since 6.6.
	orderFlags
)

// hugetlbForm is how a page of hugetlbfs is told.
type hugetlbForm int

const (
	_ hugetlbForm = iota // not known
	// hugetlbDtor: a byte in the first tail is HUGETLB_PAGE_DTOR, until 6.5.
	hugetlbDtor
	// hugetlbFlag: the flag PG_hugetlb of the first tail, 6.6 to 6.8.
	hugetlbFlag
	// hugetlbPageType: the type in the head's _mapcount, since 6.9.
	hugetlbPageType
)

// typeNone is no type: a page that nobody has mapped has -1 in _mapcount, and
// page types are far below that.
const typeNone = 0

// newPageLayout reads the keys. types may be nil; then the classes that need
// the kernel's type data are not told apart.
func newPageLayout(info *layout.Info, types *layout.BTF) (*pageLayout, error) {
	l := &pageLayout{mapsUnknown: types == nil}
	q := layoutReader{info: info, types: types}
	l.size = q.size()
	l.flags = q.offset(l.size, 8, "flags")
	l.mapping = q.offset(l.size, 8, "mapping")
	l.mapcount = q.offset(l.size, 4, "_mapcount")
	l.refcount = q.offset(l.size, 4, "_refcount")
	l.private = q.offset(l.size, 8, "private")
	if info.Has("OFFSET(page.compound_info)") {
		l.head = q.offset(l.size, 8, "compound_info")
	} else {
		l.head = q.offset(l.size, 8, "compound_head")
	}
	if q.err != nil {
		return nil, q.err
	}
	if err := l.readFlags(&q); err != nil {
		return nil, err
	}
	l.readTypes(&q)
	l.readCompound(&q)
	return l, nil
}

// layoutReader reads keys and remembers the first that is missing.
type layoutReader struct {
	info  *layout.Info
	types *layout.BTF
	err   error
}

func (q *layoutReader) size() uint64 {
	v, ok := q.info.Size("page")
	if !ok && q.types != nil {
		n, err := q.types.Size("page")
		v, ok = n, err == nil
	}
	if !ok {
		q.err = &layout.MissingError{What: "SIZE(page)"}
		return 0
	}
	if v < 32 || v > 512 || v%8 != 0 {
		q.err = fmt.Errorf("pages: struct page of %d bytes: implausible", v)
	}
	return v
}

func (q *layoutReader) offset(size, width uint64, member string) uint64 {
	v, ok := q.info.Offset("page." + member)
	if !ok {
		v, ok = q.field("page", member)
	}
	switch {
	case q.err != nil:
	case !ok:
		q.err = &layout.MissingError{What: "OFFSET(page." + member + ")"}
	case v+width > size:
		q.err = fmt.Errorf("pages: member %s at %d of a struct page of %d bytes", member, v, size)
	}
	return v
}

// field returns the offset of a member by the type data.
func (q *layoutReader) field(structure, member string) (uint64, bool) {
	if q.types == nil {
		return 0, false
	}
	f, err := q.types.Field(structure, member)
	return f.Offset, err == nil
}

// bit returns the mask of a page flag: from VMCOREINFO, else from the type
// data, else 0.
func (q *layoutReader) bit(name string) uint64 {
	v, ok := q.info.Number(name)
	if !ok && q.types != nil {
		n, err := q.types.Enum("pageflags", name)
		v, ok = n, err == nil
	}
	if !ok || v < 0 || v > 63 {
		return 0
	}
	return 1 << v
}

// pageType returns a value of _mapcount.
func (q *layoutReader) pageType(name string) int32 {
	v, ok := q.info.Number(name)
	if !ok {
		return typeNone
	}
	return int32(v)
}

func (l *pageLayout) readFlags(q *layoutReader) error {
	l.lru, l.swapCache, l.swapBacked = q.bit("PG_lru"), q.bit("PG_swapcache"), q.bit("PG_swapbacked")
	l.privateBit, l.poison, l.reserved = q.bit("PG_private"), q.bit("PG_hwpoison"), q.bit("PG_reserved")
	if l.lru == 0 {
		return &layout.MissingError{What: "NUMBER(PG_lru)"}
	}
	if v, ok := q.info.Number("PG_head_mask"); ok {
		l.compound = uint64(v)
	} else {
		l.compound = q.bit("PG_head")
	}
	// 6.10 made slab a page type; the flag of that name is gone.
	l.slab = q.bit("PG_slab")
	// The flags before PG_lru have kept their order in all versions.
	if l.dirty = q.bit("PG_dirty"); l.dirty == 0 {
		l.dirty = l.lru >> 1
	}
	if l.writeback = q.bit("PG_writeback"); l.writeback == 0 {
		if q.info.AtLeast(6, 7) {
			l.writeback = 1 << 1 // moved to bit 1
		} else {
			l.writeback = l.privateBit << 2 // behind PG_private_2
		}
	}
	return nil
}

func (l *pageLayout) readTypes(q *layoutReader) {
	l.buddy = q.pageType("PAGE_BUDDY_MAPCOUNT_VALUE")
	l.offline = q.pageType("PAGE_OFFLINE_MAPCOUNT_VALUE")
	l.slabType = q.pageType("PAGE_SLAB_MAPCOUNT_VALUE")
	l.unaccepted = q.pageType("PAGE_UNACCEPTED_MAPCOUNT_VALUE")
	l.hugetlbType = q.pageType("PAGE_HUGETLB_MAPCOUNT_VALUE")
	l.readTableType(q)
	l.maxBuddy = 11
	if v, ok := q.info.Length("zone.free_area"); ok && v > 0 && v <= 32 {
		l.maxBuddy = v
	}
}

// readTableType finds the type of page tables, which VMCOREINFO does not tell.
// Since 6.11 it is the number PGTY_table in the top byte; before, it is a bit
// that is clear in a value whose upper bits are set.
func (l *pageLayout) readTableType(q *layoutReader) {
	if q.types != nil {
		if v, err := q.types.Enum("pagetype", "PGTY_table"); err == nil {
			l.tableType, l.tableMask = int32(uint32(v)<<24), -1<<24
			return
		}
		if v, err := q.types.Enum("pagetype", "PG_table"); err == nil { // 6.10
			l.tableMask = int32(uint32(0x80000000 | v))
			l.tableType = -1 << 31
			return
		}
	}
	if l.buddy != ^0x80 || q.info.AtLeast(6, 10) {
		return
	}
	bit := int32(0x200)
	if !q.info.AtLeast(5, 11) {
		bit = 0x400 // 0x200 marked pages that are charged to a cgroup
	}
	l.tableMask, l.tableType = -1<<28|bit, -1<<28
}

func (l *pageLayout) readCompound(q *layoutReader) {
	at := func(v uint64, ok bool) (uint64, bool) { return v, ok && v < 4*l.size }
	// The offsets of struct folio count from the head, those of struct page
	// from the first tail.
	tail := func(member string) (uint64, bool) {
		v, ok := q.info.Offset("page." + member)
		return at(v+l.size, ok)
	}
	folio := func(member string) (uint64, bool) { return at(q.info.Offset("folio." + member)) }

	if _, ok := q.info.Number("PAGE_HUGETLB_MAPCOUNT_VALUE"); ok {
		l.order, l.hugetlb = orderFlags, hugetlbPageType
	} else if bit := q.bit("PG_hugetlb"); bit != 0 && q.info.Has("NUMBER(PG_hugetlb)") {
		l.order, l.hugetlb, l.hugetlbVal = orderFlags, hugetlbFlag, bit
	} else {
		if v, ok := folio("_folio_order"); ok {
			l.order, l.orderAt = orderByte, v
		} else if v, ok := tail("compound_order"); ok {
			l.order, l.orderAt = orderByte, v
		}
		dtor, known := q.info.Number("HUGETLB_PAGE_DTOR")
		v, ok := folio("_folio_dtor")
		if !ok {
			v, ok = tail("compound_dtor")
		}
		if ok && known {
			l.hugetlb, l.dtorAt, l.hugetlbVal = hugetlbDtor, v, uint64(dtor)
		}
	}
	mapped := func(member string) uint64 {
		v, ok := q.field("folio", member)
		if v, ok = at(v, ok && v >= l.size); !ok || v+4 > 4*l.size {
			return 0
		}
		return v
	}
	l.entireMapcount, l.largeMapcount = mapped("_entire_mapcount"), mapped("_large_mapcount")
	if l.mappedPages = mapped("_nr_pages_mapped"); l.mappedPages == 0 {
		l.mappedPages = mapped("_subpages_mapcount") // 6.2
	}
	if l.entireMapcount == 0 {
		// Until 6.1 in the first tail.
		if v, ok := q.field("page", "compound_mapcount"); ok && v+4 <= l.size {
			l.entireMapcount = v + l.size
		}
	}
}
