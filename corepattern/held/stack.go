package held

import (
	"procdump/arch"
	"procdump/snapshot"
)

// Stack is the part of a thread's stack that is in use: from the stack
// pointer, less the red zone, to the end of the mapping, or to the end of the
// page of the thread's control block where that lies above (a thread's stack
// and its control block share a mapping, and other memory may follow).
func Stack(p *snapshot.Process, th *snapshot.Thread) snapshot.Range {
	sp := th.Registers.SP()
	if sp == 0 {
		return snapshot.Range{}
	}
	i := p.FindRegion(sp)
	if i < 0 || p.Regions[i].Perm&snapshot.Read == 0 {
		// Overflowed into the guard: the stack begins above it.
		const guard = 1 << 20
		if i = regionAbove(p, sp); i < 0 || p.Regions[i].Addr-sp > guard {
			return snapshot.Range{}
		}
		sp = p.Regions[i].Addr
	}
	g := p.Regions[i]
	low := max(sp-min(sp, th.Registers.Machine.RedZone()), g.Addr) &^ 7
	end := g.End()
	page := uint64(p.System.PageSize)
	if tls := th.Registers.TLS(); tls > sp && tls < end {
		// struct pthread begins at the thread pointer and is under 4 KiB.
		end = min(end, (tls+4096+page-1)&^(page-1))
	}
	if hi := goroutineStack(p, th, sp); hi != 0 {
		end = min(end, hi)
	}
	return snapshot.Range{Addr: low, Size: end - low}
}

// regionAbove finds the first readable region that begins above addr.
func regionAbove(p *snapshot.Process, addr uint64) int {
	for i := range p.Regions {
		if p.Regions[i].Addr > addr && p.Regions[i].Perm&snapshot.Read != 0 {
			return i
		}
	}
	return -1
}

// goroutineStack returns the upper end of the goroutine stack that a Go thread
// runs on, or 0. Go keeps the running goroutine's descriptor at fs:-8, and it
// begins with the stack's bounds (runtime/runtime2.go, type g).
func goroutineStack(p *snapshot.Process, th *snapshot.Thread, sp uint64) uint64 {
	fs := th.Registers.TLS()
	if th.Registers.Machine != arch.AMD64 || fs == 0 || p.FindRegion(fs-8) < 0 || p.Memory == nil {
		return 0
	}
	w := words{p.Memory, 8}
	g, ok := w.read(fs-8, 1)
	if !ok || g[0]%8 != 0 || p.FindRegion(g[0]) < 0 {
		return 0
	}
	b, ok := w.read(g[0], 2)
	const maxGoStack = 1 << 30
	if !ok || b[0] > sp || sp >= b[1] || b[1]-b[0] > maxGoStack || b[0]%8 != 0 || b[1]%8 != 0 {
		return 0
	}
	return b[1]
}
