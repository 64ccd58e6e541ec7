package render

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"procdump/inspect"
	"procdump/render/page"
)

const (
	maxGroups      = 60 // stacks
	maxFirst       = 60 // frames of the stack that the dump is about
	maxOthers      = 25 // frames of another
	maxNamed       = 12 // threads that are named of a group
	maxCycle       = 4  // frames of a recursion that is recognised
	maxWaits       = 4  // different things that threads of a group wait for
	fewestRepeated = 3  // times that it must repeat
)

// stacks writes the threads, those with equal stacks together.
func (p *report) stacks(r *inspect.Report) {
	for i := range r.Groups {
		if i == maxGroups {
			p.Section("… and %s more; procdump inspect -json has them", page.Plural(len(r.Groups)-i, "stack"))
			break
		}
		g := &r.Groups[i]
		p.Line("")
		p.Text("", "  ", groupTitle(g, r.Exception != nil))
		limit := maxOthers
		if i == 0 {
			limit = maxFirst
		}
		p.frames(g, limit)
	}
}

// groupTitle names the threads of a group.
func groupTitle(g *inspect.Group, crashed bool) string {
	first := &g.Threads[0]
	note := ""
	if first.Blamed && crashed {
		note = "what happened is here"
	}
	if len(g.Threads) == 1 {
		return page.Join(", ", "Thread "+ThreadName(first), note, ThreadFacts(first))
	}
	who, names := fmt.Sprintf("%d threads", len(g.Threads)), []string(nil)
	same := !slices.ContainsFunc(g.Threads, func(t inspect.Thread) bool { return t.Name != first.Name })
	if same && first.Name != "" {
		who += " named " + first.Name
	}
	for i := range g.Threads {
		if t := &g.Threads[i]; same {
			names = append(names, strconv.Itoa(t.TID))
		} else {
			names = append(names, ThreadName(t))
		}
	}
	busiest := ""
	if first.CPUMicros > 0 && !first.Blamed {
		busiest = fmt.Sprintf("the busiest used %s", Duration(first.CPUMicros))
	}
	return page.Join("; ", who+": "+page.List(names, maxNamed), note, GroupWaits(g), busiest)
}

// ThreadName is a thread's id and name.
func ThreadName(t *inspect.Thread) string { return page.Join(" ", strconv.Itoa(t.TID), t.Name) }

// states are those of proc(5).
var states = map[string]string{"R": "running", "S": "asleep", "D": "asleep and not interruptible", "T": "stopped", "t": "stopped", "I": "idle", "Z": "ended"}

// ThreadFacts are what a thread did, in words.
func ThreadFacts(t *inspect.Thread) string {
	used, waits := "", ""
	if t.CPUMicros > 0 {
		used = Duration(t.CPUMicros) + " of processor time"
	}
	if w := t.WaitChannel; w != "" && w != "0" {
		waits = "in the kernel's " + w
	}
	if t.Wait != nil {
		waits = waitText(t.Wait)
	}
	goroutine := ""
	if t.Goroutine != 0 {
		goroutine = fmt.Sprintf("goroutine %d", t.Goroutine)
	}
	return page.Join(", ", t.Signal, goroutine, states[t.State], waits, used)
}

// waitText says what a thread waits for.
func waitText(w *inspect.Wait) string {
	s := w.Text
	if w.Kind != "call" {
		s = "waits for " + s
	}
	if w.Forever {
		s += " (deadlock)"
	}
	return s
}

// GroupWaits says what threads with equal stacks wait for: all for the same, or
// how many for what, and first of all those of a deadlock.
func GroupWaits(g *inspect.Group) string {
	count := map[string]int{}
	var first, others []string
	for i := range g.Threads {
		w := g.Threads[i].Wait
		if w == nil {
			continue
		}
		text := waitText(w)
		count[text]++
		switch {
		case w.Forever:
			first = append(first, fmt.Sprintf("%d %s", g.Threads[i].TID, text))
		case count[text] == 1:
			others = append(others, text)
		}
	}
	if len(first) == 0 && len(others) == 1 && count[others[0]] == len(g.Threads) {
		return "all: " + others[0]
	}
	for i, text := range others {
		others[i] = fmt.Sprintf("%d: %s", count[text], text)
	}
	return page.List(slices.Concat(first, others), maxWaits)
}

