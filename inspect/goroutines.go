package inspect

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"procdump/goroutine"
	"procdump/unwind"
)

// Goroutines are those of a Go program, on a thread or not.
type Goroutines struct {
	Count int `json:"count"`
	// Groups are those with equal stacks, in the same state, begun at the same
	// place: first those on a thread, then the largest, at last the runtime's own.
	Groups []GoroutineGroup `json:"groups"`
}

// GoroutineGroup are goroutines that stand at the same place.
type GoroutineGroup struct {
	Goroutines []Goroutine `json:"goroutines"`
	// State is what they wait for, else what they do: "chan receive", "running".
	State  string `json:"state"`
	System bool   `json:"system,omitempty"` // they are the runtime's own
	// CreatedBy is the go statement that began them.
	CreatedBy *Frame  `json:"createdBy,omitempty"`
	Frames    []Frame `json:"frames"` // the innermost first
	Complete  bool    `json:"complete"`
	End       string  `json:"end,omitempty"`
}

// Goroutine is one goroutine.
type Goroutine struct {
	ID     uint64 `json:"id"`
	Parent uint64 `json:"parent,omitempty"` // the goroutine that began it
	TID    int    `json:"tid,omitempty"`    // the thread that runs it
	// WaitMicros is for how long the garbage collector has seen it wait, in
	// microseconds; 0 if it has not or the dump does not tell.
	WaitMicros int64  `json:"waitMicros,omitempty"`
	Panic      string `json:"panic,omitempty"` // what it panics with
}

// routine is a goroutine with its stack.
type routine struct {
	goroutine.Goroutine
	stack unwind.Stack
}

// goroutines walks the stacks of a Go program's goroutines, of at most limit
// frames together, and lets the stacks of threads that have left a goroutine's
// stack for another go on there.
func (c *Collected) goroutines(u *unwind.Unwinder, limit int) {
	l, err := goroutine.Find(c.p, c.set)
	if err != nil {
		if !errors.Is(err, goroutine.ErrNone) {
			c.warnings = append(c.warnings, err.Error())
		}
		return
	}
	threads := map[int]*unwind.Stack{}
	for i := range c.stacks {
		threads[c.p.Threads[i].TID] = &c.stacks[i]
	}
	for i := range l.All {
		if limit <= 0 {
			l.LeftOut += len(l.All) - i
			break
		}
		r := routine{Goroutine: l.All[i]}
		r.stack = c.goroutineStack(u, &r.Goroutine, threads[r.TID], min(limit, maxFrames))
		limit -= len(r.stack.Frames)
		if _, ok := c.runs[r.TID]; !ok && r.TID != 0 {
			c.runs[r.TID] = r.ID
		}
		c.routines = append(c.routines, r)
	}
	if l.LeftOut > 0 {
		c.warnings = append(c.warnings, fmt.Sprintf("%d goroutines are left out: there are too many", l.LeftOut))
	}
}

// goroutineStack is the stack of a goroutine. thread is that of the thread that
// runs it, or nil.
func (c *Collected) goroutineStack(u *unwind.Unwinder, g *goroutine.Goroutine, thread *unwind.Stack, limit int) unwind.Stack {
	if thread == nil {
		return u.Resume(g.PC, g.SP, g.FP, g.LR, limit)
	}
	// The thread is on it, or in a signal handler that has interrupted it.
	if i := slices.IndexFunc(thread.Frames, func(f unwind.Frame) bool { return g.Stack.Contains(f.SP) }); i >= 0 {
		s := *thread
		s.Frames = thread.Frames[i:]
		return s
	}
	s := u.Resume(g.PC, g.SP, g.FP, g.LR, limit)
	if thread.Switched && len(s.Frames) > 0 {
		frames := s.Frames
		// The place of the switch has a function of its own that nobody calls.
		if f := c.set.GoFunc(frames[0].PC); f != nil && f.Name == "runtime.systemstack_switch" {
			frames = frames[1:]
		}
		thread.Frames = append(thread.Frames, frames...)
		thread.Complete, thread.Cut, thread.End, thread.Switched = s.Complete, s.Cut, s.End, false
	}
	return s
}

// panicOf is what the goroutine of a thread panics with, "" if it does not.
func (c *Collected) panicOf(tid int) string {
	for i := range c.routines {
		if r := &c.routines[i]; r.TID == tid && r.Panic != "" {
			return r.Panic
		}
	}
	return ""
}

// goroutineGroups puts goroutines that stand at the same place together.
func (c *Collected) goroutineGroups(n *namer) *Goroutines {
	if len(c.routines) == 0 {
		return nil
	}
	out := &Goroutines{Count: len(c.routines), Groups: []GoroutineGroup{}}
	index := map[string]int{}
	for i := range c.routines {
		r := &c.routines[i]
		state := cmp.Or(r.Reason, r.Status.String())
		key := string(binary.LittleEndian.AppendUint64(nil, r.Created)) + state + "\x00" + stackKey(&r.stack)
		k, ok := index[key]
		if !ok {
			k = len(out.Groups)
			index[key] = k
			s := n.group(&r.stack)
			g := GoroutineGroup{State: state, Frames: s.Frames, Complete: s.Complete, End: s.End, CreatedBy: n.created(r)}
			if f := n.symbols.Lookup(r.Start); len(f) > 0 {
				g.System = goroutine.System(f[len(f)-1].Function)
			}
			out.Groups = append(out.Groups, g)
		}
		out.Groups[k].Goroutines = append(out.Groups[k].Goroutines,
			Goroutine{ID: r.ID, Parent: r.Parent, TID: r.TID, WaitMicros: c.waited(&r.Goroutine), Panic: r.Panic})
	}
	slices.SortStableFunc(out.Groups, func(a, b GoroutineGroup) int {
		x, y := a.Goroutines[0], b.Goroutines[0]
		return cmp.Or(compareBool(a.System, b.System), -compareBool(x.TID != 0, y.TID != 0),
			-cmp.Compare(len(a.Goroutines), len(b.Goroutines)), cmp.Compare(x.ID, y.ID))
	})
	return out
}

// created is the go statement that began a goroutine, nil if it is not known: the
// runtime begins the first in another way.
func (n *namer) created(r *routine) *Frame {
	const first = 1
	if r.Created == 0 || r.ID == first {
		return nil
	}
	f := n.frames(unwind.Frame{PC: r.Created, How: unwind.ByGo})[0]
	if f.Function == "" {
		return nil
	}
	return &f
}

// waited is for how long a goroutine has waited. The dump tells when it was
// made and when the machine began to run, to a second.
func (c *Collected) waited(g *goroutine.Goroutine) int64 {
	now, boot := c.p.Info.Time, c.p.System.BootTime
	if now.IsZero() || boot.IsZero() || g.WaitSince <= 0 || g.Status != goroutine.Waiting && g.Status != goroutine.Syscall {
		return 0
	}
	return max(now.Sub(boot).Microseconds()-g.WaitSince/1000, 0)
}
