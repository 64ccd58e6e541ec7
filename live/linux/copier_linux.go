package linux

import (
	"context"
	"os"
	"sync"

	"procdump/internal/sys/fsys"
	"procdump/internal/sys/procmem"
	"procdump/snapshot"
)

// unitSize is how much memory, at most, one goroutine copies at a time: as it is
// a multiple of chunkSize, no two of them have to do with one chunk.
const unitSize = 16 << 20

// unit is pieces of memory that lie within one multiple of unitSize.
type unit []snapshot.Range

// units cuts memory into units, for several goroutines.
type units struct {
	mu      sync.Mutex
	rs      []snapshot.Range // ascending
	pagemap *os.File         // if not nil, units of which nothing exists are left out
}

// unitsOf are the units of the regions that are tracked.
func (p *precopy) unitsOf(regions []snapshot.Region, pagemap *os.File) *units {
	us := &units{pagemap: pagemap}
	for i := range regions {
		if p.tracks(&regions[i]) {
			us.rs = append(us.rs, regions[i].Range)
		}
	}
	return us
}

// next is the next unit; nil: there are no more.
func (us *units) next() (u unit) {
	us.mu.Lock()
	defer us.mu.Unlock()
	us.skip()
	for len(us.rs) > 0 {
		r := &us.rs[0]
		if len(u) > 0 && u[0].Addr/unitSize != r.Addr/unitSize {
			break
		}
		part := snapshot.Range{Addr: r.Addr, Size: min(r.End(), r.Addr&^(unitSize-1)+unitSize) - r.Addr}
		u = append(u, part)
		if r.Addr, r.Size = part.End(), r.Size-part.Size; r.Size == 0 {
			us.rs = us.rs[1:]
		}
	}
	return u
}

// skip passes over whole units of which nothing exists: a region may be many
// TiB of address space.
func (us *units) skip() {
	if us.pagemap == nil || len(us.rs) == 0 {
		return
	}
	r := &us.rs[0]
	if r.Addr%unitSize != 0 || r.Size <= unitSize {
		return
	}
	first, ok, err := procmem.First(us.pagemap, r.Addr, r.End())
	if err != nil {
		return
	}
	end := r.End()
	if !ok {
		first = end - 1
	}
	r.Addr = first &^ (unitSize - 1)
	r.Size = end - r.Addr
}

// copiers is how many goroutines copy, and copySize the bytes that each reads at
// a time.
const (
	copiers  = 2
	copySize = 1 << 20
)

// copier copies from a process to a copyStore.
type copier struct {
	p      *precopy
	mem    *Memory
	buf    []byte
	found  [512]procmem.Region
	copied uint64
	bad    []snapshot.Range
	dirty  []snapshot.Range // of a look: what is to be copied
	left   uint64           // bytes in dirty
}

// copyUnits does f for all pieces of memory, by several copiers.
func (p *precopy) copyUnits(ctx context.Context, mem *Memory, us *units, f func(c *copier, r snapshot.Range) error) ([]*copier, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	cs := make([]*copier, copiers)
	for k := range cs {
		c := p.copier(k, mem)
		cs[k] = c
		wg.Go(func() {
			for u := us.next(); u != nil; u = us.next() {
				for _, r := range u {
					if ctx.Err() != nil {
						return
					}
					if err := f(c, r); err != nil {
						cancel(err)
					}
				}
			}
		})
	}
	wg.Wait()
	return cs, context.Cause(ctx)
}

// copier returns the k-th one, whose buffer is there from round to round.
func (p *precopy) copier(k int, mem *Memory) *copier {
	if p.buffers[k] == nil {
		p.buffers[k] = fsys.AlignedBuffer(copySize)
	}
	return &copier{p: p, mem: mem, buf: p.buffers[k]}
}

