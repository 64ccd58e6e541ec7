package inspect

import (
	"cmp"
	"debug/elf"
	"fmt"
	"slices"
	"time"

	"procdump/image"
	"procdump/inspect/heap"
	"procdump/snapshot"
)

// Allocator is what the GNU C library's allocator has taken from the system for
// malloc. Sizes are bytes.
type Allocator struct {
	// Found tells how its variables were found: by "symbol", or by their "shape",
	// where the library's debug information is not to be had.
	Found string `json:"found"`
	// Bytes are those of all arenas, and how many of them are in use and free.
	Bytes  uint64  `json:"bytes"`
	Used   uint64  `json:"used"`
	Free   uint64  `json:"free"`
	Arenas []Arena `json:"arenas"` // the largest first
	// Mapped are blocks that are too large for an arena, nil: it is not known.
	Mapped *MappedBlocks `json:"mapped,omitempty"`
	// Damage is where lists of free blocks contradict each other: a hint to what
	// wrote to memory that it did not have.
	Damage []HeapDamage `json:"damage,omitempty"`
}

// Arena is a part of the memory that threads take blocks from.
type Arena struct {
	Address Address `json:"address"`
	Main    bool    `json:"main,omitempty"`
	Threads *int    `json:"threads,omitempty"` // that take from it
	Heaps   int     `json:"heaps,omitempty"`   // pieces of memory
	Bytes   uint64  `json:"bytes"`
	Peak    uint64  `json:"peak,omitempty"` // most Bytes there were
	Used    uint64  `json:"used"`
	Free    uint64  `json:"free"`
	// Top is the free block at the end; FreeBlocks are the others.
	Top        uint64 `json:"top"`
	FreeBlocks int    `json:"freeBlocks"`
	// Fast are those of them that are kept for blocks of the same size.
	Fast   uint64 `json:"fast,omitempty"`
	Locked bool   `json:"locked,omitempty"` // a thread is at work in it
	// Partial tells that there may be more free blocks, and fewer in use.
	Partial bool `json:"partial,omitempty"`
}

// MappedBlocks have mappings of their own.
type MappedBlocks struct {
	Count int    `json:"count"`
	Bytes uint64 `json:"bytes"`
}

// HeapDamage is a place where the allocator's records contradict each other.
type HeapDamage struct {
	Arena   *Address `json:"arena,omitempty"`
	Address Address  `json:"address"`
	Text    string   `json:"text"`
	// Changing tells that a thread was at work in the allocator, which may explain
	// it.
	Changing bool `json:"changing,omitempty"`
}

// How the allocator's variables were found.
const (
	BySymbol = "symbol"
	ByShape  = "shape"
)

// Bounds of what is done to look at blocks. A process that stands still does not
// wait for more than some milliseconds.
var (
	heapLimit     = heap.Limit{Blocks: 1 << 15, Time: 100 * time.Millisecond, Walk: true}
	liveHeapLimit = heap.Limit{Blocks: 300, Time: 10 * time.Millisecond}
)

// allocator reads the C library's allocator while its memory stands still.
func (c *Collected) allocator() {
	im := c.libc()
	if im == nil || c.p.Memory == nil || c.p.System.OS == "windows" {
		return
	}
	limit, main, parameters := heapLimit, uint64(0), uint64(0)
	if c.p.Info.Kind == KindLive {
		limit = liveHeapLimit // and no file is searched meanwhile
	} else if main, parameters = heapVariables(im); main != 0 {
		c.heapBy = BySymbol
	}
	// Not by the set, which keeps pages: few are read twice.
	h, err := heap.Read(c.p.Memory, c.p, main, parameters, variables(c.p, im), limit)
	if err != nil {
		c.warnings = append(c.warnings, err.Error())
	}
	c.heap = h
}

// variables are the mappings of an image's variables.
func variables(p *snapshot.Process, im *image.Image) (all []snapshot.Range) {
	for i := range p.Regions {
		if g := &p.Regions[i]; g.Perm&snapshot.Write != 0 && im.Module.Contains(g.Addr) {
			all = append(all, g.Range)
		}
	}
	return all
}

