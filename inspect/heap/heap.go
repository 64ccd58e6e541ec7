// Package heap reads what the GNU C library's allocator keeps of its memory: the
// arenas that threads take blocks from, how much of each is free, and where a
// list of free blocks is damaged.
//
// The allocator is that of glibc 2.17 and later (malloc/malloc.c,
// malloc/arena.c). An arena is a struct malloc_state; the main one is a variable
// of the library, each other one begins a heap of its own:
//
//	struct heap_info {arena, previous heap, size, …}, at a multiple of 64 MiB
//	struct malloc_state     of its first heap
//	blocks …
//	top                     the free block at the end
//
// A block ("chunk" there) that is free has, in words of the machine,
//
//	size of the free block before it, its own size and three flags,
//	the next free block, the previous one
//
// and one in use only its own size. Only these are read, and not what lies in
// blocks. Blocks in the caches that threads have (tcache)
// count as used, as in malloc_info(3).
package heap

import (
	"encoding/binary"
	"errors"
	"time"

	"procdump/snapshot"
)

// Limits of what is looked at.
const (
	maxArenas  = 4096 // 8 a processor are made (mallopt(3), M_ARENA_MAX)
	maxHeaps   = 1 << 16
	maxDamages = 4 // that are told of one arena
)

// Limit bounds how much is done: what is free beyond it is not counted.
type Limit struct {
	Blocks int // blocks that are looked at
	Time   time.Duration
	// Walk says that used blocks are looked at, too.
	Walk bool
}

// ErrUnknown means that the variable does not look like an arena.
var ErrUnknown = errors.New("the main arena of the C library's allocator is damaged or of a version that is not known")

// Heap is all that the allocator has.
type Heap struct {
	Arenas []Arena // [0] is the main one
	// Mapped blocks are too large for an arena and have mappings of their own.
	Mapped      int
	MappedBytes uint64
	MappedKnown bool
	// Damages are those of the list of arenas.
	Damages []Damage
}

// Arena is one arena. Sizes are bytes.
type Arena struct {
	Addr    uint64 // of its struct malloc_state
	Main    bool
	Threads int // that take blocks from it; -1 if it is not known
	Heaps   int // 0 if it is not known
	// Bytes are those that it has from the system, Peak how many they were at most.
	Bytes, Peak uint64
	// Top is the free block at its end. Fast and Binned are those in its lists,
	// and how many there are.
	Top, Fast, Binned        uint64
	FastBlocks, BinnedBlocks int
	Locked                   bool // a thread is at work in it
	Partial                  bool // not all free blocks were looked at
	Damages                  []Damage

	contents []byte // of its struct malloc_state
	last     uint64 // its top block
	heaps    []snapshot.Range
	head     uint64 // size of struct heap_info
}

// Free is what of the arena is free.
func (a *Arena) Free() uint64 { return a.Top + a.Fast + a.Binned }

// Damage is a place where the allocator's records contradict each other.
type Damage struct {
	Addr uint64
	Text string // a sentence's end: "the list of …"
}

// Memory reads the process's memory.
type Memory interface {
	ReadMemory(p []byte, addr uint64) (int, error)
}

// layout is where the fields of a struct malloc_state lie.
type layout struct {
	word    uint64 // size of a pointer
	fast    uint64 // offset of the fast bins; before them are lock and flags
	fastLen uint64 // their number
	align   uint64 // of blocks
}

// Numbers of bins, and of bytes that tell which have blocks.
const (
	bins      = 127
	smallBins = 62 // from the second one on
	binMap    = 16
)

// layouts are those of the versions of glibc. From 2.27 on there is a word more
// before the fast bins (have_fastchunks), and from 2.26 on blocks of i386 are
// aligned to 16 bytes, for which there is one more fast bin.
func layouts(word uint64) []layout {
	if word == 4 {
		return []layout{{4, 12, 11, 16}, {4, 8, 11, 16}, {4, 8, 10, 8}}
	}
	return []layout{{8, 16, 10, 16}, {8, 8, 10, 16}}
}

func (l *layout) top() uint64  { return l.fast + l.fastLen*l.word }
func (l *layout) bins() uint64 { return l.top() + 2*l.word }
func (l *layout) next() uint64 { return l.bins() + 2*bins*l.word + binMap }

