package linux

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"procdump/internal/sys/procmem"
	"procdump/internal/sys/userfault"
	"procdump/snapshot"
)

// Bounds of a pre-copy: rounds end when one had so little to copy that the stop
// can copy what was written meanwhile, or when more of them are of no use.
const (
	fewBytes     = 4 << 20
	maxRounds    = 16
	roundsWithin = time.Minute // after the first one, which copies all
)

// precopy is a copy of a process's memory that is made while it runs. What is
// written to meanwhile is copied again; what is left is copied at the stop.
type precopy struct {
	t          *Target
	o          CloneOptions
	fault      *userfault.File
	registered []snapshot.Range // ascending; some may not be there any more
	store      *copyStore
	buffers    [copiers][]byte
	rounds     int
	pause      time.Duration // of the stop in which fault was made
}

// PreCopy copies the process's memory while it runs, until little of it is
// written to between two rounds. Stopped.Clone of the stop that follows copies
// the rest: what it shows then is the process at that stop. stop stops the
// process for a moment; nil: as Stop does.
//
// An error that is a *NoClone says why it cannot be done: nothing is changed. So
// does one of the stop. Options.Clone must have been set.
func (t *Target) PreCopy(ctx context.Context, o CloneOptions, stop func(context.Context) (*Stopped, error)) error {
	if why := t.noPreCopy(); why != "" {
		return noClone("%s", why)
	}
	if stop == nil {
		stop = t.stopBriefly
	}
	file, err := o.Spool()
	if err != nil {
		return noClone("no file can be made for it: %v", err)
	}
	p := &precopy{t: t, o: o, store: newCopyStore(file)}
	if err = p.track(ctx, stop); err == nil {
		t.precopy = p
		err = p.run(ctx)
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case isNoSpace(err):
		err = noClone("%s", whyNoDisk)
	case errors.Is(err, ErrGone) && t.executed():
		err = noClone("%s", whyExecuted)
	}
	t.precopy = nil
	p.discard()
	return err
}

const whyNoDisk = "there is no room on the disk for a copy of its memory beside the dump"

// discard ends a pre-copy that is of no use.
func (p *precopy) discard() {
	if p == nil {
		return
	}
	p.end()
	_ = p.store.file.Truncate(0) // the dump needs the room
}

// usable tells whether the copy can still be completed.
func (p *precopy) usable() bool { return p != nil && p.fault != nil }

// noPreCopy tells what stands against it before anything is tried.
func (t *Target) noPreCopy() string {
	switch {
	case t.NoClone() != "":
		return t.NoClone()
	case t.base.System.PageSize != chunkPage:
		return "the machine's pages are not of 4 KiB"
	}
	return t.untracked()
}

// deviceFiles begin the names of files by which memory is given to devices.
var deviceFiles = []string{"/dev/vfio", "anon_inode:[vfio", "/dev/infiniband", "/dev/dri", "/dev/kfd", "/dev/nvidia"}

// untracked tells what could write to the process's memory unseen. A device
// writes to pages that are pinned for it, whether they are protected or not.
func (t *Target) untracked() string {
	b, err := os.ReadFile(procPath(t.mm, "status"))
	if pinned := statusField(b, "VmPin"); err == nil && pinned != "" && !strings.HasPrefix(pinned, "0 ") {
		return "devices may write to its memory, which is pinned for them"
	}
	for _, fd := range descriptors(t.PID) {
		to, err := os.Readlink(procPath(t.PID, "fd", fmt.Sprint(fd)))
		if err != nil {
			continue
		}
		switch {
		case slices.ContainsFunc(deviceFiles, func(f string) bool { return strings.HasPrefix(to, f) }):
			return "devices may write to its memory (" + to + ")"
		case to == "anon_inode:[userfaultfd]":
			return "it has a userfaultfd itself"
		case to == "anon_inode:[io_uring]":
			return "it uses io_uring, by which devices may write to its memory"
		case strings.HasPrefix(to, "/") && t.opensDirect(fd):
			return "devices write to its memory: it has a file open with O_DIRECT"
		}
	}
	return ""
}

