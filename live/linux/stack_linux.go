package linux

import (
	"encoding/binary"
	"sort"

	"procdump/arch"
	"procdump/snapshot"
)

// UsedStacks finds the part of each thread's stack that is in use.
func UsedStacks(p *snapshot.Process) {
	gs := runningGoroutines(p)
	for i := range p.Threads {
		p.Threads[i].Stack = usedStack(p, &p.Threads[i], gs[i])
	}
}

// usedStack is the part of the thread's stack that is in use: from the stack
// pointer, less the red zone, to the end of the mapping, or to the end of the
// page of the thread's control block where that lies above (a thread's stack
// and its control block share a mapping, and other memory may follow), or to the
// end of the goroutine's stack if g is the address of a goroutine's descriptor.
func usedStack(p *snapshot.Process, th *snapshot.Thread, g uint64) snapshot.Range {
	sp := th.Registers.SP()
	if sp == 0 {
		return snapshot.Range{}
	}
	i := p.FindRegion(sp)
	if i < 0 || p.Regions[i].Perm&snapshot.Read == 0 {
		// Overflowed into the guard page: the stack begins above it.
		const guard = 1 << 20
		if i = regionAbove(p, sp); i < 0 || p.Regions[i].Addr-sp > guard {
			return snapshot.Range{}
		}
		sp = p.Regions[i].Addr
	}
	r := p.Regions[i]
	low := max(sp-min(sp, th.Registers.Machine.RedZone()), r.Addr) &^ 7
	end := r.End()
	page := uint64(p.System.PageSize)
	if tls := th.Registers.TLS(); tls > sp && tls < end {
		// struct pthread begins at the thread pointer and is under 4 KiB.
		end = min(end, (tls+4096+page-1)&^(page-1))
	}
	if hi := goroutineStack(p, g, sp); hi != 0 {
		end = min(end, hi)
	}
	return snapshot.Range{Addr: low, Size: end - low}
}

// regionAbove finds the first readable region that begins above addr.
func regionAbove(p *snapshot.Process, addr uint64) int {
	i := sort.Search(len(p.Regions), func(i int) bool { return p.Regions[i].Addr > addr })
	for ; i < len(p.Regions); i++ {
		if p.Regions[i].Perm&snapshot.Read != 0 {
			return i
		}
	}
	return -1
}

// runningGoroutines returns for each thread the word below its control block,
// where Go keeps the address of the running goroutine's descriptor, or 0. All are
// read at once: a process may stand still for it. The block's page has been
// written to by whoever made the thread; a word on the page before it, which may
// not have been, is read by itself.
func runningGoroutines(p *snapshot.Process) []uint64 {
	gs := make([]uint64, len(p.Threads))
	mem, ok := p.Memory.(snapshot.ExtentReader)
	if !ok {
		for i := range gs {
			gs[i] = runningGoroutine(p, &p.Threads[i])
		}
		return gs
	}
	const word = 8
	page := max(uint64(p.System.PageSize), word)
	var at []int
	var xs []snapshot.Extent
	for i := range p.Threads {
		th := &p.Threads[i]
		fs := th.Registers.TLS()
		r := p.FindRegion(fs - word)
		switch {
		case th.Registers.Machine != arch.AMD64 || r < 0:
		case fs%page < word || p.Regions[r].Flags&snapshot.Userfault != 0 || !p.Regions[r].Anonymous():
			gs[i] = runningGoroutine(p, th)
		default:
			at = append(at, i)
			xs = append(xs, snapshot.Extent{Range: snapshot.Range{Addr: fs - word, Size: word}, Kind: snapshot.ExtentPresent})
		}
	}
	b := make([]byte, word*len(at))
	if _, err := mem.ReadExtents(b, xs); err != nil {
		return gs
	}
	for k, i := range at {
		gs[i] = binary.LittleEndian.Uint64(b[word*k:])
	}
	return gs
}

// runningGoroutine is runningGoroutines of one thread.
func runningGoroutine(p *snapshot.Process, th *snapshot.Thread) uint64 {
	if th.Registers.Machine != arch.AMD64 || p.Memory == nil {
		return 0
	}
	fs := th.Registers.TLS()
	if fs == 0 || p.FindRegion(fs-8) < 0 {
		return 0
	}
	w := linkWalker{mem: p.Memory, word: 8}
	if g, ok := w.words(fs-8, 1); ok {
		return g[0]
	}
	return 0
}

// goroutineStack returns the upper end of the stack of the goroutine whose
// descriptor is at g, or 0 if that is none or sp is not on it. The descriptor
// begins with the stack's bounds (runtime/runtime2.go, type g).
func goroutineStack(p *snapshot.Process, g, sp uint64) uint64 {
	if g%8 != 0 || g == 0 || p.FindRegion(g) < 0 {
		return 0
	}
	w := linkWalker{mem: p.Memory, word: 8}
	b, ok := w.words(g, 2)
	const maxGoStack = 1 << 30
	if !ok || b[0] > sp || sp >= b[1] || b[1]-b[0] > maxGoStack || b[0]%8 != 0 || b[1]%8 != 0 {
		return 0
	}
	return b[1]
}
