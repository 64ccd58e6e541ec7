package heap

// mappedFlag is set in the size of blocks that have a mapping of their own.
const mappedFlag = 2

// walk goes from block to block through the memory of an arena, used and free, to
// find one whose head was overwritten.
func (r *reader) walk(a *Arena) {
	if a.last == r.self(a.Addr, 1) || !r.writable(a.last) {
		return
	}
	if a.Main {
		// What lies before and behind memory that others took with sbrk(2) is not
		// one piece: nobody knows where the last one begins.
		if i := r.process.FindRegion(a.last); r.base != 0 && r.process.FindRegion(r.base) == i && r.base < a.last {
			r.piece(a, r.aligned(r.base), a.last)
		}
		return
	}
	for i := range a.heaps {
		h := a.heaps[i]
		first, end := h.Addr+a.head, h.End()
		if h.Contains(a.Addr) {
			// struct malloc_state has one word less where it does not count threads.
			first = a.Addr + r.size()
			if a.Threads < 0 {
				first -= r.word
			}
		}
		if h.Contains(a.last) {
			end = a.last
		}
		r.piece(a, r.aligned(first), end)
	}
}

// aligned is the first address from addr on that a block may have.
func (r *reader) aligned(addr uint64) uint64 {
	return (addr+2*r.word+r.align-1)&^(r.align-1) - 2*r.word
}

// piece goes through blocks that follow each other. One that cannot grow any more
// ends with a block of two words, and perhaps one of none (sysmalloc).
func (r *reader) piece(a *Arena, at, end uint64) {
	var last uint64 // size of the block before this one
	for at < end && !r.spent() {
		var before, size uint64
		if !r.words(at, &before, &size) {
			return
		}
		bits := size & flags
		size &^= flags
		if size == 2*r.word && bits&mappedFlag == 0 || size == 0 && bits == inUse && end-at <= 8*r.word {
			return
		}
		wrong := ""
		switch {
		case size < 4*r.word, size%r.align != 0, size > end-at, bits&mappedFlag != 0:
			wrong = r.shown(size | bits)
		case last != 0 && bits&inUse == 0 && before != last:
			wrong = r.shown(before) + " and " + r.shown(size|bits)
		}
		if wrong != "" {
			if last == 0 {
				a.damaged(at, "the first block, %#x, has %s as size", at, wrong)
				return
			}
			a.damaged(at, "behind the %d bytes that malloc gave out at %#x stands %s where the size of the next block should be",
				last-r.word, at-last+2*r.word, wrong)
			return
		}
		last = size
		at += size
	}
}