// size is how much of a struct malloc_state is read: next, next_free,
// attached_threads (from 2.23 on), system_mem, max_system_mem.
func (l *layout) size() uint64 { return l.next() + 5*l.word }

// self is what the arena at addr has as address of a bin, counted from 1: that of
// a block whose links are those of the bin.
func (l *layout) self(addr, i uint64) uint64 {
	return addr + l.bins() + 2*(i-1)*l.word - 2*l.word
}

// reader looks at the allocator of a process.
type reader struct {
	memory  Memory
	process *snapshot.Process
	layout
	left    int // blocks that may still be looked at
	until   time.Time
	mangled mangling
	base    uint64 // where the main arena's memory begins, 0 if it is not known
}

// Read looks at the allocator of a process. arena and parameters are where the
// library's variables main_arena and mp_ lie if that is known, else 0; they are
// then looked for in data, the library's variables. nil: the process has no such
// allocator, has not used it, or the dump does not hold it.
func Read(m Memory, p *snapshot.Process, arena, parameters uint64, data []snapshot.Range, limit Limit) (*Heap, error) {
	word := uint64(p.Machine().PointerSize())
	if word == 0 {
		return nil, nil
	}
	r := &reader{memory: m, process: p, layout: layout{word: word}, left: limit.Blocks, until: time.Now().Add(limit.Time)}
	if arena == 0 {
		arena = r.find(data)
		if arena == 0 {
			return nil, nil
		}
	} else if found, err := r.known(arena); !found {
		return nil, err
	}
	h := &Heap{}
	r.arenas(h, arena)
	if main := &h.Arenas[0]; r.writable(main.last) && !r.words(main.last, new(uint64)) {
		return nil, nil // a small dump, which has the library's variables at most
	}
	r.mapped(h, parameters, data)
	for i := range h.Arenas {
		r.topBlock(&h.Arenas[i])
	}
	for i := range h.Arenas {
		r.lists(&h.Arenas[i])
		h.Arenas[i].contents = nil
	}
	for i := range h.Arenas {
		if limit.Walk {
			r.walk(&h.Arenas[i])
		}
	}
	return h, nil
}

// known finds the layout of the arena at an address.
func (r *reader) known(arena uint64) (bool, error) {
	used := false
	for _, l := range layouts(r.word) {
		b, ok := r.bytes(arena, l.size())
		if !ok {
			continue
		}
		if l.looksLike(b, arena) {
			r.layout = l
			return true, nil
		}
		used = used || l.number(b, l.top()) != 0 || l.number(b, l.bins()) != 0
	}
	if !used {
		return false, nil
	}
	return false, ErrUnknown
}

// looksLike tells whether b is an arena at that address: its bins are empty, or
// lead somewhere else.
func (l *layout) looksLike(b []byte, addr uint64) bool {
	empty := 0
	for i := uint64(1); i <= bins; i++ {
		at, self := l.bins()+2*(i-1)*l.word, l.self(addr, i)
		next, previous := l.number(b, at), l.number(b, at+l.word)
		if next == 0 || previous == 0 || (next == self) != (previous == self) {
			return false
		}
		if next == self {
			empty++
		}
	}
	return empty > 0 && l.number(b, l.top()) != 0
}

func (l *layout) number(b []byte, at uint64) uint64 {
	if l.word == 4 {
		return uint64(binary.LittleEndian.Uint32(b[at:]))
	}
	return binary.LittleEndian.Uint64(b[at:])
}

// bytes reads memory that is there as a whole.
func (r *reader) bytes(addr, size uint64) ([]byte, bool) {
	b := make([]byte, size)
	n, _ := r.memory.ReadMemory(b, addr)
	return b, n == len(b)
}

// words reads numbers.
func (r *reader) words(addr uint64, out ...*uint64) bool {
	var space [4 * 8]byte
	b := space[:uint64(len(out))*r.word]
	if n, _ := r.memory.ReadMemory(b, addr); n < len(b) {
		return false
	}
	for i := range out {
		*out[i] = r.number(b, uint64(i)*r.word)
	}
	return true
}

// writable tells whether a block can lie at an address.
func (r *reader) writable(addr uint64) bool {
	i := r.process.FindRegion(addr)
	return i >= 0 && r.process.Regions[i].Perm&snapshot.Write != 0
}
