package html

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"procdump/inspect"
	"procdump/render"
	"procdump/render/page"
)

// group are threads or goroutines with equal stacks.
type group struct {
	ID        string
	Count     int
	Unit      string // "thread" or "goroutine"
	Open      bool
	Blamed    bool
	Who       string // the thread, or the name that all have
	Where     string // the functions that say most
	Facts     string
	CPUMicros int64  // of all threads together
	Busy      string // percent of what the busiest group used
	Names     []string
	More      int // threads that are not named
	Rows      []row
	End       string
	Created   string // where the goroutines were
}

// row is a line of a stack: a frame, or what stands for several.
type row struct {
	Number   int
	Function string
	Place    string // source and line
	Source   string // the path of the source, if Place has only its end
	Module   string // or the language of a script
	PC       string
	Classes  string
	Note     string // instead of a frame
}

// addStacks adds the stacks of threads and of goroutines.
func (d *document) addStacks(r *inspect.Report) {
	var most int64
	budget := maxFrames
	for i := range r.Groups {
		if i == maxGroups {
			d.MoreGroups = len(r.Groups) - i
			break
		}
		from := &r.Groups[i]
		g := newGroup(from)
		g.ID, g.Open = fmt.Sprint("group", i), i == 0
		g.Blamed = g.Blamed && r.Exception != nil
		g.Rows = d.rows(from.Frames, &budget)
		g.Where = where(from.Frames, g.Blamed, r)
		most = max(most, g.CPUMicros)
		d.Groups = append(d.Groups, g)
	}
	for i := range d.Groups {
		if n := d.Groups[i].CPUMicros; n > 0 {
			d.Groups[i].Busy = percent(uint64(n), uint64(most))
		}
	}
	d.Busiest = busiest(r)
	if r.Goroutines == nil {
		return
	}
	for i := range r.Goroutines.Groups {
		if i == maxGroups {
			d.MoreRoutines = len(r.Goroutines.Groups) - i
			break
		}
		from := &r.Goroutines.Groups[i]
		g := newRoutines(from)
		g.ID = fmt.Sprint("goroutines", i)
		g.Rows = d.rows(from.Frames, &budget)
		g.Where = where(from.Frames, false, r)
		d.Routines = append(d.Routines, g)
	}
}

// rows are the lines of a stack, as many as there is room for.
func (d *document) rows(frames []inspect.Frame, budget *int) []row {
	first, last := maxFirst, maxLast
	if *budget <= 0 {
		first, last = fewFrames, 1
		d.Frameless++
	}
	all := rows(frames, first, last)
	*budget -= len(all)
	return all
}

func newRoutines(g *inspect.GoroutineGroup) group {
	out := group{Count: len(g.Goroutines), Unit: "goroutine", Facts: render.GoroutineFacts(g), End: g.End, Created: render.CreatedBy(g)}
	for i := range g.Goroutines {
		if i == maxThreads {
			out.More = len(g.Goroutines) - i
			break
		}
		out.Names = append(out.Names, strconv.FormatUint(g.Goroutines[i].ID, 10))
	}
	if out.Count == 1 {
		out.Who = out.Names[0]
	}
	return out
}

func newGroup(g *inspect.Group) group {
	out := group{Count: len(g.Threads), Unit: "thread", End: g.End}
	if len(g.Threads) == 0 {
		return out
	}
	first := &g.Threads[0]
	out.Blamed = first.Blamed
	same := true
	for i := range g.Threads {
		t := &g.Threads[i]
		out.CPUMicros += max(t.CPUMicros, 0)
		same = same && t.Name == first.Name
		if i < maxThreads {
			out.Names = append(out.Names, render.ThreadName(t))
		}
	}
	out.More = len(g.Threads) - len(out.Names)
	switch {
	case len(g.Threads) == 1:
		out.Who, out.Facts = render.ThreadName(first), render.ThreadFacts(first)
	case same && first.Name != "":
		out.Who = first.Name
	default:
		out.Who = page.Join(" ", render.ThreadName(first), "and others")
	}
	if len(g.Threads) > 1 && out.CPUMicros > 0 {
		out.Facts = page.Join("; ", render.GroupWaits(g), render.Duration(out.CPUMicros)+" of processor time")
	} else if len(g.Threads) > 1 {
		out.Facts = render.GroupWaits(g)
	}
	return out
}

// mostWhere is how many functions stand for a stack.
const mostWhere = 3

// where are the functions that say most of a stack: the program's own innermost
// ones and what they called; of the thread that the dump is about, those from
// where it happened on.
func where(frames []inspect.Frame, blamed bool, r *inspect.Report) string {
	if blamed && r.Exception.Frame != nil {
		x := r.Exception.Frame
		at := slices.IndexFunc(frames, func(f inspect.Frame) bool { return f.PC == x.PC && f.Function == x.Function })
		frames = frames[max(at, 0):]
	} else if r.Process.Exe != "" {
		own := slices.IndexFunc(frames, func(f inspect.Frame) bool { return f.Module == r.Process.Exe && !ofRuntime(f.Function) })
		frames = frames[max(own-1, 0):]
	}
	var names []string
	for i := range frames {
		f := &frames[i]
		if f.Signal || f.Function == "" && len(names) > 0 {
			continue
		}
		name := f.Function
		if name == "" {
			name = render.FrameName(f)
		}
		if names = append(names, short(name)); len(names) == mostWhere {
			break
		}
	}
	return strings.Join(names, " ← ")
}

// ofRuntime tells functions that are in every Go program.
func ofRuntime(function string) bool {
	return strings.HasPrefix(function, "runtime.") || strings.HasPrefix(function, "internal/")
}

// short cuts off a long name.
func short(s string) string {
	const most = 80
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}

// rows are the lines of a stack: the first frames and the last ones, and of
// frames that repeat one round.
func rows(frames []inspect.Frame, first, last int) []row {
	var all []row
	for i := 0; i < len(frames); {
		length, times := render.Cycle(frames[i:])
		if times == 0 {
			length, times = 1, 1
		}
		for k := range length {
			all = append(all, newRow(i+k, &frames[i+k]))
		}
		if times > 1 {
			all = append(all, row{Note: fmt.Sprintf("%s, %d times more", render.Repeated(length), times-1)})
		}
		i += length * times
	}
	if len(all) <= first+last {
		return all
	}
	note := row{Note: "… " + page.Plural(len(all)-first-last, "line") + " left out"}
	return append(append(all[:first:first], note), all[len(all)-last:]...)
}

func newRow(number int, f *inspect.Frame) row {
	r := row{Number: number, Function: render.FrameName(f), Module: render.ModuleName(f), PC: fmt.Sprintf("%#x", uint64(f.PC))}
	if f.Guess {
		r.PC += ", a guess: " + f.How
	}
	if len(r.Function) > maxText {
		r.Function = r.Function[:maxText] + "…"
	}
	if f.File != "" {
		if r.Place = render.Base(f.File); r.Place != f.File {
			r.Source = f.File
		}
		if f.Line > 0 {
			r.Place += ":" + strconv.Itoa(f.Line)
		}
	}
	if f.Language != "" {
		r.Module, r.PC = f.Language, f.Function+", a function in "+f.Language
	}
	var classes []string
	for _, c := range []struct {
		is   bool
		name string
	}{{f.Guess, "guess"}, {f.Inlined, "inlined"}, {f.Language != "", "script"}, {f.Signal, "signal"}, {f.Function == "" && !f.Signal, "nameless"}} {
		if c.is {
			classes = append(classes, c.name)
		}
	}
	r.Classes = strings.Join(classes, " ")
	return r
}