// heapVariables are the addresses of main_arena and mp_, 0 if there are no symbols
// of them.
func heapVariables(im *image.Image) (main, parameters uint64) {
	bias, ok := im.Bias()
	if !ok {
		return 0, 0
	}
	for _, file := range []func() *image.File{im.File, im.Debug} {
		f := file()
		if f == nil {
			continue
		}
		found := f.FindSymbols(elf.SHT_SYMTAB, "main_arena", "mp_")
		if y, ok := found["main_arena"]; ok {
			main = y.Value + bias
			if y, ok := found["mp_"]; ok {
				parameters = y.Value + bias
			}
			return main, parameters
		}
	}
	return 0, 0
}

// inAllocator are the functions of the C library that change what an arena knows
// of its blocks.
var inAllocator = []string{"_int_malloc", "_int_free", "_int_free_chunk", "_int_free_merge_chunk", "_int_free_create_chunk", "_int_realloc",
	"_int_memalign", "malloc_consolidate", "unlink_chunk", "sysmalloc", "systrim", "heap_trim", "arena_get2"}

// atWork tells whether a thread was stopped within the allocator. One that crashed
// there has met the damage.
func atWork(groups []Group) bool {
	const most = 8
	for i := range groups {
		g := &groups[i]
		if slices.ContainsFunc(g.Threads, func(t Thread) bool { return t.Signal != "" }) {
			continue
		}
		for k := range g.Frames[:min(len(g.Frames), most)] {
			if slices.Contains(inAllocator, g.Frames[k].Function) {
				return true
			}
		}
	}
	return false
}

// allocatorOf says what the allocator has; nil: it is not known.
func (c *Collected) allocatorOf(groups []Group) *Allocator {
	if c.heap == nil {
		return nil
	}
	out := &Allocator{Found: cmp.Or(c.heapBy, ByShape), Arenas: []Arena{}}
	if c.heapBy == "" && c.p.Info.Kind == KindLive {
		switch main, _ := heapVariables(c.libc()); main {
		case 0:
		case c.heap.Arenas[0].Addr:
			out.Found = BySymbol
		default:
			c.warnings = append(c.warnings, "what looked like the main arena of the C library's allocator is none")
			return nil
		}
	}
	changing := atWork(groups)
	for _, d := range c.heap.Damages {
		out.Damage = append(out.Damage, HeapDamage{Address: Address(d.Addr), Text: d.Text, Changing: changing})
	}
	for i := range c.heap.Arenas {
		a := &c.heap.Arenas[i]
		free := min(a.Free(), a.Bytes)
		to := Arena{Address: Address(a.Addr), Main: a.Main, Heaps: a.Heaps, Bytes: a.Bytes, Peak: a.Peak, Used: a.Bytes - free, Free: free,
			Top: a.Top, FreeBlocks: a.FastBlocks + a.BinnedBlocks, Fast: a.Fast, Locked: a.Locked, Partial: a.Partial}
		if a.Threads >= 0 {
			to.Threads = &a.Threads
		}
		out.Arenas = append(out.Arenas, to)
		out.Bytes, out.Used, out.Free = out.Bytes+to.Bytes, out.Used+to.Used, out.Free+to.Free
		for _, d := range a.Damages {
			out.Damage = append(out.Damage, HeapDamage{&to.Address, Address(d.Addr), d.Text, changing})
		}
	}
	slices.SortStableFunc(out.Arenas, func(a, b Arena) int { return cmp.Compare(b.Bytes, a.Bytes) })
	if c.heap.MappedKnown {
		out.Mapped = &MappedBlocks{c.heap.Mapped, c.heap.MappedBytes}
	}
	return out
}

// Words say what is wrong in a sentence.
func (d *HeapDamage) Words() string {
	s := d.Text
	if d.Arena != nil {
		s += fmt.Sprintf(" (arena %#x)", uint64(*d.Arena))
	}
	if d.Changing {
		s += "; a thread was at work in the allocator, and may just have changed it"
	}
	return s
}
