package capture

import (
	"context"
	"sync"
	"time"
)

// Pacer bounds how many bytes are copied in a second, by all who share it. A nil
// Pacer bounds nothing.
type Pacer struct {
	perSecond uint64
	mu        sync.Mutex
	next      time.Time // when the next bytes may be copied
}

// NewPacer returns a Pacer for so many bytes a second, at least 1.
func NewPacer(perSecond uint64) *Pacer { return &Pacer{perSecond: perSecond} }

// batch returns how many bytes are to be copied at a time where one who is in no
// hurry copies most: as much as a sixteenth of a second has, in whole pages.
func (p *Pacer) batch(most int) int {
	if p == nil {
		return most
	}
	const share = 16
	return int(min(uint64(most), max(p.perSecond/share&^(page-1), page)))
}

// wait waits until n more bytes may be copied. What was not copied while that
// was allowed is not made up for.
func (p *Pacer) wait(ctx context.Context, n uint64) error {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	now := time.Now()
	begin := p.next
	if begin.Before(now) {
		begin = now
	}
	p.next = begin.Add(time.Duration(float64(n) / float64(p.perSecond) * float64(time.Second)))
	p.mu.Unlock()
	if !begin.After(now) {
		return nil
	}
	t := time.NewTimer(begin.Sub(now))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
