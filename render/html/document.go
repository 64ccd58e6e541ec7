package html

import (
	"cmp"
	"fmt"
	"html/template"
	"slices"
	"strings"

	"procdump/inspect"
	"procdump/render"
	"procdump/render/page"
)

// Limits of what is written, so that a report of any process stays small enough
// for a browser. What is left out is said; JSON has it.
const (
	maxGroups   = 5000
	maxThreads  = 5000      // that are named of one group
	maxFirst    = 150       // frames of a stack, from the innermost on
	maxLast     = 40        // and from the outermost on, if there are more
	maxFrames   = 40_000    // of all stacks
	fewFrames   = 6         // of each stack beyond that
	maxRegions  = 6000      // the largest
	maxArenas   = 20        // the largest
	maxItems    = 5000      // modules, files, variables, …
	maxText     = 4 << 10   // bytes of a name or a value
	maxMentions = 500       // of pieces of missing memory
	maxTotal    = 512 << 10 // bytes of the environment, and of the arguments
)

// document is what the template is filled with.
type document struct {
	*inspect.Report
	Style  template.CSS
	Script template.JS
	Policy string

	Title        string
	Severity     string // "crash" or "calm"
	Facts        []render.Fact
	Groups       []group
	MoreGroups   int
	Routines     []group
	MoreRoutines int
	Busiest      string // which thread used most processor time
	Charts       []chart
	Shares       []share // of memory, by kind
	Measure      string  // what Shares compares
	Regions      []inspect.Region
	MoreRegs     int
	Fault        string // the address that was accessed
	Arenas       list[*inspect.Arena]
	Modules      list[inspect.Module]
	Files        list[inspect.File]
	Args         list[string]
	Environ      list[variable]
	Missing      list[inspect.Missing]
	Warnings     list[string]
	Frameless    int // groups of which only the first frames are written
}

// list is as many of some items as are written, and how many more there are.
type list[T any] struct {
	Items []T
	More  int
}

// of returns the first items, not more than most.
func of[T any](all []T, most int) list[T] {
	n := min(len(all), most)
	return list[T]{all[:n], len(all) - n}
}

// variable is one of the environment.
type variable struct{ Name, Value string }

func newDocument(r *inspect.Report) *document {
	d := &document{Report: r, Facts: render.Facts(r), Severity: "calm", Title: r.Process.Name}
	if r.Process.PID > 0 {
		d.Title = fmt.Sprintf("%s (%d)", r.Process.Name, r.Process.PID)
	}
	if x := r.Exception; x != nil {
		d.Severity = "crash"
		if x.Address != nil {
			d.Fault = fmt.Sprintf("%#x", uint64(*x.Address))
		}
	}
	d.addStacks(r)
	for i := range r.Samples {
		if c, ok := newChart(&r.Samples[i], r.Dump.Time); ok {
			d.Charts = append(d.Charts, c)
		}
	}
	d.Shares, d.Measure = shares(&r.Memory)
	d.Regions, d.MoreRegs = regions(r.Memory.Map)
	if a := r.Memory.Allocator; a != nil {
		var all []*inspect.Arena
		for i := range a.Arenas {
			all = append(all, &a.Arenas[i])
		}
		d.Arenas = of(all, maxArenas)
	}
	d.Modules = of(r.Modules, maxItems)
	d.Files = of(r.Files, maxItems)
	d.Args = of(texts(r.Process.Args), maxItems)
	var environ []variable
	for _, v := range texts(r.Process.Environ) {
		name, value, _ := strings.Cut(v, "=")
		environ = append(environ, variable{name, value})
	}
	slices.SortStableFunc(environ, func(a, b variable) int { return strings.Compare(a.Name, b.Name) })
	d.Environ = of(environ, maxItems)
	d.Missing = of(r.Missing, maxMentions)
	d.Warnings = of(r.Warnings, maxItems)
	return d
}

// texts cuts off long texts, and what goes beyond maxTotal bytes of all.
func texts(all []string) (out []string) {
	total := 0
	for i, s := range all {
		if len(s) > maxText {
			s = s[:maxText] + fmt.Sprintf(" … and %d bytes more", len(s)-maxText)
		}
		if total += len(s); total > maxTotal {
			return append(out, fmt.Sprintf("… and %d more", len(all)-i))
		}
		out = append(out, s)
	}
	return out
}

// regions are the largest, by address, and how many there are beside them.
func regions(all []inspect.Region) ([]inspect.Region, int) {
	if len(all) <= maxRegions {
		return all, 0
	}
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b inspect.Region) int { return cmp.Compare(b.Bytes, a.Bytes) })
	more := len(all) - maxRegions
	all = all[:maxRegions]
	slices.SortFunc(all, func(a, b inspect.Region) int { return cmp.Compare(a.Address, b.Address) })
	return all, more
}

// share is what a kind of memory takes of all.
type share struct {
	inspect.MemoryKind
	From, Width string // percent
}

// shares compares what is in RAM where that is known, else sizes without what
// is only reserved.
func shares(m *inspect.Memory) (all []share, measure string) {
	part, measure := func(k *inspect.MemoryKind) uint64 { return k.Resident }, "in RAM"
	if m.Resident == 0 {
		measure = "by size, without what is only reserved"
		part = func(k *inspect.MemoryKind) uint64 {
			if k.Kind == "reserved" {
				return 0
			}
			return k.Bytes
		}
	}
	var total, sum uint64
	for i := range m.Kinds {
		total += part(&m.Kinds[i])
	}
	for i := range m.Kinds {
		n := part(&m.Kinds[i])
		all = append(all, share{m.Kinds[i], percent(sum, total), percent(n, total)})
		sum += n
	}
	return all, measure
}

// percent is a part of a whole, for a length in SVG.
func percent(part, whole uint64) string {
	if whole == 0 {
		return "0%"
	}
	return fmt.Sprintf("%.3f%%", 100*float64(part)/float64(whole))
}

// busiest names the thread that used most processor time.
func busiest(r *inspect.Report) string {
	var most *inspect.Thread
	for i := range r.Groups {
		for k := range r.Groups[i].Threads {
			if t := &r.Groups[i].Threads[k]; most == nil || t.CPUMicros > most.CPUMicros {
				most = t
			}
		}
	}
	if most == nil || most.CPUMicros == 0 {
		return ""
	}
	return page.Join(", ", "busiest: "+render.ThreadName(most), render.Duration(most.CPUMicros))
}
