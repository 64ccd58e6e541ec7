package dumpkind

import (
	"fmt"

	"procdump/snapshot"
)

// Options say what to take.
type Options struct {
	Kind        Kind
	Mask        uint32 // Custom: bits as in /proc/PID/coredump_filter (core(5))
	DropLargest bool   // MiniPlus: without its largest private area over 512 MiB
	DontDump    bool   // take memory marked MADV_DONTDUMP too
}

// maxHole is the largest run of pages in anonymous memory that do not exist
// and are nevertheless part of a dump, as a hole of zeros in a sparse file. A
// 32-bit dump's file offsets are 32 bits wide, so it keeps less.
const (
	maxHole   = 1 << 30
	maxHole32 = 1 << 20
)

// Selection is what a dump of one kind holds.
type Selection struct {
	// Process is the process to write: the one given, or, for the kinds that
	// are small, one whose Memory is a copy in RAM, so that the target may go
	// on before the file is written.
	Process *snapshot.Process
	Ranges  []snapshot.Range // ascending, whole pages
	// Buffered tells that Process.Memory is such a copy.
	Buffered bool
}

// selector collects one selection.
type selector struct {
	p       *snapshot.Process
	o       Options
	page    uint64
	hole    uint64
	ranges  []snapshot.Range
	leftOut []snapshot.LeftOut
	bytes   uint64 // left out
}

// Select chooses the memory of a dump. Process.Info of the result tells what
// was left out. An error means that the process is gone.
func Select(p *snapshot.Process, o Options) (*Selection, error) {
	s := &selector{p: p, o: o, page: uint64(p.System.PageSize), hole: maxHole}
	if s.page == 0 {
		s.page = 4096
	}
	if p.Machine().PointerSize() == 4 {
		s.hole = maxHole32
	}
	switch o.Kind {
	case Mini, Triage:
		return s.small()
	case Custom, MiniPlus, Full:
		for i := range p.Regions {
			if err := s.region(&p.Regions[i]); err != nil {
				return nil, err
			}
		}
	default:
		return nil, fmt.Errorf("select memory: no kind %v", o.Kind)
	}
	if o.Kind == MiniPlus && o.DropLargest {
		if err := s.dropLargest(); err != nil {
			return nil, err
		}
	}
	sel := &Selection{Process: s.copy(), Ranges: snapshot.MergeRanges(s.ranges, 0)}
	return sel, nil
}

// copy is the process with what this selection says of itself.
func (s *selector) copy() *snapshot.Process {
	q := *s.p
	q.Info.Kind = s.o.Kind.String()
	q.Info.LeftOut = append(q.Info.LeftOut[:len(q.Info.LeftOut):len(q.Info.LeftOut)], s.leftOut...)
	q.Info.LeftOutBytes = s.bytes
	const maxListed = 1000
	if len(q.Info.LeftOut) > maxListed {
		q.Info.LeftOut, q.Info.Truncated = q.Info.LeftOut[:maxListed], true
	}
	return &q
}

func (s *selector) leave(r snapshot.Range, g *snapshot.Region, why string) {
	if r.Size == 0 {
		return
	}
	s.bytes += r.Size
	if n := len(s.leftOut); n > 0 && s.leftOut[n-1].Range.End() == r.Addr && s.leftOut[n-1].Why == why && s.leftOut[n-1].What == g.Path {
		s.leftOut[n-1].Range.Size += r.Size
		return
	}
	s.leftOut = append(s.leftOut, snapshot.LeftOut{Range: r, What: g.Path, Why: why})
}

// excluded tells why no kind takes a region, or "".
func excluded(g *snapshot.Region, dontDump bool) string {
	switch {
	case g.Flags&(snapshot.IO|snapshot.PFNMap) != 0 && g.Path != "[vdso]":
		return "device memory"
	case g.Path == "[vvar]" || g.Path == "[vvar_vclock]" || g.Path == "[vsyscall]":
		return "kernel page that cannot be read"
	case g.Flags&snapshot.DontDump != 0 && !dontDump && g.Path != "[vdso]":
		return "marked MADV_DONTDUMP (-dontdump takes it)"
	}
	return ""
}

