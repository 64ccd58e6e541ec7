// Package diff says what changed between two looks at a process: which memory
// grew, which threads were born and ended, which stacks more threads stand in,
// which files were opened.
//
// Both looks are snapshots of any source and the reports on them. They need not
// be of one process, but then the identities of its threads tell nothing.
package diff

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"procdump/inspect"
	"procdump/snapshot"
)

// Version is that of the report's form in JSON. Fields are added without a new
// one; it changes when one goes or means something else.
const Version = 1

// Subject is one look at a process.
type Subject struct {
	Process *snapshot.Process
	Report  *inspect.Report
}

// Report is what changed from one look to another.
type Report struct {
	Version int    `json:"version"`
	Summary string `json:"summary"` // what grew most, in a sentence
	Before  Side   `json:"before"`
	After   Side   `json:"after"`

	Memory Memory `json:"memory"`
	// ThreadsBorn and ThreadsGone are those of one look only.
	ThreadsBorn []Thread `json:"threadsBorn"`
	ThreadsGone []Thread `json:"threadsGone"`
	// Stacks are those in which more or fewer threads stand than before.
	Stacks []Stack `json:"stacks"`
	// Files are those that are open more or less often than before. Sockets and
	// pipes are counted together.
	Files    []File   `json:"files"`
	Warnings []string `json:"warnings,omitempty"` // what cannot be compared
}

// Side is one look.
type Side struct {
	PID     int        `json:"pid"`
	Name    string     `json:"name"`
	Time    *time.Time `json:"time,omitempty"`
	Kind    string     `json:"kind,omitempty"` // of the dump; "live" of a process
	Threads int        `json:"threads"`
	Files   int        `json:"files"` // 0: none, or not known
	Amount
}

// Amount is how much memory something has.
type Amount struct {
	Regions int    `json:"regions"`
	Bytes   uint64 `json:"bytes"`
	// In RAM and in swap; 0 if unknown.
	Resident uint64 `json:"resident"`
	Swapped  uint64 `json:"swapped"`
}

func (a *Amount) add(g *snapshot.Region) {
	a.Regions++
	a.Bytes += g.Size
	a.Resident += g.Resident
	a.Swapped += g.Swapped
}

// Memory is what changed in the address space. Both lists begin with what grew
// most and leave out what stayed the same.
type Memory struct {
	Kinds []Change `json:"kinds"` // Name is a kind: "heap", "stack", …
	Names []Change `json:"names"` // Name is a file or "[heap]"; of memory without one its kind
}

// Change is memory of one name or kind.
type Change struct {
	Name   string `json:"name"`
	Before Amount `json:"before"`
	After  Amount `json:"after"`

	inRAM bool // as of growth
}

// Growth is by how many bytes it grew: in RAM and swap, or, where not both looks
// know these, in the address space.
func (c *Change) Growth() int64 { return growth(c.Before, c.After, c.inRAM) }

func growth(a, b Amount, inRAM bool) int64 {
	if inRAM {
		return int64(b.Resident+b.Swapped) - int64(a.Resident+a.Swapped)
	}
	return int64(b.Bytes) - int64(a.Bytes)
}

// knowsRAM tells whether a look knows how much memory is in RAM.
func knowsRAM(s *Subject) bool {
	return slices.ContainsFunc(s.Process.Regions, func(g snapshot.Region) bool { return g.Resident > 0 })
}

// knowsFiles tells whether a look knows which files are open: cores of other tools
// and triage dumps do not. A process without any looks the same.
func knowsFiles(s *Subject) bool { return len(s.Process.Files) > 0 }

// Thread is one thread.
type Thread struct {
	TID  int    `json:"tid"`
	Name string `json:"name,omitempty"`
}

// Stack is the functions of equal stacks, the innermost first.
type Stack struct {
	Functions []string `json:"functions"`
	Before    int      `json:"before"` // threads
	After     int      `json:"after"`
}

// File is an open file, or all sockets, or all pipes.
type File struct {
	Target string `json:"target"`
	Before int    `json:"before"`
	After  int    `json:"after"`
}

// Compare says what changed from a to b.
func Compare(a, b *Subject) *Report {
	r := &Report{Version: Version, Before: side(a), After: side(b), ThreadsBorn: only(b, a), ThreadsGone: only(a, b), Stacks: []Stack{}, Files: []File{}}
	r.Memory.Kinds = changes(a, b, func(_ *snapshot.Region, kind string) string { return kind })
	r.Memory.Names = changes(a, b, nameOf)
	for _, c := range counted(stacks(a), stacks(b)) {
		r.Stacks = append(r.Stacks, Stack{strings.Split(c.key, "\n"), c.before, c.after})
	}
	if knowsFiles(a) && knowsFiles(b) {
		for _, c := range counted(files(a), files(b)) {
			r.Files = append(r.Files, File{c.key, c.before, c.after})
		}
	}
	r.Warnings = incomparable(a, b)
	r.Summary = summary(r, knowsRAM(a) && knowsRAM(b))
	return r
}

func side(s *Subject) Side {
	p := s.Process
	out := Side{PID: p.PID, Name: p.Name, Time: s.Report.Dump.Time, Kind: s.Report.Dump.Kind, Threads: len(p.Threads), Files: len(p.Files)}
	for i := range p.Regions {
		out.add(&p.Regions[i])
	}
	return out
}

