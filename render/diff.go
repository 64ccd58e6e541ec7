package render

import (
	"fmt"
	"io"
	"strings"

	"procdump/inspect/diff"
	"procdump/render/page"
)

const (
	maxChanges   = 15 // names of memory, files
	maxChanged   = 10 // stacks
	maxFunctions = 6  // of a stack
)

// DiffJSON writes what changed as one indented JSON object.
func DiffJSON(w io.Writer, r *diff.Report) error { return page.JSON(w, r) }

// DiffText writes for a person what changed.
func DiffText(w io.Writer, r *diff.Report) error {
	p := &report{}
	p.Text("", "", r.Summary)
	p.Line("")
	p.side("Before", &r.Before)
	p.side("After", &r.After)
	p.changes("Memory by kind", r.Memory.Kinds)
	p.changes("Memory by name", r.Memory.Names)
	p.threads(r)
	p.changedStacks(r.Stacks)
	p.changedFiles(r.Files)
	p.points("To keep in mind", r.Warnings)
	_, err := io.WriteString(w, p.String())
	return err
}

func (p *report) side(name string, s *diff.Side) {
	when, files, resident, swapped := "", "", "", ""
	if s.Time != nil {
		when = stamp(s.Time)
	}
	if s.Files > 0 {
		files = page.Plural(s.Files, "open file")
	}
	if s.Resident > 0 {
		resident = page.Size(s.Resident) + " in RAM"
	}
	if s.Swapped > 0 {
		swapped = page.Size(s.Swapped) + " in swap"
	}
	p.Fact(name, page.Join(", ", fmt.Sprintf("%s (%d)", s.Name, s.PID), s.Kind, when, page.Plural(s.Threads, "thread"),
		files, page.Size(s.Bytes), resident, swapped))
}

// signedSize is a change of a number of bytes.
func signedSize(n int64) string {
	switch {
	case n > 0:
		return "+" + page.Size(uint64(n))
	case n < 0:
		return "-" + page.Size(uint64(-n))
	}
	return "0"
}

// changes writes what grew, then what shrank: of long lists both ends.
func (p *report) changes(title string, all []diff.Change) {
	if len(all) == 0 {
		return
	}
	p.Section("%s", title)
	p.Line("  %10s%10s%10s%10s  %s", "size", "in RAM", "swapped", "mappings", "of")
	for i := range all {
		if len(all) > maxChanges && i == maxChanges-3 {
			p.Line("  … and %d more", len(all)-maxChanges)
		}
		if len(all) > maxChanges && i >= maxChanges-3 && i < len(all)-3 {
			continue
		}
		c := &all[i]
		d := func(a, b uint64) string { return signedSize(int64(b - a)) }
		head := fmt.Sprintf("  %10s%10s%10s%+10d  ", d(c.Before.Bytes, c.After.Bytes), d(c.Before.Resident, c.After.Resident),
			d(c.Before.Swapped, c.After.Swapped), c.After.Regions-c.Before.Regions)
		p.Text(head, strings.Repeat(" ", len(head)), c.Name)
	}
}

func (p *report) threads(r *diff.Report) {
	for _, l := range []struct {
		title string
		all   []diff.Thread
	}{{"Threads born", r.ThreadsBorn}, {"Threads gone", r.ThreadsGone}} {
		if len(l.all) == 0 {
			continue
		}
		var names []string
		for _, t := range l.all {
			names = append(names, page.Join(" ", fmt.Sprint(t.TID), t.Name))
		}
		p.Section("%s: %d", l.title, len(l.all))
		p.Text("  ", "  ", page.List(names, maxNamed))
	}
}

func (p *report) changedStacks(all []diff.Stack) {
	if len(all) == 0 {
		return
	}
	p.Section("Threads by stack")
	for i, s := range all {
		if i == maxChanged {
			p.Line("  … and %s more", page.Plural(len(all)-i, "stack"))
			break
		}
		head := fmt.Sprintf("  %+d (%d, was %d)  ", s.After-s.Before, s.After, s.Before)
		more := ""
		if n := len(s.Functions) - maxFunctions; n > 0 {
			more = fmt.Sprintf("… and %d more", n)
		}
		shown := strings.Join(s.Functions[:min(len(s.Functions), maxFunctions)], " < ")
		p.Text(head, "      ", page.Join(" < ", shown, more))
	}
}

func (p *report) changedFiles(all []diff.File) {
	if len(all) == 0 {
		return
	}
	p.Section("Open files")
	for i, f := range all {
		if i == maxChanges {
			p.Line("  … and %d more", len(all)-i)
			break
		}
		p.Text(fmt.Sprintf("  %+d (%d, was %d)  ", f.After-f.Before, f.After, f.Before), "      ", f.Target)
	}
}
