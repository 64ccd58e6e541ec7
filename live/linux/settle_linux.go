package linux

import (
	"context"
	"errors"
	"fmt"

	"procdump/snapshot"
)

// Clone lets the process go on: from now on Process.Memory reads a copy of it.
// After a PreCopy this is the one that was made then, with what was written to
// since, if that is little. Else it is one that the kernel makes, page by page
// when one of the two writes to it. Threads and all else of Process stay as they
// were read. Resume ends the copy.
//
// An error that is a *NoClone says why there is none, and the process stands as
// before. Options.Clone must have been set.
func (s *Stopped) Clone(o CloneOptions) error {
	if s.target != nil && len(s.Process.Info.MissedThreads) > 0 {
		s.target.precopy.discard() // what such a thread writes to is not known
	}
	switch {
	case s.target != nil && s.target.precopy.usable():
	case o.NoRoom != "":
		return noClone("%s", o.NoRoom)
	case s.event != nil && s.event.Unhandled && !o.Only && s.endsTogether():
		return noClone("a signal is about to end it, and in a container or a service a clone may be killed then")
	default:
		return s.clone(o)
	}
	atMost := s.little()
	if o.NoRoom != "" && !o.Only {
		atMost = 0
	}
	err := s.settle(o, atMost)
	var much *NoClone
	if !errors.As(err, &much) {
		return err
	}
	if o.NoRoom != "" {
		s.target.precopy.discard()
		return noClone("%s; and for a clone %s", much.Why, o.NoRoom)
	}
	switch err := s.clone(o); {
	case err == nil:
		s.target.precopy.discard()
		s.Process.Info.Warnings = append(s.Process.Info.Warnings, "it was cloned after all (-r live): "+much.Why)
		return nil
	case !errors.Is(err, errors.ErrUnsupported):
		return err
	case o.Only:
		s.target.precopy.discard()
		return err
	}
	err = s.settle(o, 0)
	if errors.Is(err, errors.ErrUnsupported) {
		s.target.precopy.discard()
	}
	return err
}

// little is how many bytes are sooner copied than the process is cloned.
func (s *Stopped) little() uint64 {
	var private uint64
	for i := range s.Process.Regions {
		private += s.Process.Regions[i].Private
	}
	return max(muchLeft, private/cloneOverCopy)
}

// muchLeft is how much may be copied at the stop before a clone is thought of:
// it takes the time of 64 MiB to copy, and of 2 GiB to clone.
const (
	muchLeft      = 64 << 20
	cloneOverCopy = 32
)

var errMuchLeft = errors.New("much is left to copy")

// settle ends a pre-copy: what is not yet in the copy as it is now is copied, and
// the process goes on. With atMost it is a *NoClone if that is more, in bytes, and
// the process stands as before.
func (s *Stopped) settle(o CloneOptions, atMost uint64) (err error) {
	p := s.target.precopy
	ctx := context.Background()
	regions := s.Process.Regions
	looked, err := p.copyUnits(ctx, s.mem, p.unitsOf(regions, s.mem.scan.pagemap), func(c *copier, r snapshot.Range) error {
		if err := c.look(r); err != nil || atMost == 0 || c.left <= atMost {
			return err
		}
		return errMuchLeft
	})
	if err == nil {
		p.store.sweep()
	}
	dirty, left := sum(looked)
	if errors.Is(err, errMuchLeft) || atMost > 0 && left > atMost {
		return noClone("%s were written to while it was copied for the last time, more than the stop should copy", mib(left))
	}
	if err != nil {
		return err
	}
	copied, err := p.copyUnits(ctx, s.mem, &units{rs: dirty}, func(c *copier, r snapshot.Range) error { return c.copy([]snapshot.Range{r}) })
	switch {
	case isNoSpace(err):
		return noClone("%s", whyNoDisk)
	case err != nil:
		return err
	}
	k := &kept{}
	if err := s.keepUntracked(k, p, o); err != nil {
		k.close()
		return err
	}
	info := &s.Process.Info
	for _, c := range copied {
		info.Unreadable = append(info.Unreadable, c.bad...)
	}
	info.Unreadable = snapshot.MergeRanges(info.Unreadable, 0)
	info.Method, info.Rounds = "pre-copy", p.rounds
	if n := left + uint64(k.size); n > muchLeft {
		info.Warnings = append(info.Warnings, fmt.Sprintf("%s were copied while it stood, after %d rounds of pre-copy: it writes to them faster than they are copied, or they are shared with others", mib(n), p.rounds))
	}
	s.mem.kept, s.mem.store = k, p.store
	s.LetGo()
	s.pause = max(s.pause, p.pause)
	p.end()
	return nil
}

// keepUntracked copies what is not copied while the process runs. Pages of files
// that are as the file is are read from there.
func (s *Stopped) keepUntracked(k *kept, p *precopy, o CloneOptions) error {
	keep := func(r snapshot.Range) error {
		err := k.keep(s.mem, r, o.Spool)
		if isNoSpace(err) {
			return noClone("there is no room on the disk for its shared memory, which is not pre-copied")
		}
		return err
	}
	for i := range s.Process.Regions {
		g := &s.Process.Regions[i]
		if unreadable(g) || !p.wants(g) || p.tracks(g) {
			continue
		}
		whole := s.mem.pages(g.Range)
		switch inFile := s.mem.files.open(g) != nil && g.Flags&snapshot.HugeTLB == 0; {
		case !inFile || g.Perm&snapshot.Shared != 0 && notCloned(g):
			if err := keep(whole); err != nil {
				return err
			}
		case g.Perm&snapshot.Shared == 0:
			xs, err := s.mem.scan.present(whole)
			if err != nil {
				return err
			}
			for _, x := range xs {
				if x.Kind&snapshot.ExtentFile != 0 {
					continue
				}
				if err := keep(x.Range); err != nil {
					return err
				}
			}
		}
	}
	k.sort()
	return nil
}

// mib says how many bytes something is, for people.
func mib(n uint64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// copied lists what a pre-copy has of a part of region g. It is of memory that it
// copies, or of a file that is as the process has it.
func (m *Memory) copied(r snapshot.Range, g *snapshot.Region) []snapshot.Extent {
	switch {
	case g.Anonymous():
		return m.store.extents(r)
	case m.files.open(g) != nil:
		return m.addAbsent(nil, r, g)
	}
	return nil
}
