package render

import (
	"fmt"
	"strconv"

	"procdump/inspect"
	"procdump/render/page"
)

// maxArenas is how many arenas the text names, the largest first.
const maxArenas = 12

// AllocatorSummary says what the C library's allocator has, in words.
func AllocatorSummary(a *inspect.Allocator) string {
	least := ""
	for i := range a.Arenas {
		if a.Arenas[i].Partial {
			least = "at least "
		}
	}
	s := fmt.Sprintf("%s in %s, %s%s of it free", page.Size(a.Bytes), page.Plural(len(a.Arenas), "arena"), least, page.Size(a.Free))
	if m := a.Mapped; m != nil && m.Count > 0 {
		s += fmt.Sprintf("; %s of %s in mappings of their own", page.Plural(m.Count, "block"), page.Size(m.Bytes))
	}
	return s
}

// ArenaThreads is how many threads take blocks from an arena, "?" if it is not
// known.
func ArenaThreads(a *inspect.Arena) string {
	if a.Threads == nil {
		return "?"
	}
	return strconv.Itoa(*a.Threads)
}

// ArenaFree is what is known to be free of an arena.
func ArenaFree(a *inspect.Arena) string {
	if a.Partial {
		return "≥ " + page.Size(a.Free)
	}
	return page.Size(a.Free)
}

// ArenaNotes are what there is to say of an arena besides its numbers.
func ArenaNotes(a *inspect.Arena) string {
	main, locked := "", ""
	if a.Main {
		main = "main"
	}
	if a.Locked {
		locked = "locked"
	}
	return page.Join(", ", main, locked)
}

// ByShape says how arenas were found where there were no symbols.
const ByShape = "found by their shape, for there are no symbols of the C library's variables"

func (p *report) allocator(a *inspect.Allocator) {
	if a == nil {
		return
	}
	p.Text("  malloc: ", "    ", AllocatorSummary(a))
	p.Line("  %-16s%9s%7s%12s%12s%12s%9s", "arena", "threads", "heaps", "size", "free", "at its end", "others")
	for i := range a.Arenas {
		if i == maxArenas {
			p.Line("  … and %d more", len(a.Arenas)-i)
			break
		}
		n := &a.Arenas[i]
		line := fmt.Sprintf("  %-16s%9s%7d%12s%12s%12s%9d", fmt.Sprintf("%#x", uint64(n.Address)), ArenaThreads(n), n.Heaps, page.Size(n.Bytes),
			ArenaFree(n), page.Size(n.Top), n.FreeBlocks)
		p.Line("%s", page.Join("  ", line, ArenaNotes(n)))
	}
	if a.Found == inspect.ByShape {
		p.Line("  %s", ByShape)
	}
}

// maxDamage is how many places are named where the allocator's records are damaged.
const maxDamage = 3

// damage says where the allocator's records contradict each other.
func (f *facts) damage(a *inspect.Allocator) {
	if a == nil {
		return
	}
	for i := range a.Damage {
		if i == maxDamage {
			f.add("Heap", fmt.Sprintf("… and %s more", page.Plural(len(a.Damage)-i, "place")))
			break
		}
		state := "damaged: "
		if a.Damage[i].Changing {
			state = "in change, or damaged: "
		}
		f.add("Heap", state+a.Damage[i].Words())
	}
}
