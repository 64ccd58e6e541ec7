package dumpkind

import (
	"encoding/binary"
	"math"
	"sort"

	"procdump/snapshot"
)

// scrubbed is memory as a triage dump shows it. Whoever reads it never sees
// more, so it can be a copy as well as the process itself.
type scrubbed struct {
	mem snapshot.Memory
	s   *scrubber
}

// Extents implements snapshot.Memory.
func (m *scrubbed) Extents(r snapshot.Range) ([]snapshot.Extent, error) { return m.mem.Extents(r) }

// ReadMemory implements snapshot.Memory.
func (m *scrubbed) ReadMemory(p []byte, addr uint64) (int, error) {
	w := uint64(m.s.word)
	if w == 0 {
		return 0, &snapshot.MemoryError{Addr: addr, Err: snapshot.ErrNotMapped}
	}
	// What a word may show depends on all of it.
	before := addr % w
	words := p
	if before != 0 || uint64(len(p))%w != 0 {
		words = make([]byte, alignUp(before+uint64(len(p)), w))
	}
	n, err := m.mem.ReadMemory(words, addr-before)
	m.s.overwrite(words[:n], addr-before)
	if before != 0 || len(words) != len(p) {
		n = copy(p, words[min(before, uint64(n)):n])
	}
	if n == len(p) {
		err = nil
	}
	return n, err
}

// ReadExtents implements snapshot.ExtentReader.
func (m *scrubbed) ReadExtents(p []byte, xs []snapshot.Extent) (bad []snapshot.Range, err error) {
	if er, ok := m.mem.(snapshot.ExtentReader); ok {
		bad, err = er.ReadExtents(p, xs)
	} else {
		rest := p
		for _, x := range xs {
			miss, xerr := snapshot.ReadExtent(m.mem, rest[:x.Size], x)
			if bad = append(bad, miss...); xerr != nil {
				err = xerr
				break
			}
			rest = rest[x.Size:]
		}
	}
	if err != nil {
		clear(p) // it is not scrubbed
		return bad, err
	}
	w := uint64(m.s.word)
	for _, x := range xs {
		if b := p[:x.Size]; w != 0 && x.Addr%w == 0 && x.Size%w == 0 {
			m.s.overwrite(b, x.Addr)
		} else {
			n, _ := m.ReadMemory(b, x.Addr) // pieces of words
			clear(b[n:])
		}
		p = p[x.Size:]
	}
	return bad, nil
}

// overwrite hides in b, the memory at addr, what must not be shown. addr is a
// multiple of the size of a word.
func (s *scrubber) overwrite(b []byte, addr uint64) {
	for off := uint64(0); off < uint64(len(b)); {
		at := addr + off
		r, end := s.rule(at)
		run := b[off:][:min(end-at, uint64(len(b))-off)]
		switch r {
		case showKept:
			s.keepOnly(run, at)
		case showZeros:
			clear(run)
		case showHarmless:
			s.harmlessOnly(run)
		case showNothing:
			s.zerosOnly(run)
		}
		off += uint64(len(run))
	}
	for i := sort.Search(len(s.hidden), func(i int) bool { return s.hidden[i].end() > addr }); i < len(s.hidden); i++ {
		n := s.hidden[i]
		c := snapshot.Range{Addr: addr, Size: uint64(len(b))}.Intersect(snapshot.Range{Addr: n.addr, Size: uint64(len(n.text))})
		if c.Size == 0 {
			break
		}
		copy(b[c.Addr-addr:], n.text[c.Addr-n.addr:][:c.Size])
	}
}

func (n *hiddenName) end() uint64 { return n.addr + uint64(len(n.text)) }

// rule is what of memory is shown.
type rule uint8

const (
	showNothing  rule = iota
	showKept          // what lies in keep
	showHarmless      // of a stack in use: what is no data
	showZeros         // below a stack pointer
)

// rule returns the rule for the word at addr and where, at the end of a word,
// it ceases to hold.
func (s *scrubber) rule(addr uint64) (r rule, end uint64) {
	w := uint64(s.word)
	end = math.MaxUint64 &^ (w - 1)
	if k, ok := rangeAfter(s.keep, addr); ok {
		if k.Addr < addr+w {
			return showKept, addr + w
		}
		end = k.Addr &^ (w - 1)
	}
	// The rule of a word's first byte is that of the word.
	for _, in := range [...]struct {
		ranges []snapshot.Range
		rule   rule
	}{{s.used, showHarmless}, {s.stacks, showZeros}} {
		k, ok := rangeAfter(in.ranges, addr)
		switch {
		case !ok:
		case k.Contains(addr):
			return in.rule, max(addr+w, min(end, alignUp(k.End(), w)))
		default:
			end = min(end, alignUp(k.Addr, w))
		}
	}
	return showNothing, max(addr+w, end)
}

// rangeAfter returns the first range that ends after addr.
func rangeAfter(rs []snapshot.Range, addr uint64) (snapshot.Range, bool) {
	i := sort.Search(len(rs), func(i int) bool { return rs[i].End() > addr })
	if i == len(rs) {
		return snapshot.Range{}, false
	}
	return rs[i], true
}

// alignUp rounds n up to a multiple of w, a power of two.
func alignUp(n, w uint64) uint64 { return (n + w - 1) &^ (w - 1) }

// keepOnly leaves of a word alone what lies in keep, and clears the rest.
func (s *scrubber) keepOnly(cell []byte, at uint64) {
	for k := range cell {
		if !inAny(s.keep, at+uint64(k)) {
			cell[k] = 0
		}
	}
}

// harmlessOnly leaves words alone that are small integers or addresses of stacks
// or code.
func (s *scrubber) harmlessOnly(run []byte) {
	var hit, miss snapshot.Range // of the last addresses: words of a stack cluster
	for ; len(run) >= s.word; run = run[s.word:] {
		v := word(run, s.word)
		if s.small(v) || hit.Contains(v) {
			continue
		}
		if !miss.Contains(v) {
			i := sort.Search(len(s.shown), func(i int) bool { return s.shown[i].End() > v })
			if i < len(s.shown) && s.shown[i].Contains(v) {
				hit = s.shown[i]
				continue
			}
			miss = gapBefore(s.shown, i)
		}
		deface(run[:s.word], s.word)
	}
	deface(run, s.word)
}

// gapBefore is what lies between the ranges before and at index i.
func gapBefore(rs []snapshot.Range, i int) snapshot.Range {
	low, high := uint64(0), uint64(math.MaxUint64)
	if i > 0 {
		low = rs[i-1].End()
	}
	if i < len(rs) {
		high = rs[i].Addr
	}
	return snapshot.Range{Addr: low, Size: high - low}
}

// zerosOnly overwrites all words that are not zero.
func (s *scrubber) zerosOnly(run []byte) {
	for ; len(run) >= s.word; run = run[s.word:] {
		if word(run, s.word) != 0 {
			deface(run[:s.word], s.word)
		}
	}
	deface(run, s.word)
}

// deface overwrites a word of w bytes or a piece of one.
func deface(cell []byte, w int) {
	var v [8]byte
	if w == 8 {
		binary.LittleEndian.PutUint64(v[:], defaced64)
	} else {
		binary.LittleEndian.PutUint32(v[:], defaced32)
	}
	copy(cell, v[:])
}
