package dumpkind

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"procdump/snapshot"
)

// Options say what to take.
type Options struct {
	Kind        Kind
	Mask        uint32 // Custom: bits as in /proc/PID/coredump_filter (core(5))
	DropLargest bool   // MiniPlus: without its largest private area over 512 MiB
	DontDump    bool   // take memory marked MADV_DONTDUMP too
	Held        uint64 // bytes of RAM that other selections of the same stop hold
	// Only tells that this is the only selection of the process: of what it does
	// not take the register sets may be dropped, kilobytes for each thread.
	Only bool
	// Dump tells that the process is that of a dump: memory that it does not
	// hold is not known, while of a process that runs it is zero.
	Dump bool
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
	// Process is the process to write. Its Memory is that of the process given
	// or, for the kinds that are small, a copy in RAM, so that the target may
	// go on before the file is written; for Triage, it shows what such a dump
	// may show, and nothing else.
	Process *snapshot.Process
	Ranges  []snapshot.Range // ascending, whole pages
	// Buffered tells that Process.Memory is a copy. A small dump that is too
	// large for RAM (of thousands of threads) is not.
	Buffered bool
}

// selector collects one selection.
type selector struct {
	p       *snapshot.Process
	o       Options
	page    uint64
	hole    uint64
	ranges  []snapshot.Range   // ascending, joined
	leftOut []snapshot.LeftOut // some more than maxLeftOut at most
	cut     bool               // there were more
	bytes   uint64             // left out
}

// maxLeftOut bounds the pieces that a dump lists as left out: the largest.
const maxLeftOut = 1000

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
	case AsIs:
		return s.asIs()
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
	return &Selection{Process: s.copy(), Ranges: s.ranges}, nil
}

// asIs takes all that a dump holds.
func (s *selector) asIs() (*Selection, error) {
	xs, err := s.p.Memory.Extents(snapshot.Range{Size: ^uint64(0)})
	if err != nil {
		return nil, err
	}
	for _, x := range xs {
		s.take(x.Range)
	}
	q := *s.p
	q.Info.Unreadable = slices.Clone(q.Info.Unreadable)
	return &Selection{Process: &q, Ranges: s.ranges}, nil
}

// copy is the process with what this selection says of itself.
func (s *selector) copy() *snapshot.Process {
	s.cutLeftOut()
	q := *s.p
	q.Info.Kind, q.Info.From = s.o.Kind.String(), s.from()
	q.Info.LeftOut = append(slices.Clone(q.Info.LeftOut), s.leftOut...)
	if q.Info.LeftOutBytes = s.bytes; s.o.Dump {
		q.Info.LeftOutBytes += s.p.Info.LeftOutBytes
	}
	q.Info.Truncated = q.Info.Truncated || s.cut
	// Each dump of a trigger adds its own.
	q.Info.Unreadable = slices.Clone(q.Info.Unreadable)
	return &q
}

// from is the smallest kind of the dumps that this one is made of, if it is smaller
// than this one's.
func (s *selector) from() string {
	smallest := s.o.Kind
	for _, name := range []string{s.p.Info.Kind, s.p.Info.From} {
		if k, ok := KindOf(name); ok && s.o.Dump {
			smallest = min(smallest, k)
		}
	}
	if smallest == s.o.Kind {
		return ""
	}
	return smallest.String()
}

// take adds a range that begins at or after the start of the one before it.
func (s *selector) take(r snapshot.Range) {
	if r.Size == 0 {
		return
	}
	if n := len(s.ranges); n > 0 && r.Addr <= s.ranges[n-1].End() {
		last := &s.ranges[n-1]
		last.Size = max(last.End(), r.End()) - last.Addr
		return
	}
	s.ranges = append(s.ranges, r)
}

func (s *selector) leave(r snapshot.Range, g *snapshot.Region, why string) {
	if r.Size == 0 || s.o.Dump && (why == absent || why == untouched) {
		return // a dump says itself what it lacks
	}
	s.bytes += r.Size
	if n := len(s.leftOut); n > 0 && s.leftOut[n-1].Range.End() == r.Addr && s.leftOut[n-1].Why == why && s.leftOut[n-1].What == g.Path {
		s.leftOut[n-1].Range.Size += r.Size
		return
	}
	if len(s.leftOut) >= 4*maxLeftOut {
		s.cutLeftOut()
	}
	s.leftOut = append(s.leftOut, snapshot.LeftOut{Range: r, What: g.Path, Why: why})
}

