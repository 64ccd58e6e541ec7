package interp

import (
	"errors"
	"time"
)

// What finding the functions of scripts may cost: in a damaged process lists may
// have no end.
const (
	maxReads       = 4 << 20          // of memory, for all stacks
	maxThreadReads = 1 << 20          // for one
	maxTime        = 2 * time.Minute  // for all stacks
	maxThreadTime  = 20 * time.Second // for one
)

var (
	errReads = errors.New("what the runtime says of its stacks has no end")
	errLate  = errors.New("to read what the runtime says of its stacks takes too long")
)

// budget is what may still be spent on reading memory.
type budget struct {
	reads  int           // for all stacks
	time   time.Duration // for all stacks
	thread int           // reads for this one
	began  time.Time     // with this one
	short  error         // what this one lacked
}

func newBudget() budget { return budget{reads: maxReads, time: maxTime, thread: maxReads} }

// begin begins with a stack.
func (b *budget) begin() {
	b.thread, b.began, b.short = maxThreadReads, time.Now(), nil
}

// end ends it, and returns an error if it would have taken more than there was.
func (b *budget) end() error {
	b.time -= time.Since(b.began)
	b.began = time.Time{}
	return b.short
}

// take takes a read.
func (b *budget) take() bool {
	const often = 64 // reads from one look at the clock to the next
	switch {
	case b.short != nil:
		return false
	case b.reads <= 0 || b.thread <= 0:
		b.short = errReads
		return false
	case b.reads%often == 0 && !b.began.IsZero() && time.Since(b.began) > min(maxThreadTime, b.time):
		b.short = errLate
		return false
	}
	b.reads--
	b.thread--
	return true
}
