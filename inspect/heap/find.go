package heap

import "procdump/snapshot"

// Limits of the search for the main arena.
const (
	maxData  = 2 << 20 // bytes of variables
	maxTries = 256     // places that look like an empty bin
	maxSteps = 1 << 16 // arenas that are looked at
)

// find looks for the main arena among a library's variables, by its shape, and
// sets the layout; 0: it is not there. An empty bin has twice its own address,
// less two words. The list of arenas leads from the main one, perhaps through
// others, back to it.
func (r *reader) find(data []snapshot.Range) uint64 {
	left, tries, steps := uint64(maxData), 0, maxSteps
	for _, part := range data {
		part.Size = min(part.Size, left)
		left -= part.Size
		b, ok := r.bytes(part.Addr, part.Size&^(r.word-1))
		if !ok {
			continue
		}
		for at := uint64(0); at+2*r.word <= uint64(len(b)); at += r.word {
			if self := part.Addr + at - 2*r.word; r.number(b, at) != self || r.number(b, at+r.word) != self {
				continue
			}
			if arena := r.around(b, part.Addr, at, &steps); arena != 0 {
				return arena
			}
			if tries++; tries == maxTries || steps <= 0 {
				return 0
			}
		}
	}
	return 0
}

// around finds the arena whose empty bin lies at an offset in b, which is memory
// from base on.
func (r *reader) around(b []byte, base, at uint64, steps *int) uint64 {
	for _, l := range layouts(r.word) {
		for i := uint64(0); i < bins; i++ {
			before := l.bins() + 2*i*l.word // from the arena to this bin
			if at < before || at-before+l.size() > uint64(len(b)) {
				continue
			}
			arena, content := base+at-before, b[at-before:]
			if l.looksLike(content, arena) && r.closed(arena, l.number(content, l.next()), &l, steps) {
				r.layout = l
				return arena
			}
		}
	}
	return 0
}

// closed tells whether the list of arenas leads back to the first.
func (r *reader) closed(first, next uint64, l *layout, steps *int) bool {
	for n := 0; n < maxArenas && *steps > 0; n++ {
		if next == first {
			return true
		}
		*steps--
		if next == 0 || !r.words(next+l.next(), &next) {
			return false
		}
	}
	return false
}

// heapSizes are what heaps of other arenas than the main one are aligned to:
// HEAP_MAX_SIZE, or four huge pages where these were asked for (malloc/arena.c).
func (r *reader) heapSizes() []uint64 {
	if r.word == 4 {
		return []uint64{1 << 20, 8 << 20, 16 << 20}
	}
	return []uint64{64 << 20, 8 << 20, 4 << 30}
}

// arenas reads the list of arenas from the main one on.
func (r *reader) arenas(h *Heap, main uint64) {
	seen := map[uint64]bool{}
	for at := main; ; {
		b, ok := r.bytes(at, r.size())
		switch {
		case !ok && r.writable(at):
			return // the dump does not hold it
		case !ok, at != main && !r.looksLike(b, at):
			h.Damages = append(h.Damages, Damage{at, "the list of arenas leads to what is none"})
			return
		case len(h.Arenas) == maxArenas:
			return
		}
		seen[at] = true
		h.Arenas = append(h.Arenas, r.arena(b, at, at == main))
		if at = r.number(b, r.next()); at == main {
			return
		}
		if seen[at] {
			h.Damages = append(h.Damages, Damage{at, "the list of arenas is a circle without the main arena"})
			return
		}
	}
}

// arena reads what an arena says of itself.
func (r *reader) arena(b []byte, addr uint64, main bool) Arena {
	a := Arena{Addr: addr, Main: main, Threads: -1, Locked: b[0] != 0, contents: b, last: r.number(b, r.top())}
	const least = 32 << 10 // bytes that an arena has (HEAP_MIN_SIZE): more than it has threads
	at := r.next() + 2*r.word
	first, second, third := r.number(b, at), r.number(b, at+r.word), r.number(b, at+2*r.word)
	if first < least {
		a.Threads, a.Bytes, a.Peak = int(first), second, third
	} else { // before 2.23
		a.Bytes, a.Peak = first, second
	}
	if main {
		a.Heaps = 1
	} else {
		r.findHeaps(&a)
	}
	return a
}

