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
		p.Text("  ", "    ", CreatedBy(g))
	}
}

// goroutineTitle names the goroutines of a group and what they do.
func goroutineTitle(g *inspect.GoroutineGroup) string {
	if len(g.Goroutines) > 1 {
		var ids []string
		for _, r := range g.Goroutines {
			ids = append(ids, strconv.FormatUint(r.ID, 10))
		}
		return page.Join("; ", fmt.Sprintf("%d goroutines: %s", len(ids), page.List(ids, maxNamed)), GoroutineFacts(g))
	}
	return page.Join(", ", fmt.Sprintf("Goroutine %d", g.Goroutines[0].ID), GoroutineFacts(g))
}

// GoroutineFacts are what the goroutines of a group do, in words.
func GoroutineFacts(g *inspect.GoroutineGroup) string {
	own, thread, panics := "", "", ""
	if g.System {
		own = "the runtime's own"
	}
	if len(g.Goroutines) == 1 {
		if tid := g.Goroutines[0].TID; tid != 0 {
			thread = fmt.Sprintf("on thread %d", tid)
		}
		if value := g.Goroutines[0].Panic; value != "" {
			panics = "panics with " + value
		}
	}
	return page.Join(", ", g.State, waits(g), thread, own, panics)
}

// CreatedBy says which go statement began the goroutines of a group, "" if it is
// not known.
func CreatedBy(g *inspect.GoroutineGroup) string {
	f := g.CreatedBy
	if f == nil {
		return ""
	}
	place := ""
	if f.File != "" {
		place = " at " + shortPath(f.File) + ":" + strconv.Itoa(f.Line)
	}
	return "created by " + f.Function + place + parents(g)
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