// recopy protects what was written to of a range, and copies it. Whatever is
// written from then on will be found by the next round, or at the stop.
func (c *copier) recopy(r snapshot.Range) error {
	for at := r.Addr; at < r.End(); {
		n, next, err := procmem.Protect(c.mem.scan.pagemap, at, r.End(), c.found[:])
		if err != nil {
			return orGone(err)
		}
		c.dirty = c.dirty[:0]
		for _, x := range c.found[:n] {
			c.dirty = append(c.dirty, snapshot.Range{Addr: x.Start, Size: x.End - x.Start})
		}
		if err := c.copy(c.dirty); err != nil {
			return err
		}
		if next <= at {
			break
		}
		at = next
	}
	return nil
}

// copy copies ranges, which are ascending. What cannot be read becomes unknown.
func (c *copier) copy(rs []snapshot.Range) error {
	var batch []snapshot.Extent
	var size uint64
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		bad, err := c.mem.ReadExtents(c.buf[:size], batch)
		if err != nil {
			return err
		}
		p := c.buf[:size]
		for _, x := range batch {
			if err := c.p.store.put(x.Addr, p[:x.Size]); err != nil {
				return err
			}
			p = p[x.Size:]
		}
		for _, r := range bad {
			c.p.store.forget(r)
		}
		c.bad, c.copied = append(c.bad, bad...), c.copied+size
		batch, size = batch[:0], 0
		return nil
	}
	for _, r := range rs {
		for r.Size > 0 {
			part := snapshot.Range{Addr: r.Addr, Size: min(r.Size, copySize-size)}
			batch = append(batch, snapshot.Extent{Range: part, Kind: snapshot.ExtentPresent})
			size += part.Size
			r.Addr, r.Size = part.End(), r.Size-part.Size
			if size == copySize || len(batch) == procmem.MaxVector {
				if err := flush(); err != nil {
					return err
				}
			}
		}
	}
	return flush()
}

// look finds what of a range is not in the copy as it is now, while the process
// stands. What is not there any more is taken out of the copy.
func (c *copier) look(r snapshot.Range) error {
	type seen struct{ exists, clean, zero pageSet }
	var all [unitSize / chunkSize]seen
	for at := r.Addr; at < r.End(); {
		n, next, err := procmem.ScanTracked(c.mem.scan.pagemap, at, r.End(), c.found[:])
		if err != nil {
			return orGone(err)
		}
		for _, x := range c.found[:n] {
			parts(snapshot.Range{Addr: x.Start, Size: x.End - x.Start}, func(addr uint64, i, j int) {
				s, pages := &all[addr%unitSize/chunkSize], span(i, j)
				s.exists.add(pages)
				if x.Categories&(procmem.PageTracked|procmem.PageWritten) == procmem.PageTracked {
					s.clean.add(pages)
				}
				if x.Categories&procmem.PageZero != 0 {
					s.zero.add(pages)
				}
			})
		}
		if next <= at {
			break
		}
		at = next
	}
	parts(r, func(addr uint64, i, j int) {
		s := &all[addr%unitSize/chunkSize]
		ch := c.p.store.at(addr, s.exists != pageSet{})
		if ch == nil {
			return
		}
		outside := span(i, j)
		for w := range outside {
			outside[w] = ^outside[w]
		}
		ch.looked = true
		known := ch.held
		known.add(ch.zero)
		known.intersect(s.clean)
		dirty := s.exists
		dirty.remove(known)
		dirty.remove(s.zero)
		stay := outside
		stay.add(known)
		ch.held.intersect(stay)
		ch.held.remove(s.zero) // of which nothing is written
		ch.zero.intersect(stay)
		ch.zero.add(s.zero)
		for k := dirty.next(0, true); k < chunkPages; {
			end := dirty.next(k, false)
			c.dirty = append(c.dirty, snapshot.Range{Addr: addr + uint64(k)*chunkPage, Size: uint64(end-k) * chunkPage})
			c.left += uint64(end-k) * chunkPage
			k = dirty.next(end, true)
		}
	})
	return nil
}

// sum are the ranges that copiers found to be copied, ascending, and their bytes.
func sum(cs []*copier) (dirty []snapshot.Range, left uint64) {
	for _, c := range cs {
		dirty, left = append(dirty, c.dirty...), left+c.left
	}
	return snapshot.MergeRanges(dirty, 0), left
}