// cutLeftOut keeps the largest pieces that were left out, ascending.
func (s *selector) cutLeftOut() {
	if len(s.leftOut) > maxLeftOut {
		slices.SortStableFunc(s.leftOut, func(a, b snapshot.LeftOut) int { return cmp.Compare(b.Range.Size, a.Range.Size) })
		s.leftOut, s.cut = s.leftOut[:maxLeftOut], true
	}
	slices.SortStableFunc(s.leftOut, func(a, b snapshot.LeftOut) int { return cmp.Compare(a.Range.Addr, b.Range.Addr) })
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
		return s.existing(g.Range, g, all, absent)
	case g.Anonymous():
		return s.anonymous(g)
	case s.o.Kind == Full || lost(g):
		return s.existing(g.Range, g, all, absent)
	}
	rest := g.Range
	if s.beginsModule(g) {
		// Without its header no debugger knows which file was mapped.
		head := snapshot.Range{Addr: g.Addr, Size: min(s.page, g.Size)}
		if err := s.existing(head, g, all, absent); err != nil {
			return err
		}
		rest = snapshot.Range{Addr: head.End(), Size: g.Size - head.Size}
	}
	return s.existing(rest, g, snapshot.Extent.Anonymous, "unchanged page of a file that is still there")
}

// Why a page that was wanted is not taken.
const (
	absent    = "not in memory and not readable from its file"
	untouched = "never touched"
)

func all(snapshot.Extent) bool { return true }

// nameless tells whether a path is what the kernel calls shared memory that no
// folder has a name for. It says "(deleted)" of most of it, but not of all.
func nameless(path string) bool {
	for _, kind := range []string{"/memfd:", "/SYSV", "/dev/zero", "[anon_shmem:"} {
		if strings.HasPrefix(path, kind) {
			return true
		}
	}
	return false
}

// volatilePath tells whether a file lives in memory only.
func volatilePath(path string) bool { return nameless(path) || strings.HasPrefix(path, "/dev/shm/") }

// lost tells whether the file behind a region cannot be trusted to hold the
// region's content later on.
func lost(g *snapshot.Region) bool {
	const sharedWrite = snapshot.Shared | snapshot.Write
	return g.Deleted || volatilePath(g.Path) || g.Perm&sharedWrite == sharedWrite
}

func (s *selector) beginsModule(g *snapshot.Region) bool {
	return g.Flags&snapshot.Image != 0 &&
		slices.ContainsFunc(s.p.Modules, func(m snapshot.Module) bool { return m.Addr == g.Addr })
}

// anonymous takes private anonymous memory: all of it, what does not exist as
// holes of zeros, but neither holes that are very long nor memory that nobody
// may read and that holds nothing.
func (s *selector) anonymous(g *snapshot.Region) error {
	if s.o.Dump {
		return s.existing(g.Range, g, all, absent)
	}
	hole := s.hole
	if g.Perm&(snapshot.Read|snapshot.Write|snapshot.Execute) == 0 {
		hole = s.page
	}
	if g.Size < hole && g.Flags&snapshot.Userfault == 0 {
		s.take(g.Range)
		return nil
	}
	why := untouched
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
		s.take(snapshot.Range{Addr: at, Size: x.End() - at})
		at = x.End()
	})
	if err != nil {
		return err
	}
	if g.End()-at >= hole {
		s.leave(snapshot.Range{Addr: at, Size: g.End() - at}, g, why)
	} else {
		s.take(snapshot.Range{Addr: at, Size: g.End() - at})
	}
	return nil
}

// existing takes the extents of a part of region g that want accepts.
func (s *selector) existing(part snapshot.Range, g *snapshot.Region, want func(snapshot.Extent) bool, why string) error {
	at := part.Addr
	err := s.walk(part, func(x snapshot.Extent) {
		if !want(x) {
			return
		}
		s.leave(snapshot.Range{Addr: at, Size: x.Addr - at}, g, why)
		s.take(x.Range)
		at = x.End()
	})
	s.leave(snapshot.Range{Addr: at, Size: part.End() - at}, g, why)
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
	return nil
}

// Wants tells whether a dump may hold memory of a region, without a look at the
// memory.
func (o Options) Wants(g *snapshot.Region) bool {
	if excluded(g, o.DontDump) != "" {
		return false
	}
	if o.Kind == Custom && g.Perm&snapshot.Shared != 0 {
		return mask(o.Mask).takes(g)
	}
	return true
}
