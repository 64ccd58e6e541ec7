// Package pipeline moves pages from memory to a writer: read and transformed
// by several goroutines, delivered in order, with bounded memory.
package pipeline

import (
	"context"
	"iter"
	"sync"

	"procdump/kdump"
)

// Batch is some pages on their way. State is what the writer keeps with it.
type Batch[T any] struct {
	Runs  []kdump.PageRun // in ascending order; Pages in all
	Pages uint64
	State T
	done  chan struct{}
}

// Pipeline holds the batches, which are used again and again, so that their
// number bounds the memory.
type Pipeline[T any] struct {
	Workers  int
	MaxPages uint64 // of a batch
	MaxPFN   uint64 // pages from there on are dropped
	New      func() T
	free     []*Batch[T]
}

func (p *Pipeline[T]) batch() *Batch[T] {
	if n := len(p.free); n > 0 {
		b := p.free[n-1]
		p.free = p.free[:n-1]
		return b
	}
	return &Batch[T]{State: p.New(), done: make(chan struct{}, 1)}
}

// Run cuts wanted into batches, calls work on each in one of the workers'
// goroutines, and commit in the caller's goroutine in the order of wanted. It
// returns the first error of commit or the context's.
func (p *Pipeline[T]) Run(ctx context.Context, wanted iter.Seq[kdump.PageRun],
	work func(worker int, b *Batch[T]), commit func(*Batch[T]) error) error {
	outer := ctx
	ctx, cancel := context.WithCancel(ctx)
	free := make(chan *Batch[T], p.Workers+2)
	for range cap(free) {
		free <- p.batch()
	}
	todo, order := make(chan *Batch[T], cap(free)), make(chan *Batch[T], cap(free))
	var group sync.WaitGroup
	for worker := range p.Workers {
		group.Go(func() {
			for b := range todo {
				if ctx.Err() == nil {
					work(worker, b)
				}
				b.done <- struct{}{}
			}
		})
	}
	group.Go(func() {
		defer close(order)
		defer close(todo)
		p.cut(ctx, wanted, free, func(b *Batch[T]) {
			order <- b
			todo <- b
		})
	})
	var failed error
	for b := range order {
		<-b.done
		if failed == nil && ctx.Err() == nil {
			if failed = commit(b); failed != nil {
				cancel()
			}
		}
		free <- b
	}
	cancel()
	group.Wait()
	close(free)
	for b := range free {
		p.free = append(p.free, b)
	}
	if failed != nil {
		return failed
	}
	return outer.Err()
}

// cut makes batches of at most MaxPages pages of wanted.
func (p *Pipeline[T]) cut(ctx context.Context, wanted iter.Seq[kdump.PageRun], free chan *Batch[T], emit func(*Batch[T])) {
	var b *Batch[T]
	defer func() {
		if b != nil {
			emit(b)
		}
	}()
	for r := range wanted {
		r.Count = min(r.Count, p.MaxPFN-min(r.PFN, p.MaxPFN))
		for r.Count > 0 {
			if b == nil {
				select {
				case b = <-free:
				case <-ctx.Done():
					return
				}
				b.Runs, b.Pages = b.Runs[:0], 0
			}
			n := min(r.Count, p.MaxPages-b.Pages)
			b.Runs = append(b.Runs, kdump.PageRun{PFN: r.PFN, Count: n, State: r.State})
			b.Pages += n
			r.PFN, r.Count = r.PFN+n, r.Count-n
			if b.Pages == p.MaxPages {
				emit(b)
				b = nil
			}
		}
	}
}

// ReadPages reads the pages of runs from m into b, one behind the other, and
// calls page for each in turn: with its contents, or with why it cannot be
// read.
func ReadPages(m kdump.Memory, pageSize uint64, runs []kdump.PageRun, b []byte, page func(contents []byte, err error)) {
	for _, r := range runs {
		addr, size := r.PFN*pageSize, r.Count*pageSize
		for size > 0 {
			n, err := m.ReadPhys(b[:size], addr)
			whole := uint64(n) / pageSize * pageSize
			for i := uint64(0); i < whole; i += pageSize {
				page(b[i:i+pageSize], nil)
			}
			if whole < size {
				if err == nil {
					err = kdump.ErrDamaged
				}
				page(nil, err)
				whole += pageSize
			}
			b, addr, size = b[whole:], addr+whole, size-whole
		}
	}
}
