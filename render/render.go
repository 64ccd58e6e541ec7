// Package render writes the report on a process: text for a person, and JSON
// for programs.
//
// The text begins with the conclusion; the evidence follows, the most telling
// first, in lines of at most 100 characters. Its length is bounded: of what
// there is much of, such as stacks, it shows the first and says how many more
// there are. JSON has all of them.
package render

import (
	"fmt"
	"io"

	"procdump/inspect"
	"procdump/render/page"
)

// JSON writes the report as one indented JSON object.
func JSON(w io.Writer, r *inspect.Report) error { return page.JSON(w, r) }

// Text writes the report for a person.
func Text(w io.Writer, r *inspect.Report) error {
	p := &report{}
	p.head(r)
	p.stacks(r)
	p.goroutines(r.Goroutines)
	p.memory(&r.Memory)
	p.modules(r.Modules)
	p.files(r.Files)
	p.warnings(r.Warnings)
	_, err := io.WriteString(w, p.String())
	return err
}

// report is a page about a process.
type report struct{ page.Page }

const (
	maxModules  = 40
	maxFiles    = 20
	maxWarnings = 20
)

// head writes the conclusion and what process it is about.
func (p *report) head(r *inspect.Report) {
	p.Text("", "", r.Reason)
	p.Line("")
	for _, f := range Facts(r) {
		p.Fact(f.Name, f.Value)
	}
}

func (p *report) memory(m *inspect.Memory) {
	if m.Regions == 0 {
		return
	}
	p.Section("Memory: %s in %s", page.Size(m.Bytes), page.Plural(m.Regions, "mapping"))
	known := m.Resident > 0
	heading := fmt.Sprintf("  %-10s%10s%12s", "kind", "mappings", "size")
	if known {
		heading += fmt.Sprintf("%12s%12s", "in RAM", "swapped")
	}
	p.Line("%s", heading)
	for _, k := range m.Kinds {
		line := fmt.Sprintf("  %-10s%10d%12s", k.Kind, k.Regions, page.Size(k.Bytes))
		if known {
			line += fmt.Sprintf("%12s%12s", page.Size(k.Resident), page.Size(k.Swapped))
		}
		p.Line("%s", line)
	}
	p.Line("  the largest:")
	for _, g := range m.Largest {
		size := page.Size(g.Bytes)
		if known {
			size = fmt.Sprintf("%s of %s in RAM", page.Size(g.Resident), size)
		}
		p.Line("    %#x  %s  %s, %s  %s", uint64(g.Address), g.Perm, g.Kind, size, g.Path)
	}
	p.allocator(m.Allocator)
}

func (p *report) modules(all []inspect.Module) {
	if len(all) == 0 {
		return
	}
	p.Section("Modules: %d", len(all))
	for i, m := range all {
		if i == maxModules {
			p.Line("  … and %d more", len(all)-i)
			break
		}
		id := m.BuildID
		if id == "" {
			id = "no build id"
		}
		gone := ""
		if m.Deleted {
			gone = "the file is gone"
		}
		p.Text(fmt.Sprintf("  %#x  ", uint64(m.Address)), "      ", page.Join(", ", m.Path, id, gone))
	}
}

func (p *report) files(all []inspect.File) {
	if len(all) == 0 {
		return
	}
	p.Section("Open files: %d", len(all))
	for i, f := range all {
		if i == maxFiles {
			p.Line("  … and %d more", len(all)-i)
			break
		}
		p.Line("  %5d  %s", f.FD, f.Target)
	}
}

func (p *report) warnings(all []string) { p.points("What could not be read", all) }

// points writes a list of sentences.
func (p *report) points(title string, all []string) {
	if len(all) == 0 {
		return
	}
	p.Section("%s", title)
	for i, w := range all {
		if i == maxWarnings {
			p.Line("  … and %d more", len(all)-i)
			break
		}
		p.Text("  - ", "    ", w)
	}
}