// region takes what Full, MiniPlus and Custom want of one region.
func (s *selector) region(g *snapshot.Region) error {
	if why := excluded(g, s.o.DontDump); why != "" {
		s.leave(g.Range, g, why)
		return nil
	}
	if s.o.Kind == Custom {
		return s.custom(g)
	}
	switch {
	case g.Path == "[vdso]":
		s.ranges = append(s.ranges, g.Range)
		return nil
	case g.Anonymous():
		return s.anonymous(g)
	case s.o.Kind == Full || g.Deleted || g.Perm&snapshot.Shared != 0 && (g.Perm&snapshot.Write != 0 || volatilePath(g.Path)):
		return s.existing(g, func(snapshot.Extent) bool { return true }, "not in memory and not readable from its file")
	}
	if g.Flags&snapshot.Image != 0 {
		s.imageHeader(g)
	}
	return s.existing(g, snapshot.Extent.Anonymous, "unchanged page of a file that is still there")
}

// volatilePath tells whether a file lives in memory only.
func volatilePath(path string) bool {
	for _, dir := range []string{"/dev/shm/", "/memfd:", "/SYSV", "/dev/zero"} {
		if len(path) >= len(dir) && path[:len(dir)] == dir {
			return true
		}
	}
	return false
}

// imageHeader takes the first page of a module: without it no debugger knows
// which file was mapped.
func (s *selector) imageHeader(g *snapshot.Region) {
	for i := range s.p.Modules {
		if s.p.Modules[i].Addr == g.Addr {
			s.ranges = append(s.ranges, snapshot.Range{Addr: g.Addr, Size: min(s.page, g.Size)})
			return
		}
	}
}

// anonymous takes private anonymous memory: all of it, what does not exist as
// holes of zeros, but neither holes that are very long nor memory that nobody
// may read and that holds nothing.
func (s *selector) anonymous(g *snapshot.Region) error {
	hole := s.hole
	if g.Perm&(snapshot.Read|snapshot.Write|snapshot.Execute) == 0 {
		hole = s.page
	}
	if g.Size < hole && g.Flags&snapshot.Userfault == 0 {
		s.ranges = append(s.ranges, g.Range)
		return nil
	}
	why := "never touched"
	if g.Flags&snapshot.Userfault != 0 {
		// Absent is not zero here: the process itself would supply the page.
		hole, why = s.page, "not yet supplied by the process's userfaultfd handler"
	}
	at := g.Addr // up to where the region is taken or left
	err := s.walk(g.Range, func(x snapshot.Extent) {
		if x.Addr-at >= hole {
			s.leave(snapshot.Range{Addr: at, Size: x.Addr - at}, g, why)
			at = x.Addr
		}
		s.ranges = append(s.ranges, snapshot.Range{Addr: at, Size: x.End() - at})
		at = x.End()
	})
	if err != nil {
		return err
	}
	if g.End()-at >= hole {
		s.leave(snapshot.Range{Addr: at, Size: g.End() - at}, g, why)
	} else if at < g.End() {
		s.ranges = append(s.ranges, snapshot.Range{Addr: at, Size: g.End() - at})
	}
	return nil
}

// existing takes the extents of a region that want accepts.
func (s *selector) existing(g *snapshot.Region, want func(snapshot.Extent) bool, why string) error {
	at := g.Addr
	err := s.walk(g.Range, func(x snapshot.Extent) {
		if !want(x) {
			return
		}
		s.leave(snapshot.Range{Addr: at, Size: x.Addr - at}, g, why)
		s.ranges = append(s.ranges, x.Range)
		at = x.End()
	})
	s.leave(snapshot.Range{Addr: at, Size: g.End() - at}, g, why)
	return err
}

// walk calls f for each extent of r, in windows so that a large and scattered
// region does not cost memory.
func (s *selector) walk(r snapshot.Range, f func(snapshot.Extent)) error {
	const window = 1 << 30
	for at := r.Addr; at < r.End(); {
		w := snapshot.Range{Addr: at, Size: min(window, r.End()-at)}
		xs, err := s.p.Memory.Extents(w)
		if err != nil {
			return err
		}
		for _, x := range xs {
			f(x)
		}
		at = w.End()
	}
	if n := len(s.ranges); n > 1<<16 {
		s.ranges = snapshot.MergeRanges(s.ranges, 0)
	}
	return nil
}
