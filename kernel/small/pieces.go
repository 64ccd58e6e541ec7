package small

import (
	"cmp"
	"slices"

	"procdump/kernel/layout"
)

// Sizes of ELF-64 headers in bytes.
const (
	ehdrSize = 64
	phdrSize = 56
)

// piece is a range of virtual memory that becomes a PT_LOAD: data, and zeros
// behind it that take no room in the file.
type piece struct {
	va, pa uint64
	data   []byte
	zero   uint64
}

func (p *piece) size() uint64 { return uint64(len(p.data)) + p.zero }
func (p *piece) end() uint64  { return p.va + p.size() }

// cost is what the piece takes in the file, its program header included.
func (p *piece) cost() int { return phdrSize + len(p.data) }

// pieces are ranges of virtual memory, in ascending order and disjoint.
type pieces struct {
	space *layout.Space
	list  []piece
	cost  int
	err   error // why the first byte that could not be read could not
}

// dataSize is how many bytes the contents of all pieces take in the file.
func (p *pieces) dataSize() int { return p.cost - phdrSize*len(p.list) }

// add reads n bytes at va, less what is there already, while the cost stays
// within limit. It returns how many bytes from va on are there, up to the first
// that is not; what follows an unreadable page is there all the same.
func (p *pieces) add(va, n uint64, limit int) uint64 {
	const most = 1 << 20 // no object is larger; a damaged length may be
	if n == 0 || n > most || va+n < va {
		return 0
	}
	from, to := p.widen(va, va+n)
	for at := from; at < to; {
		if i, ok := p.find(at); ok && len(p.list[i].data) > 0 && at < p.list[i].va+uint64(len(p.list[i].data)) {
			at = p.list[i].end()
			continue
		}
		end := to
		if i, _ := p.find(at); i < len(p.list) && p.list[i].va > at {
			end = min(end, p.list[i].va)
		}
		at = p.read(at, end, limit)
		if at == 0 {
			break
		}
	}
	return p.covered(va, n)
}

// read adds [va, end), of which nothing is there, as far as one mapping goes,
// and returns where to go on; 0 if the limit is reached.
func (p *pieces) read(va, end uint64, limit int) uint64 {
	page := p.space.PageSize()
	next := min(end, va|(page-1)+1)
	pa, run, err := p.space.Translate(va)
	if err != nil {
		p.fail(err)
		return next
	}
	n := min(end-va, run)
	room := limit - p.cost - phdrSize
	if i, _ := p.find(va); i > 0 && p.list[i-1].zero == 0 && p.list[i-1].end() == va && p.list[i-1].pa+p.list[i-1].size() == pa {
		room += phdrSize // it becomes a part of that
	}
	if room <= 0 {
		return 0
	}
	cut := uint64(room) < n
	data := make([]byte, min(n, uint64(room)))
	got, err := p.space.Phys().ReadPhys(data, pa)
	if got = max(got, 0); got > 0 {
		p.insert(piece{va: va, pa: pa, data: data[:got]})
	}
	switch {
	case got < len(data):
		if err != nil {
			p.fail(err)
		}
		return min(end, (va+uint64(got))|(page-1)+1)
	case cut:
		return 0
	}
	return va + n
}

func (p *pieces) fail(err error) {
	if p.err == nil {
		p.err = err
	}
}

// widen rounds a range to words and closes gaps to its neighbours that cost
// less than a program header.
func (p *pieces) widen(from, to uint64) (uint64, uint64) {
	from &^= 7
	if up := (to + 7) &^ 7; up > to {
		to = up
	}
	i, _ := p.find(from)
	if i > 0 && p.list[i-1].zero == 0 && p.list[i-1].end() <= from && from-p.list[i-1].end() < phdrSize {
		from = p.list[i-1].end()
	}
	if i, _ = p.find(to); i < len(p.list) && len(p.list[i].data) > 0 && p.list[i].va >= to && p.list[i].va-to < phdrSize {
		to = p.list[i].va
	}
	return from, to
}