// only lists the threads that a has and b has not. A thread that ended may have
// left its number to another.
func only(a, b *Subject) []Thread {
	seen := map[int]time.Time{}
	for i := range b.Process.Threads {
		t := &b.Process.Threads[i]
		seen[t.TID] = t.StartTime
	}
	out := []Thread{}
	for i := range a.Process.Threads {
		t := &a.Process.Threads[i]
		start, ok := seen[t.TID]
		const tick = time.Second // of what different sources round to
		if !ok || !start.IsZero() && !t.StartTime.IsZero() && start.Sub(t.StartTime).Abs() > tick {
			out = append(out, Thread{t.TID, t.Name})
		}
	}
	slices.SortFunc(out, func(a, b Thread) int { return cmp.Compare(a.TID, b.TID) })
	return out
}

// nameOf is what a region is listed under.
func nameOf(g *snapshot.Region, kind string) string {
	if g.Path == "" {
		return kind + ", anonymous"
	}
	return g.Path
}

// changes sums the regions of both looks up by name.
func changes(a, b *Subject, name func(g *snapshot.Region, kind string) string) []Change {
	all := map[string]*Change{}
	inRAM := knowsRAM(a) && knowsRAM(b)
	sum := func(s *Subject, of func(*Change) *Amount) {
		kinds := inspect.Kinds(s.Process)
		for i := range s.Process.Regions {
			g := &s.Process.Regions[i]
			n := name(g, kinds[i])
			if all[n] == nil {
				all[n] = &Change{Name: n, inRAM: inRAM}
			}
			amount := of(all[n])
			if amount.add(g); !inRAM {
				amount.Resident, amount.Swapped = 0, 0
			}
		}
	}
	sum(a, func(c *Change) *Amount { return &c.Before })
	sum(b, func(c *Change) *Amount { return &c.After })
	out := []Change{}
	for _, c := range all {
		if c.Before != c.After {
			out = append(out, *c)
		}
	}
	slices.SortFunc(out, func(x, y Change) int {
		return cmp.Or(cmp.Compare(y.Growth(), x.Growth()), cmp.Compare(int64(y.After.Bytes-y.Before.Bytes), int64(x.After.Bytes-x.Before.Bytes)),
			cmp.Compare(x.Name, y.Name))
	})
	return out
}

// count is how often something is there in both looks.
type count struct {
	key           string
	before, after int
}

// counted lists what changed, what grew most first.
func counted(a, b map[string]int) []count {
	out := []count{}
	for k, n := range b {
		if a[k] != n {
			out = append(out, count{k, a[k], n})
		}
	}
	for k, n := range a {
		if b[k] == 0 {
			out = append(out, count{k, n, 0})
		}
	}
	slices.SortFunc(out, func(x, y count) int {
		return cmp.Or(cmp.Compare(y.after-y.before, x.after-x.before), cmp.Compare(y.after, x.after), cmp.Compare(x.key, y.key))
	})
	return out
}

// maxDepth bounds the frames that tell stacks apart.
const maxDepth = 64

// stacks counts the threads of each stack. The functions decide and not the
// addresses, which differ between two runs and from line to line.
func stacks(s *Subject) map[string]int {
	out := map[string]int{}
	for i := range s.Report.Groups {
		g := &s.Report.Groups[i]
		var names []string
		for k := range g.Frames {
			f := &g.Frames[k]
			if f.Guess || len(names) == maxDepth {
				break
			}
			switch {
			case f.Function != "":
				names = append(names, f.Function)
			case f.Module != "" && f.ModuleOffset != nil:
				names = append(names, fmt.Sprintf("%s+%#x", f.Module[strings.LastIndexByte(f.Module, '/')+1:], uint64(*f.ModuleOffset)))
			default:
				names = append(names, fmt.Sprintf("%#x", uint64(f.PC)))
			}
		}
		if len(names) > 0 {
			out[strings.Join(names, "\n")] += len(g.Threads)
		}
	}
	return out
}

// numbered are targets of /proc/PID/fd that have a number of their own each.
var numbered = regexp.MustCompile(`^([a-z]+):\[[0-9]+\]$`)

func files(s *Subject) map[string]int {
	out := map[string]int{}
	for _, f := range s.Process.Files {
		target := f.Target
		if m := numbered.FindStringSubmatch(target); m != nil {
			target = m[1] + "s"
		}
		out[target]++
	}
	return out
}

// incomparable says what the looks do not allow to compare.
func incomparable(a, b *Subject) []string {
	var out []string
	p, q := a.Process, b.Process
	if p.PID != q.PID || p.Exe != q.Exe || !p.StartTime.IsZero() && !q.StartTime.IsZero() && p.StartTime.Sub(q.StartTime).Abs() > time.Second {
		out = append(out, "these are two processes: their threads have nothing to do with each other")
	}
	if knowsRAM(a) != knowsRAM(b) {
		out = append(out, "only one of them says how much memory is in RAM: what grew there is not known")
	}
	if knowsFiles(a) != knowsFiles(b) {
		out = append(out, "only one of them names open files: which were opened or closed is not known")
	}
	if ta, tb := a.Report.Dump.Time, b.Report.Dump.Time; ta != nil && tb != nil && tb.Before(*ta) {
		out = append(out, "the second is older than the first")
	}
	for i, s := range []*Subject{a, b} {
		for _, w := range s.Report.Warnings {
			out = append(out, []string{"first: ", "second: "}[i]+w)
		}
	}
	return out
}