// opensDirect tells whether a descriptor is one past the page cache.
func (t *Target) opensDirect(fd int) bool {
	b, err := os.ReadFile(procPath(t.PID, "fdinfo", fmt.Sprint(fd)))
	var flags uint64
	if err == nil {
		_, err = fmt.Sscanf(statusField(b, "flags"), "%o", &flags)
	}
	return err == nil && flags&syscall.O_DIRECT != 0
}

// stopBriefly is Stop without a look at the threads.
func (t *Target) stopBriefly(ctx context.Context) (*Stopped, error) {
	return t.untilFree(ctx, func() (*Stopped, error) { return t.stopOnce(ctx) })
}

func (t *Target) stopOnce(ctx context.Context) (*Stopped, error) {
	base := t.base
	tracer := newTracer()
	s := &Stopped{holder: tracer, Process: &base, target: t}
	var lost []missed
	var err error
	tracer.do(func() { s.held, lost, s.begin, err = stopAll(ctx, t.PID) })
	if err != nil {
		tracer.end()
		return nil, err
	}
	var text []byte
	mm := anyThread(s.held, lost)
	if !t.sameProgram(mm) {
		err = noClone("%s", whyExecuted)
	}
	if len(lost) > 0 {
		err = noClone("%s", whyWaits)
	}
	if err == nil {
		text, err = os.ReadFile(procPath(mm, "maps"))
	}
	if err == nil {
		base.Regions, err = parseMaps(text)
	}
	if err == nil {
		s.mem, err = openMemory(mm, base.Regions, base.System.PageSize, t.files)
	}
	if err != nil {
		s.Resume()
		return nil, err
	}
	return s, nil
}

const whyExecuted = "it has executed another program"

// track makes the process's writes trackable.
func (p *precopy) track(ctx context.Context, stop func(context.Context) (*Stopped, error)) error {
	s, err := stop(ctx)
	if err != nil {
		return err
	}
	defer func() { p.pause = s.Resume() }()
	if s.target != p.t {
		return noClone("%s", whyExecuted)
	}
	if err = s.cloneable(); err != nil {
		return err
	}
	s.holder.do(func() { p.fault, err = s.userfault() })
	return err
}

// userfault makes a userfaultfd of the process. It runs on the thread that
// traces it.
func (s *Stopped) userfault() (u *userfault.File, err error) {
	room := s.room(s.Process.Regions)
	if room.Size == 0 {
		return nil, noClone("its stack has no room below what is in use")
	}
	seat, _, err := s.sit(room)
	if err != nil {
		return nil, err
	}
	err = seat.Userfault(func(pid, fd int) error {
		var terr error
		u, terr = userfault.Take(pid, fd)
		return terr
	})
	if lerr := seat.Leave(); err == nil {
		err = lerr
	}
	if err == nil {
		return u, nil
	}
	if u != nil {
		u.Close()
	}
	if err = refused(err); errors.Is(err, errors.ErrUnsupported) {
		err = noClone("%v", err)
	}
	return nil, err
}

// run copies rounds.
func (p *precopy) run(ctx context.Context) error {
	var before uint64
	var begin time.Time
	for useless := 0; ; {
		n, err := p.round(ctx)
		if err != nil {
			return err
		}
		p.rounds++
		if p.rounds == 1 {
			begin, before = time.Now(), n
			continue
		}
		// A round that has not much less to copy than the one before has as much
		// as is written to while it lasts.
		if n > before-before/4 {
			useless++
		}
		before = n
		if n <= fewBytes || useless == 2 || p.rounds == maxRounds || time.Since(begin) > roundsWithin {
			break
		}
	}
	if why := p.t.untracked(); why != "" {
		return noClone("%s", why)
	}
	return nil
}

// tracks tells whether a region's memory is copied while the process runs: that
// of which nobody else has a part.
func (p *precopy) tracks(g *snapshot.Region) bool {
	const not = snapshot.IO | snapshot.PFNMap | snapshot.HugeTLB | snapshot.Userfault | snapshot.RemoteFile
	return g.Anonymous() && g.Flags&not == 0 && !unreadable(g) && g.Path != "[vdso]" && p.wants(g)
}

