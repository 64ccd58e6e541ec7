package dumpkind

import (
	"slices"

	"procdump/arch"
	"procdump/snapshot"
)

// pages collects page addresses without remembering each one many times: a
// small cache of those just seen catches nearly all repeats.
type pages struct {
	list  []uint64
	cache [4096]uint64
	shift uint
	max   int
	skip  []snapshot.Range // in the dump anyway
}

func (ps *pages) add(page uint64) {
	slot := &ps.cache[page>>ps.shift&uint64(len(ps.cache)-1)]
	if *slot == page || len(ps.list) >= ps.max {
		return
	}
	*slot = page
	if !inAny(ps.skip, page) {
		ps.list = append(ps.list, page)
	}
}

// pointers collects the pages that registers and stack words point at.
type pointers struct {
	s     *selector
	pages pages
	word  int
	low   uint64           // what may be pointed at: from here
	span  uint64           // so many bytes
	last  *snapshot.Region // of the last hit: words of a stack cluster
}

// newPointers leaves out pages that are in the dump anyway.
func (s *selector) newPointers(skip []snapshot.Range) *pointers {
	ps := &pointers{s: s, word: s.p.Machine().PointerSize(),
		pages: pages{shift: 12, max: 4 * pointedBudget / int(s.page), skip: skip}}
	const lowest = 0x10000
	for i := range s.p.Regions {
		if g := &s.p.Regions[i]; g.End() > lowest && s.worth(g) {
			if ps.low == 0 {
				ps.low = max(g.Addr, lowest)
			}
			ps.span = g.End() - ps.low
		}
	}
	return ps
}

func (ps *pointers) registers(r *arch.Registers) {
	gp := r.Set(arch.NT_PRSTATUS)
	ps.words(gp[:min(len(gp), r.Machine.GPSize())])
	ps.add(r.TLS())
}

func (ps *pointers) words(b []byte) {
	for w := ps.word; len(b) >= w && w > 0; b = b[w:] {
		ps.add(word(b, w))
	}
}

// add takes a word, which is no address in most cases.
func (ps *pointers) add(v uint64) {
	if v-ps.low < ps.span {
		ps.follow(v)
	}
}

// follow takes the pages round an address.
func (ps *pointers) follow(v uint64) {
	s := ps.s
	if ps.last == nil || !ps.last.Contains(v) {
		i := s.p.FindRegion(v)
		if i < 0 {
			return
		}
		ps.last = &s.p.Regions[i]
	}
	g := ps.last
	if !s.worth(g) {
		return
	}
	lo := max(v-min(v, pointedBefore), g.Addr) &^ (s.page - 1)
	for hi := min(v+pointedAfter, g.End()); lo < hi; lo += s.page {
		ps.pages.add(lo)
	}
}

// pointedBatch is how many pages are looked up at a time.
const pointedBatch = 1024

// affordable keeps of pages, the most important of which come first, those that
// exist and that no file on disk holds, up to the budget. Threads are read in
// order, so that the blamed one's are in before the budget is spent.
func (s *selector) affordable(pages []uint64) ([]snapshot.Range, error) {
	var out []snapshot.Range
	budget := uint64(pointedBudget)
	for batch := range slices.Chunk(pages, pointedBatch) {
		rs := make([]snapshot.Range, len(batch))
		for i, p := range batch {
			rs[i] = snapshot.Range{Addr: p, Size: s.page}
		}
		some, err := s.inMemory(snapshot.MergeRanges(rs, 0))
		if err != nil {
			return nil, err
		}
		out = snapshot.MergeRanges(out, 0)
		for _, r := range subtract(some, out) { // a page may be in several batches
			r.Size = min(r.Size, budget)
			budget -= r.Size
			out = append(out, r)
			if budget == 0 {
				return out, nil
			}
		}
	}
	return out, nil
}

// worth tells whether pages of a region may belong to a mini dump.
func (s *selector) worth(g *snapshot.Region) bool {
	return g.Perm&snapshot.Read != 0 && excluded(g, s.o.DontDump) == "" && g.Flags&snapshot.RemoteFile == 0 && g.Path != "[vdso]"
}

// inMemory keeps of ranges the pages that exist and that are private to the
// process or shared memory.
func (s *selector) inMemory(rs []snapshot.Range) ([]snapshot.Range, error) {
	var out []snapshot.Range
	const span = 16 << 20
	for i := 0; i < len(rs); {
		j := i + 1
		for j < len(rs) && rs[j].End()-rs[i].Addr <= span {
			j++
		}
		xs, err := s.p.Memory.Extents(snapshot.Range{Addr: rs[i].Addr, Size: rs[j-1].End() - rs[i].Addr})
		if err != nil {
			return nil, err
		}
		k := i
		for _, x := range xs {
			if !s.keeps(x) {
				continue
			}
			for k < j && rs[k].End() <= x.Addr {
				k++
			}
			for l := k; l < j && rs[l].Addr < x.End(); l++ {
				out = append(out, rs[l].Intersect(x.Range))
			}
		}
		i = j
	}
	return out, nil
}

func (s *selector) keeps(x snapshot.Extent) bool {
	if x.Kind&(snapshot.ExtentPresent|snapshot.ExtentSwapped) == 0 || x.Kind&snapshot.ExtentZero != 0 {
		return false
	}
	if x.Anonymous() {
		return true
	}
	i := s.p.FindRegion(x.Addr)
	return i >= 0 && (s.p.Regions[i].Perm&snapshot.Shared != 0 || s.p.Regions[i].Deleted)
}
