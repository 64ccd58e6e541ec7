package inspect

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"path"
	"slices"

	"procdump/image"
	"procdump/internal/signals"
	"procdump/snapshot"
	"procdump/symbols"
	"procdump/unwind"
)

// namer finds the names of frames.
type namer struct {
	symbols *symbols.Symbolizer
	set     *image.Set
	left    int // frames that may still be named, or KiB of their names
}

// maxNamed bounds the frames of a report, and their names: a damaged dump may have
// so many stacks, and so long paths, that the report would not fit into memory.
const maxNamed = 1 << 18

// cost is what frames take of maxNamed.
func cost(frames []Frame) int {
	n := len(frames)
	for i := range frames {
		f := &frames[i]
		n += (len(f.Function) + len(f.Linkage) + len(f.Module) + len(f.File)) >> 10
	}
	return n
}

// groups puts the threads with equal stacks together.
func (c *Collected) groups(n *namer) []Group {
	index := map[string]int{}
	groups := []Group{}
	for i := range c.p.Threads {
		t := &c.p.Threads[i]
		var s unwind.Stack
		if i < len(c.stacks) {
			s = c.stacks[i]
		}
		key := stackKey(&s)
		k, ok := index[key]
		if !ok {
			k = len(groups)
			index[key] = k
			groups = append(groups, n.group(&s))
		}
		groups[k].Threads = append(groups[k].Threads, c.thread(i, t))
	}
	for i := range groups {
		slices.SortStableFunc(groups[i].Threads, func(a, b Thread) int {
			return cmp.Or(-compareBool(a.Blamed, b.Blamed), cmp.Compare(b.CPUMicros, a.CPUMicros), cmp.Compare(a.TID, b.TID))
		})
	}
	slices.SortStableFunc(groups, func(a, b Group) int {
		x, y := a.Threads[0], b.Threads[0]
		return cmp.Or(-compareBool(x.Blamed, y.Blamed), cmp.Compare(y.CPUMicros, x.CPUMicros), cmp.Compare(x.TID, y.TID))
	})
	return groups
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// stackKey is equal for equal stacks.
func stackKey(s *unwind.Stack) string {
	b := make([]byte, 0, 9*len(s.Frames)+1)
	for _, f := range s.Frames {
		b = binary.LittleEndian.AppendUint64(b, f.PC)
		b = append(b, byte(f.How))
		if f.Script != nil {
			b = fmt.Appendf(b, "%+v\x00", *f.Script)
		}
	}
	return string(append(b, s.End...))
}

func (c *Collected) thread(i int, t *snapshot.Thread) Thread {
	out := Thread{TID: t.TID, Name: t.Name, CPUMicros: (t.UserTime + t.SystemTime).Microseconds(), WaitChannel: t.WaitChannel, Goroutine: c.runs[t.TID]}
	if t.State != 0 {
		out.State = string(rune(t.State))
	}
	if t.Signal != 0 {
		out.Signal = signals.Name(t.Signal)
	}
	if e := c.p.Exception; e != nil {
		out.Blamed = t.TID == e.TID
	} else {
		out.Blamed = i == 0
	}
	return out
}

// group names the frames of a stack.
func (n *namer) group(s *unwind.Stack) Group {
	g := Group{Frames: []Frame{}, Complete: s.Complete, End: s.End}
	cut := s.Cut
	for _, f := range s.Frames {
		if n.left <= 0 {
			g.Complete, cut = false, true
			break
		}
		found := n.frames(f)
		n.left -= cost(found)
		g.Frames = append(g.Frames, found...)
	}
	if cut {
		g.End = "there are more frames than are shown"
	}
	return g
}

// frames names one frame and what was inlined there.
func (n *namer) frames(f unwind.Frame) []Frame {
	if y := f.Script; y != nil {
		return []Frame{{Function: y.Function, File: y.File, Line: y.Line, Language: y.Language, How: f.How.String()}}
	}
	base := Frame{PC: Address(f.PC), SP: Address(f.SP), How: f.How.String(), Guess: f.How.Guess(), Signal: f.Signal}
	if im := n.set.Find(f.CodePC()); im != nil {
		base.Module = im.Module.Path
		if bias, ok := im.Bias(); ok {
			at := Address(f.PC - bias)
			base.ModuleOffset = &at
		}
	}
	found := n.symbols.Lookup(f.CodePC())
	if len(found) == 0 {
		return []Frame{base}
	}
	var all []Frame
	for _, l := range found {
		g := base
		g.Function, g.Linkage, g.File, g.Line, g.Inlined = l.Function, l.Linkage, l.File, l.Line, l.Inlined
		g.Offset = l.Offset + (f.PC - f.CodePC())
		all = append(all, g)
	}
	return all
}

// base is the last element of a path of Linux or Windows.
func base(p string) string {
	for i := len(p) - 1; i >= 0; i-- {
		if p[i] == '\\' {
			return p[i+1:]
		}
	}
	if p == "" {
		return ""
	}
	return path.Base(p)
}