// findHeaps finds the heaps of an arena, from the one that has its top block to
// the first, which begins with the arena.
func (r *reader) findHeaps(a *Arena) {
	for _, size := range r.heapSizes() {
		var all []snapshot.Range
		for at := a.last &^ (size - 1); len(all) < maxHeaps; {
			var arena, previous, bytes uint64
			if at == 0 || !r.words(at, &arena, &previous, &bytes) || arena != a.Addr {
				break
			}
			all = append(all, snapshot.Range{Addr: at, Size: min(bytes, size)})
			if previous == 0 {
				a.heaps, a.Heaps, a.head = all, len(all), a.Addr-at
				return
			}
			at = previous
		}
	}
}

// defaultMaps is how many blocks may have mappings of their own, if the program
// did not choose (DEFAULT_MMAP_MAX).
const defaultMaps = 65536

// mapped reads of struct malloc_par how many blocks have mappings of their own.
// Its end has moved with the versions:
//
//	trim_threshold, top_pad, mmap_threshold, arena_test, arena_max
//	thp_pagesize, hp_pagesize, int hp_flags   (from 2.35 on; thp_mode before them in later ones)
//	int n_mmaps, n_mmaps_max, max_n_mmaps, no_dyn_threshold
//	mmapped_mem, max_mmapped_mem
//	max_total_mem   (up to 2.23; 0)
//	sbrk_base
func (r *reader) mapped(h *Heap, parameters uint64, data []snapshot.Range) {
	const most = 160 // bytes
	if parameters != 0 {
		if b, ok := r.bytes(parameters, most); ok {
			r.parameters(h, b, false)
		}
		return
	}
	left := uint64(maxData)
	for _, part := range data {
		part.Size = min(part.Size, left)
		left -= part.Size
		b, ok := r.bytes(part.Addr, part.Size)
		for ok && len(b) >= most && !r.parameters(h, b, true) {
			b = b[r.word:]
		}
	}
}

// parameters reads a struct malloc_par, if b begins with one. strict asks for the
// numbers that it has in programs that did not change them.
func (r *reader) parameters(h *Heap, b []byte, strict bool) bool {
	const page, trim = 4096, 128 << 10 // DEFAULT_TRIM_THRESHOLD, which only grows
	test := uint64(8)                  // arenas that are made before processors are counted (NARENAS_FROM_NCORES)
	if r.word == 4 {
		test = 2
	}
	if strict && (r.number(b, 0) < trim || r.number(b, 3*r.word) != test) {
		return false
	}
	for _, at := range []uint64{5 * r.word, 7*r.word + 4, 8*r.word + 4} {
		count, limit := r.int(b, at), r.int(b, at+4)
		peak, dynamic := r.int(b, at+8), r.int(b, at+12)
		sum := (at + 16 + r.word - 1) &^ (r.word - 1)
		bytes, most := r.number(b, sum), r.number(b, sum+r.word)
		if limit <= 0 || limit != defaultMaps && strict || count < 0 || peak < count || dynamic < 0 || dynamic > 1 ||
			bytes%page != 0 || bytes > most || (count == 0) != (bytes == 0) {
			continue
		}
		h.Mapped, h.MappedBytes, h.MappedKnown = int(count), bytes, true
		if r.base = r.number(b, sum+2*r.word); r.base == 0 {
			r.base = r.number(b, sum+3*r.word)
		}
		return true
	}
	return false
}

func (r *reader) int(b []byte, at uint64) int32 {
	l := layout{word: 4}
	return int32(l.number(b, at))
}