func (p *report) frames(g *inspect.Group, limit int) {
	frames := g.Frames
	number, shown := 0, 0 // of frames and of lines
	for i := 0; i < len(frames); {
		if shown >= limit {
			p.Line("  … and %s more", page.Plural(len(frames)-i, "frame"))
			break
		}
		if length, times := Cycle(frames[i:]); times >= fewestRepeated {
			for _, f := range frames[i : i+length] {
				p.frame(&f, &number)
			}
			p.Line("       … %s, %d times more", Repeated(length), times-1)
			number += length * (times - 1)
			i, shown = i+length*times, shown+length+1
			continue
		}
		p.frame(&frames[i], &number)
		i, shown = i+1, shown+1
	}
	if g.End != "" {
		p.Text("  ", "  ", "("+g.End+")")
	}
}

// Repeated is what repeats: so many frames.
func Repeated(n int) string {
	if n == 1 {
		return "the same"
	}
	return fmt.Sprintf("the same %d frames", n)
}

// Cycle finds how many of the next frames repeat, and how often; times is 0 if
// they do not.
func Cycle(frames []inspect.Frame) (length, times int) {
	for n := 1; n <= maxCycle && n <= len(frames)/fewestRepeated; n++ {
		times := 1
		for (times+1)*n <= len(frames) && alike(frames[:n], frames[times*n:(times+1)*n]) {
			times++
		}
		if times >= fewestRepeated {
			return n, times
		}
	}
	return 0, 0
}

func alike(a, b []inspect.Frame) bool {
	for i := range a {
		x, y := &a[i], &b[i]
		if x.Function == "" || x.Function != y.Function || x.PC != y.PC || x.Line != y.Line || x.Inlined != y.Inlined {
			return false
		}
	}
	return true
}

// frame writes a frame: its number, its function and place, and its module.
func (p *report) frame(f *inspect.Frame, number *int) {
	mark := " "
	if f.Guess {
		mark = "?"
	}
	name := FrameName(f)
	if f.File != "" {
		name += " at " + shortPath(f.File)
		if f.Line > 0 {
			name += ":" + strconv.Itoa(f.Line)
		}
	}
	if f.Language != "" {
		name += " (" + f.Language + ")"
	}
	if m := ModuleName(f); m != "" {
		name += " in " + m
	}
	head := fmt.Sprintf("  #%-3d%s ", *number, mark)
	if f.Inlined {
		name += ", inlined"
	}
	*number++
	p.Text(head, "        ", name)
}

// FrameName is the function of a frame, or the address where it is.
func FrameName(f *inspect.Frame) string {
	switch {
	case f.Signal:
		return "<signal handler called>"
	case f.Function == "" && f.ModuleOffset != nil && f.Module != "":
		return fmt.Sprintf("%#x", uint64(*f.ModuleOffset))
	case f.Function == "":
		return fmt.Sprintf("%#x", uint64(f.PC))
	case f.File == "" && !f.Inlined && f.Language == "":
		return fmt.Sprintf("%s+%#x", f.Function, f.Offset)
	}
	return f.Function
}

// ModuleName is the file name of a frame's module; one that was inlined has none
// of its own.
func ModuleName(f *inspect.Frame) string {
	if f.Module == "" || f.Inlined {
		return ""
	}
	return Base(f.Module)
}

// Base is the last part of a path of Linux or Windows, "" of none.
func Base(s string) string {
	if s == "" {
		return ""
	}
	return path.Base(strings.ReplaceAll(s, `\`, "/"))
}

// shortPath keeps the end of a long path of a source.
func shortPath(s string) string {
	const most = 50
	if len(s) <= most {
		return s
	}
	cut := strings.IndexByte(s[len(s)-most:], '/')
	if cut < 0 {
		return path.Base(s)
	}
	return "…" + s[len(s)-most+cut:]
}
