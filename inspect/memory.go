package inspect

import (
	"cmp"
	"slices"
	"strings"

	"procdump/snapshot"
)

// Memory is the process's address space.
type Memory struct {
	Regions int `json:"regions"`
	// Bytes of all mappings, and of these in RAM and in swap; 0 if unknown.
	Bytes    uint64       `json:"bytes"`
	Resident uint64       `json:"resident,omitempty"`
	Swapped  uint64       `json:"swapped,omitempty"`
	Kinds    []MemoryKind `json:"kinds"`
	Largest  []Region     `json:"largest"`
	// Map are all mappings, ascending.
	Map []Region `json:"map"`
	// Allocator is that of the GNU C library, nil if the dump does not hold what it
	// keeps of itself.
	Allocator *Allocator `json:"allocator,omitempty"`
}

// MemoryKind is what mappings are used for.
type MemoryKind struct {
	// Kind is "heap" ([heap] and other private anonymous memory that can be
	// written), "stack", "image" (programs and libraries), "file", "shared",
	// "reserved" (nobody may read it), "other".
	Kind     string `json:"kind"`
	Regions  int    `json:"regions"`
	Bytes    uint64 `json:"bytes"`
	Resident uint64 `json:"resident,omitempty"`
	Swapped  uint64 `json:"swapped,omitempty"`
}

// Region is one mapping.
type Region struct {
	Address  Address `json:"address"`
	Bytes    uint64  `json:"bytes"`
	Resident uint64  `json:"resident,omitempty"`
	Swapped  uint64  `json:"swapped,omitempty"`
	Perm     string  `json:"perm"`
	Kind     string  `json:"kind"`
	Path     string  `json:"path,omitempty"`
}

const maxLargest = 10

// Kinds says of each region of a process what it is used for: a MemoryKind's
// Kind.
func Kinds(p *snapshot.Process) []string {
	stacks := map[int]bool{}
	for i := range p.Threads {
		if k := p.FindRegion(p.Threads[i].Registers.SP()); k >= 0 && !goHeap(&p.Regions[k]) {
			stacks[k] = true
		}
	}
	out := make([]string, len(p.Regions))
	for i := range p.Regions {
		out[i] = kindOf(&p.Regions[i], stacks[i])
	}
	return out
}

func memoryOf(p *snapshot.Process) Memory {
	m := Memory{Regions: len(p.Regions), Kinds: []MemoryKind{}, Largest: []Region{}, Map: make([]Region, 0, len(p.Regions))}
	kinds := map[string]*MemoryKind{}
	for i, kind := range Kinds(p) {
		g := &p.Regions[i]
		k := kinds[kind]
		if k == nil {
			k = &MemoryKind{Kind: kind}
			kinds[kind] = k
		}
		k.Regions++
		for _, sum := range []struct {
			to *uint64
			n  uint64
		}{{&k.Bytes, g.Size}, {&k.Resident, g.Resident}, {&k.Swapped, g.Swapped},
			{&m.Bytes, g.Size}, {&m.Resident, g.Resident}, {&m.Swapped, g.Swapped}} {
			*sum.to += sum.n
		}
		m.Map = append(m.Map, Region{Address(g.Addr), g.Size, g.Resident, g.Swapped, g.Perm.String(), kind, g.Path})
	}
	m.Largest = largest(slices.Clone(m.Map))
	for _, k := range kinds {
		m.Kinds = append(m.Kinds, *k)
	}
	slices.SortFunc(m.Kinds, func(a, b MemoryKind) int {
		return cmp.Or(cmp.Compare(b.Resident, a.Resident), cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Kind, b.Kind))
	})
	return m
}

// largest keeps those regions that take most memory.
func largest(all []Region) []Region {
	slices.SortFunc(all, func(a, b Region) int {
		return cmp.Or(cmp.Compare(b.Resident, a.Resident), cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Address, b.Address))
	})
	return all[:min(len(all), maxLargest)]
}

// goHeap tells whether a region is one of Go's heap, in which the stacks of its
// goroutines lie among all else. It begins at 0xc000000000 on 64-bit machines
// (runtime/malloc.go, mallocinit).
func goHeap(g *snapshot.Region) bool {
	const begin, end = 0xc0 << 32, 0x100 << 32
	return g.Addr >= begin && g.Addr < end && g.Anonymous()
}

func kindOf(g *snapshot.Region, stack bool) string {
	switch {
	case stack || g.Path == "[stack]" || g.Flags&snapshot.GrowsDown != 0:
		return "stack"
	case g.Perm&^snapshot.Shared == 0:
		return "reserved"
	case g.Flags&snapshot.Image != 0:
		return "image"
	case g.Perm&snapshot.Shared != 0:
		return "shared"
	case g.Path != "" && !strings.HasPrefix(g.Path, "["):
		return "file"
	case g.Perm&snapshot.Write != 0:
		return "heap"
	}
	return "other"
}
