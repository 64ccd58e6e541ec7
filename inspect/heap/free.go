package heap

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"
)

// mangling is how the links of the fast bins are stored: from glibc 2.32 on
// combined with their own address (PROTECT_PTR).
type mangling int

const (
	notKnown mangling = iota
	plain
	mangled
)

// Flags in the size of a block.
const (
	inUse = 1 // the block before this one
	flags = 7
)

// block is the head of a block that is free.
type block struct {
	before         uint64 // size of the free block before it
	size           uint64
	flags          uint64
	next, previous uint64
}

// verdict tells why a list is not followed further.
type verdict int

const (
	whole verdict = iota
	cut           // at a limit, or where the dump has no memory
	broken
)

// lists looks at the free blocks of an arena but the last.
func (r *reader) lists(a *Arena) {
	for i := range r.fastLen {
		r.fastBin(a, i)
	}
	for i := uint64(1); i <= bins; i++ {
		r.binned(a, i)
	}
	a.Partial = a.Partial || len(a.Damages) > 0
}

// shown is a number; as text, too, if it looks like one that was written there.
func (r *reader) shown(n uint64) string {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], n)
	text := string(b[:r.word])
	if strings.IndexFunc(text, func(c rune) bool { return c < ' ' || c > '~' }) < 0 {
		return fmt.Sprintf("%#x (%q)", n, text)
	}
	return fmt.Sprintf("%#x", n)
}

func (a *Arena) damaged(addr uint64, format string, args ...any) verdict {
	if len(a.Damages) < maxDamages {
		a.Damages = append(a.Damages, Damage{addr, fmt.Sprintf(format, args...)})
	}
	return broken
}

// spent counts one more block that is looked at, and tells whether it is one too
// many.
func (r *reader) spent() bool {
	if r.left <= 0 || r.left%64 == 0 && time.Now().After(r.until) {
		r.left = 0
		return true
	}
	r.left--
	return false
}

// block reads the block at an address to which name leads.
func (r *reader) block(a *Arena, name string, addr uint64) (b block, v verdict) {
	if r.spent() {
		a.Partial = true
		return b, cut
	}
	if (addr+2*r.word)%r.align != 0 || !r.writable(addr) {
		return b, a.damaged(addr, "%s leads to %s, where no block can be", name, r.shown(addr))
	}
	if !r.words(addr, &b.before, &b.size, &b.next, &b.previous) {
		a.Partial = true
		return b, cut
	}
	b.size, b.flags = b.size&^flags, b.size&flags
	return b, whole
}

// topBlock looks at the block at the arena's end. What it must be is what the
// allocator asserts itself (sysmalloc): its end is that of a page, and the block
// before it is in use, for it would be part of it otherwise.
func (r *reader) topBlock(a *Arena) {
	if a.last == r.self(a.Addr, 1) {
		return // nothing was taken from it yet
	}
	const name, page = "the pointer to the last block", 4096
	b, v := r.block(a, name, a.last)
	if v != whole {
		return
	}
	if b.size < 4*r.word || b.size > a.Bytes || b.flags&inUse == 0 || (a.last+b.size)%page != 0 {
		a.damaged(a.last, "the last block, %#x, which is free, cannot have %s as size", a.last, r.shown(b.size|b.flags))
		return
	}
	a.Top = b.size
}

// fastBin follows a list of small blocks, which have one size and are linked in
// one direction.
func (r *reader) fastBin(a *Arena, i uint64) {
	size := (i + 2) * 2 * r.word
	name := fmt.Sprintf("a list of free blocks of %d bytes (fast bin)", size)
	var sum uint64
	count := 0
	// A block that was freed twice makes a circle: one of them that is marked is
	// met again, however long the way to it is (Brent's algorithm).
	var mark uint64
	for at, until := r.number(a.contents, r.fast+i*r.word), 1; at != 0; {
		if at == mark {
			a.damaged(at, "block %#x is twice in %s", at, name)
			return
		}
		b, v := r.block(a, name, at)
		if v == whole && b.size != size {
			v = a.damaged(at, "in %s block %#x has %s as size", name, at, r.shown(b.size|b.flags))
		}
		if v != whole {
			break
		}
		sum, count = sum+size, count+1
		if count == until {
			mark, until = at, 2*until
		}
		at = r.link(b.next, at+2*r.word)
	}
	a.Fast, a.FastBlocks = a.Fast+sum, a.FastBlocks+count
}

// link is where the link of a fast bin that is stored at an address leads.
func (r *reader) link(stored, at uint64) uint64 {
	open := stored ^ at>>12
	possible := func(p uint64) bool { return p == 0 || (p+2*r.word)%r.align == 0 && r.writable(p) }
	if r.mangled == notKnown && possible(stored) != possible(open) {
		r.mangled = plain
		if possible(open) {
			r.mangled = mangled
		}
	}
	if r.mangled == plain {
		return stored
	}
	return open
}

// binned follows one of the other lists, whose blocks are linked in both
// directions, from its end on: first that of blocks that were not sorted yet,
// then one for each size, then those for ranges of sizes.
func (r *reader) binned(a *Arena, i uint64) {
	self, at := r.self(a.Addr, i), r.bins()+2*(i-1)*r.word
	first, last := r.number(a.contents, at), r.number(a.contents, at+r.word)
	if first == self && last == self {
		return
	}
	exact := uint64(0)
	name := "a list of large free blocks"
	switch {
	case i == 1:
		name = "the list of free blocks that are not sorted yet"
	case i <= 1+smallBins:
		exact = r.smallSize(i)
		name = fmt.Sprintf("the list of free blocks of %d bytes", exact)
	}
	next := self
	for at := last; at != self; {
		b, v := r.block(a, name, at)
		if v == whole {
			v = r.sound(a, &b, name, at, next, exact)
		}
		if v != whole {
			return
		}
		a.Binned, a.BinnedBlocks = a.Binned+b.size, a.BinnedBlocks+1
		next, at = at, b.previous
	}
	if first != next {
		a.damaged(first, "%s begins with %s, and not with %#x", name, r.shown(first), next)
	}
}

// sound checks a block of a list as the allocator itself does before it takes one
// out (unlink_chunk).
func (r *reader) sound(a *Arena, b *block, name string, at, next, exact uint64) verdict {
	switch {
	case b.next != next:
		return a.damaged(at, "in %s block %#x leads to %s, and not to %#x, which leads to it", name, at, r.shown(b.next), next)
	case b.size < 4*r.word || b.size%r.align != 0 || b.size > a.Bytes, exact != 0 && b.size != exact:
		return a.damaged(at, "in %s block %#x has %s as size", name, at, r.shown(b.size|b.flags))
	}
	var before, size uint64
	if !r.words(at+b.size, &before, &size) {
		if r.writable(at + b.size) {
			return whole // the dump does not hold it
		}
		return a.damaged(at, "in %s block %#x of %#x bytes goes beyond its memory", name, at, b.size)
	}
	if before != b.size || size&inUse != 0 {
		return a.damaged(at+b.size, "the block behind the free block %#x of %#x bytes does not know of it: it says %s bytes%s",
			at, b.size, r.shown(before), map[bool]string{true: ", in use"}[size&inUse != 0])
	}
	return whole
}

// smallSize is the size of the blocks in a bin that has those of one size
// (smallbin_index). Where blocks are aligned to more than two words, the bins
// begin with one that is never used.
func (r *reader) smallSize(i uint64) uint64 {
	if r.align > 2*r.word {
		return (i - 1) * r.align
	}
	return i * r.align
}
