package render

import (
	"fmt"
	"slices"
	"strconv"

	"procdump/inspect"
	"procdump/render/page"
)

// goroutines writes those of a Go program, equal ones together.
func (p *report) goroutines(all *inspect.Goroutines) {
	if all == nil {
		return
	}
	p.Section("Goroutines: %d, %s", all.Count, page.Plural(len(all.Groups), "different stack"))
	for i := range all.Groups {
		if i == maxGroups {
			p.Section("… and %s more; procdump inspect -json has them", page.Plural(len(all.Groups)-i, "stack"))
			break
		}
		g := &all.Groups[i]
		p.Line("")
		p.Text("", "  ", goroutineTitle(g))
		p.frames(&inspect.Group{Frames: g.Frames, End: g.End}, maxOthers)
		if f := g.CreatedBy; f != nil {
			place := ""
			if f.File != "" {
				place = " at " + shortPath(f.File) + ":" + strconv.Itoa(f.Line)
			}
			p.Text("  ", "    ", "created by "+f.Function+place+parents(g))
		}
	}
}

// goroutineTitle names the goroutines of a group and what they do.
func goroutineTitle(g *inspect.GoroutineGroup) string {
	own := ""
	if g.System {
		own = "the runtime's own"
	}
	state := page.Join(", ", g.State, waits(g))
	if len(g.Goroutines) > 1 {
		var ids []string
		for _, r := range g.Goroutines {
			ids = append(ids, strconv.FormatUint(r.ID, 10))
		}
		return page.Join("; ", fmt.Sprintf("%d goroutines: %s", len(ids), page.List(ids, maxNamed)), state, own)
	}
	r := &g.Goroutines[0]
	thread, panics := "", ""
	if r.TID != 0 {
		thread = fmt.Sprintf("on thread %d", r.TID)
	}
	if r.Panic != "" {
		panics = "panics with " + r.Panic
	}
	return page.Join(", ", fmt.Sprintf("Goroutine %d", r.ID), state, thread, own, panics)
}

// waits is for how long the goroutines have waited, if it is minutes.
func waits(g *inspect.GoroutineGroup) string {
	const minute = 60e6
	shortest, longest := g.Goroutines[0].WaitMicros, int64(0)
	for _, r := range g.Goroutines {
		shortest, longest = min(shortest, r.WaitMicros), max(longest, r.WaitMicros)
	}
	switch a, b := shortest/minute, longest/minute; {
	case b == 0:
		return ""
	case a == b:
		return page.Plural(int(a), "minute")
	default:
		return fmt.Sprintf("%d to %s", a, page.Plural(int(b), "minute"))
	}
}

// parents names the goroutine that began those of a group, if it is one.
func parents(g *inspect.GoroutineGroup) string {
	first := g.Goroutines[0].Parent
	if first == 0 || slices.ContainsFunc(g.Goroutines, func(r inspect.Goroutine) bool { return r.Parent != first }) {
		return ""
	}
	return fmt.Sprintf(" in goroutine %d", first)
}