// addZero makes the part of a range that is not there read as zeros. Nothing
// may be added to it later.
func (p *pieces) addZero(r layout.Range, limit int) {
	if r.Size == 0 || r.End() < r.Addr {
		return
	}
	var pending piece // ranges that touch, before they are inserted
	flush := func() bool {
		if pending.zero > 0 {
			if p.cost+phdrSize > limit {
				return false
			}
			p.insert(pending)
		}
		pending = piece{}
		return true
	}
	for at := r.Addr; at < r.End(); {
		i, ok := p.find(at)
		if ok {
			at = p.list[i].end()
			continue
		}
		end := r.End()
		if i < len(p.list) {
			end = min(end, p.list[i].va)
		}
		pa, run, err := p.space.Translate(at)
		if err != nil {
			p.fail(err)
			break
		}
		n := min(end-at, run)
		if pending.zero > 0 && pending.end() == at && pending.pa+pending.zero == pa {
			pending.zero += n
		} else if flush() {
			pending = piece{va: at, pa: pa, zero: n}
		} else {
			return
		}
		at += n
	}
	flush()
}

// pieceMark is a state of pieces.
type pieceMark struct {
	list []piece
	cost int
}

func (p *pieces) mark() pieceMark { return pieceMark{slices.Clone(p.list), p.cost} }

// reset goes back to a state.
func (p *pieces) reset(m pieceMark) { p.list, p.cost = m.list, m.cost }

// find returns the piece that holds va, or where one would be inserted.
func (p *pieces) find(va uint64) (int, bool) {
	return slices.BinarySearchFunc(p.list, va, func(e piece, va uint64) int {
		switch {
		case e.end() <= va:
			return -1
		case e.va > va:
			return 1
		}
		return 0
	})
}

// insert adds a piece of which nothing is there, and joins it with its
// neighbours where their physical addresses, too, touch.
func (p *pieces) insert(e piece) {
	i, _ := slices.BinarySearchFunc(p.list, e.va, func(e piece, va uint64) int { return cmp.Compare(e.va, va) })
	p.list = slices.Insert(p.list, i, e)
	p.cost += e.cost()
	p.join(i)
	if i > 0 {
		p.join(i - 1)
	}
}

// join joins piece i with the next one if they touch and the zeros come last.
func (p *pieces) join(i int) {
	if i+1 >= len(p.list) {
		return
	}
	a, b := &p.list[i], &p.list[i+1]
	if a.end() != b.va || a.pa+a.size() != b.pa || a.zero > 0 && len(b.data) > 0 {
		return
	}
	a.data = slices.Concat(a.data, b.data)
	a.zero += b.zero
	p.list = slices.Delete(p.list, i+1, i+2)
	p.cost -= phdrSize
}

// drop removes the largest piece.
func (p *pieces) drop() {
	most := 0
	for i := range p.list {
		if p.list[i].cost() > p.list[most].cost() {
			most = i
		}
	}
	p.cost -= p.list[most].cost()
	p.list = slices.Delete(p.list, most, most+1)
}

// covered is how many of the n bytes at va, from the first on, are there.
func (p *pieces) covered(va, n uint64) uint64 {
	at := va
	for at < va+n {
		i, ok := p.find(at)
		if !ok || at >= p.list[i].va+uint64(len(p.list[i].data)) {
			break
		}
		at = p.list[i].va + uint64(len(p.list[i].data))
	}
	return min(at-va, n)
}

// bytes returns n bytes at va that are there.
func (p *pieces) bytes(va, n uint64) []byte {
	i, ok := p.find(va)
	if !ok {
		return nil
	}
	off := va - p.list[i].va
	if off+n > uint64(len(p.list[i].data)) {
		return nil
	}
	return p.list[i].data[off : off+n]
}
