package dumpkind

import (
	"slices"
	"sync"

	"procdump/snapshot"
)

// stackSet is the used stacks of a process: those that the threads are on and
// those that they left for an alternate signal stack.
type stackSet struct {
	s     *selector
	parts []snapshot.Range // of each thread: what is taken of the stack that it is on
	left  []leftStack      // by the threads that are on an alternate stack
	pages []snapshot.Range // all of it, as ascending whole pages

	// A copy of the stacks that the threads are on, and what of it could not be
	// read. nil: they are too large to be kept in RAM.
	img *snapshot.MemoryImage
	bad []snapshot.Range
}

// leftStack is a stack that a signal handler interrupted.
type leftStack struct {
	region *snapshot.Region
	used   snapshot.Range
}

// usedStacks lists the stacks that the threads are on. Where all of them
// together pass the budget, each is cut at its far end.
func (s *selector) usedStacks() (*stackSet, error) {
	st := &stackSet{s: s, parts: make([]snapshot.Range, len(s.p.Threads))}
	for i := range s.p.Threads {
		st.parts[i] = s.p.Threads[i].Stack
	}
	cut(st.parts, stackBudget)
	var err error
	st.pages, err = s.wholePages(st.parts)
	return st, err
}

// cut shortens ranges to the same size so that they hold at most budget bytes
// together, but minStack bytes each. The first one, which is the blamed
// thread's, is cut last.
func cut(list []snapshot.Range, budget uint64) {
	limit := uint64(maxStack)
	for ; limit > minStack; limit /= 2 {
		var sum uint64
		for _, st := range list {
			sum += min(st.Size, limit)
		}
		if sum <= budget {
			break
		}
	}
	for i := range list {
		if i == 0 {
			list[i].Size = min(list[i].Size, max(limit, 1<<20))
		} else {
			list[i].Size = min(list[i].Size, limit)
		}
	}
}

// scanBytes is how much of stacks is read at a time if they are not kept.
const scanBytes = 1 << 20

// visitor is called with a thread and what is taken of its stack; the bytes are
// valid until it returns.
type visitor func(th *snapshot.Thread, stack []byte)

// read has each thread visited. With several visitors, which may run at once,
// each gets some of the threads, in order: the first visitor the first ones. It
// finds the stacks that were left for alternate ones, and keeps a copy if that is
// at most room bytes.
func (st *stackSet) read(room uint64, visitors ...visitor) error {
	mem, threads := st.s.p.Memory, st.s.p.Threads
	if total(st.pages) <= room {
		var err error
		if st.img, st.bad, err = snapshot.CopyMemory(mem, st.pages); err != nil {
			return err
		}
		left := make([][]leftStack, len(visitors))
		var all sync.WaitGroup
		for i, visit := range visitors {
			from, to := len(threads)*i/len(visitors), len(threads)*(i+1)/len(visitors)
			all.Go(func() { left[i] = st.visit(st.img, from, to, visit) })
		}
		all.Wait()
		st.left = slices.Concat(left...)
		return st.addLeft()
	}
	img := new(snapshot.MemoryImage)
	for from := 0; from < len(threads); {
		to, size := from, uint64(0)
		for to < len(threads) && (to == from || size <= scanBytes) {
			size += st.parts[to].Size + 2*st.s.page // to both sides, at most
			to++
		}
		pages, err := st.s.wholePages(st.parts[from:to])
		if err != nil {
			return err
		}
		if _, err := img.Load(mem, pages); err != nil {
			return err
		}
		st.left = append(st.left, st.visit(img, from, to, visitors[0])...)
		from = to
	}
	return st.addLeft()
}

// visit visits threads from up to to, whose stacks img has, and returns the
// stacks that they have left.
func (st *stackSet) visit(img *snapshot.MemoryImage, from, to int, visit visitor) (left []leftStack) {
	for i := from; i < to; i++ {
		th := &st.s.p.Threads[i]
		stack := img.Bytes(st.parts[i].Addr)
		stack = stack[:min(uint64(len(stack)), st.parts[i].Size)]
		if g, used := interrupted(st.s.p, th, stack); g != nil {
			left = append(left, leftStack{g, used})
		}
		visit(th, stack)
	}
	return left
}

// addLeft takes the stacks that were left, within what remains of the budget.
func (st *stackSet) addLeft() error {
	if len(st.left) == 0 {
		return nil
	}
	var list []snapshot.Range
	for _, l := range st.left {
		list = append(list, l.used)
	}
	cut(list, stackBudget-min(total(st.pages), stackBudget))
	more, err := st.s.wholePages(list)
	if err != nil {
		return err
	}
	st.pages = snapshot.MergeRanges(append(st.pages, more...), 0)
	return nil
}
