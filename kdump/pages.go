package kdump

import (
	"iter"
	"slices"
	"sort"
)

// PageState says whether the contents of a page are in the dump.
type PageState uint8

// States of a page.
const (
	PageAbsent   PageState = iota // no RAM
	PageExcluded                  // RAM, but left out of the dump
	PagePresent
)

// String returns "absent", "excluded" or "present".
func (s PageState) String() string {
	switch s {
	case PageExcluded:
		return "excluded"
	case PagePresent:
		return "present"
	}
	return "absent"
}

// PageRun is a range of pages of one state, PFN up to PFN+Count-1. A page
// frame number (PFN) is a physical address divided by the page size.
type PageRun struct {
	PFN, Count uint64
	State      PageState
}

// PageMap is what a Memory implements that knows which of its pages are there.
//
// PageRuns yields, in ascending order, the runs of present and of excluded
// pages in [from, to); what it does not yield is absent. Two runs that follow
// each other may have the same state. A source for hundreds of GiB answers
// from bitmaps, without reading pages.
type PageMap interface {
	PageRuns(from, to uint64) iter.Seq[PageRun]
}

// PageRuns yields the runs of present and excluded pages in [from, to). Of a
// memory that is no PageMap all RAM counts as present.
func (d *Dump) PageRuns(from, to uint64) iter.Seq[PageRun] {
	if m, ok := d.Memory.(PageMap); ok {
		return m.PageRuns(from, to)
	}
	return func(yield func(PageRun) bool) {
		size := uint64(max(d.PageSize, 1))
		for _, r := range d.Runs {
			first, end := max(r.Addr/size, from), min((r.End()+size-1)/size, to)
			if first < end && !yield(PageRun{first, end - first, PagePresent}) {
				return
			}
		}
	}
}

// Present yields the runs of pages whose contents are in the dump: what a
// writer takes as the wanted pages to convert a dump as it is.
func (d *Dump) Present() iter.Seq[PageRun] {
	return func(yield func(PageRun) bool) {
		for r := range d.PageRuns(0, d.MaxPFN()) {
			if r.State == PagePresent && !yield(r) {
				return
			}
		}
	}
}

// HeldPageRuns yields what PageMap's PageRuns does for a memory that is the
// given RAM, of which held is in the dump. Both are in ascending order and
// disjoint. A page of which a part is there counts as present.
func HeldPageRuns(ram, held []Run, pageSize, from, to uint64) iter.Seq[PageRun] {
	behind := func(runs []Run) int {
		return sort.Search(len(runs), func(i int) bool { return (runs[i].End()-1)/pageSize >= from })
	}
	return func(yield func(PageRun) bool) {
		held, pfn := held[behind(held):], from
		for _, r := range ram[behind(ram):] {
			if r.Addr/pageSize >= to {
				return
			}
			end := min((r.End()-1)/pageSize+1, to)
			for pfn = max(pfn, r.Addr/pageSize); pfn < end; {
				for len(held) > 0 && (held[0].End()-1)/pageSize < pfn {
					held = held[1:]
				}
				run := PageRun{PFN: pfn, Count: end - pfn, State: PageExcluded}
				if len(held) > 0 {
					if first := held[0].Addr / pageSize; first <= pfn {
						run.State, run.Count = PagePresent, min(end, (held[0].End()-1)/pageSize+1)-pfn
					} else {
						run.Count = min(end, first) - pfn
					}
				}
				if !yield(run) {
					return
				}
				pfn += run.Count
			}
		}
	}
}

// NormalizeRuns sorts runs and joins those that touch or overlap.
func NormalizeRuns(runs []Run) []Run {
	runs = slices.DeleteFunc(slices.Clone(runs), func(r Run) bool { return r.Size == 0 })
	slices.SortFunc(runs, func(a, b Run) int {
		switch {
		case a.Addr < b.Addr:
			return -1
		case a.Addr > b.Addr:
			return 1
		}
		return 0
	})
	out := runs[:0]
	for _, r := range runs {
		if r.Addr+r.Size < r.Addr {
			r.Size = -r.Addr // up to the end of the address space
		}
		if n := len(out); n > 0 && (r.Addr <= out[n-1].End() || out[n-1].End() < out[n-1].Addr) {
			if out[n-1].End() >= out[n-1].Addr && (r.End() > out[n-1].End() || r.End() == 0) {
				out[n-1].Size = r.End() - out[n-1].Addr
			}
			continue
		}
		out = append(out, r)
	}
	return out
}