func (p *precopy) wants(g *snapshot.Region) bool { return p.o.Want == nil || p.o.Want(g) }

// disown takes the mark of a userfaultfd off regions that is there because of
// p's.
func (p *precopy) disown(regions []snapshot.Region) {
	if p == nil {
		return
	}
	for i := range regions {
		g := &regions[i]
		if k := rangeAfter(p.registered, g.Addr); k < len(p.registered) && p.registered[k].Intersect(g.Range).Size > 0 {
			g.Flags &^= snapshot.Userfault
		}
	}
}

// rangeAfter is the index of the first range that ends after addr.
func rangeAfter(rs []snapshot.Range, addr uint64) int {
	i, _ := slices.BinarySearchFunc(rs, addr, func(r snapshot.Range, addr uint64) int {
		if r.End() > addr {
			return 1
		}
		return -1
	})
	return i
}

// round copies what was written to since the one before, the first one all. It
// returns how much that was.
func (p *precopy) round(ctx context.Context) (uint64, error) {
	t := p.t
	t.refresh() // so that flags of regions that are new are known
	if !t.sameProgram(t.mm) {
		return 0, noClone("%s", whyExecuted)
	}
	text, err := os.ReadFile(procPath(t.mm, "maps"))
	if err != nil {
		return 0, orGoneProc(err)
	}
	regions, err := parseMaps(text)
	if err != nil {
		return 0, err
	}
	mergeFlags(regions, t.smaps)
	mem, err := openMemory(t.mm, regions, chunkPage, t.files)
	if err != nil {
		return 0, orGoneProc(err)
	}
	defer mem.close()
	for i := range regions {
		if p.tracks(&regions[i]) {
			if err := p.register(mem, regions[i].Range); err != nil {
				return 0, err
			}
		}
	}
	p.registered = snapshot.MergeRanges(p.registered, 0)
	cs, err := p.copyUnits(ctx, mem, p.unitsOf(regions, mem.scan.pagemap), (*copier).recopy)
	var n uint64
	for _, c := range cs {
		n += c.copied
	}
	return n, err
}

// register makes a region trackable if it is not: it is new, or another one was
// moved to where it is.
func (p *precopy) register(mem *Memory, r snapshot.Range) error {
	var one [1]procmem.Region
	switch n, _, err := procmem.ScanTracked(mem.scan.pagemap, r.Addr, r.End(), one[:]); {
	case err != nil && gone(err):
		return ErrGone
	case err != nil:
		return noClone("the kernel does not tell which pages are written to (Linux 6.7): %v", err)
	case n == 1 && one[0].Categories&procmem.PageTracked != 0:
		return nil
	}
	// What cannot be registered is copied at the stop.
	if err := p.fault.Register(r.Addr, r.Size); err != nil {
		if gone(err) {
			return ErrGone
		}
		return nil
	}
	p.registered = append(p.registered, r)
	p.store.forget(r)
	// Memory that was moved here may look protected and not be (mremap(2) before Linux 6.13).
	return inSteps(r, p.fault.Unprotect)
}

// stepSize is how much memory the kernel is asked to change at a time: as long
// as it does that the process cannot map or unmap memory.
const stepSize = 64 << 20

func inSteps(r snapshot.Range, f func(addr, size uint64) error) error {
	for at := r.Addr; at < r.End(); at += stepSize {
		// A part that is not there any more is no reason not to do the others.
		if err := f(at, min(stepSize, r.End()-at)); gone(err) {
			return ErrGone
		}
	}
	return nil
}

// end lets the process have its memory to itself again.
func (p *precopy) end() {
	if p == nil {
		return
	}
	p.store.close()
	if p.fault == nil {
		return
	}
	// To close it would do, but the process could not touch its memory meanwhile.
	for _, r := range p.registered {
		if inSteps(r, p.fault.Unprotect) != nil || inSteps(r, p.fault.Unregister) != nil {
			break
		}
	}
	p.fault.Close()
	p.fault = nil
}
