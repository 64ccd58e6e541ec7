// Package render writes the report on a process: text for a person, and JSON
// for programs.
//
// The text begins with the conclusion; the evidence follows, the most telling
// first, in lines of at most 100 characters. Its length is bounded: of what
// there is much of, such as stacks, it shows the first and says how many more
// there are. JSON has all of them.
package render

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"procdump/inspect"
	"procdump/render/page"
)

// JSON writes the report as one indented JSON object.
func JSON(w io.Writer, r *inspect.Report) error { return object(w, r) }

func object(w io.Writer, r any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// Text writes the report for a person.
func Text(w io.Writer, r *inspect.Report) error {
	p := &report{}
	p.head(r)
	p.stacks(r)
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
	maxArgs     = 2000 // characters of a command line
	maxModules  = 40
	maxFiles    = 20
	maxWarnings = 20
)

// head writes the conclusion and what process it is about.
func (p *report) head(r *inspect.Report) {
	p.Text("", "", r.Reason)
	p.Line("")
	q := &r.Process
	if x := r.Exception; x != nil {
		p.Fact("Message", x.Message)
		signal := page.Join(", ", x.Signal, x.Code)
		if x.Address != nil {
			signal += fmt.Sprintf(", address %#x", uint64(*x.Address))
		}
		p.Fact("Exception", page.Join(": ", signal, x.What))
	}
	who := fmt.Sprintf("%s (%d)", q.Name, q.PID)
	if q.PID == 0 {
		who = q.Name
	}
	p.Fact("Process", page.Join(", ", who, q.Exe, q.Machine))
	if args := []rune(strings.Join(q.Args, " ")); len(args) > maxArgs {
		p.Fact("Command", string(args[:maxArgs])+" …")
	} else {
		p.Fact("Command", string(args))
	}
	started := ""
	if q.StartTime != nil {
		started = "started " + stamp(q.StartTime)
		if t := r.Dump.Time; t != nil && t.After(*q.StartTime) {
			started += ", ran for " + duration(t.Sub(*q.StartTime).Microseconds())
		}
	}
	used := ""
	if n := q.UserMicros + q.SystemMicros; n > 0 {
		used = duration(n) + " of processor time"
	}
	p.Fact("Time", page.Join(", ", started, used))
	p.dump(&r.Dump)
	s := &r.System
	cpus := ""
	if s.CPUs > 0 {
		cpus = page.Plural(s.CPUs, "processor")
	}
	if *s == (inspect.System{OS: s.OS}) {
		return
	}
	p.Fact("Machine", page.Join(", ", s.Host, page.Join(" ", s.Distro, s.OS, s.Release), cpus, strings.TrimSpace(s.CPU)))
}

func (p *report) dump(d *inspect.Dump) {
	kind := d.Kind
	if kind == inspect.KindLive {
		kind = ""
	}
	when, paused, left := "", "", ""
	if d.Time != nil {
		when = stamp(d.Time)
	}
	if d.PauseMicros > 0 {
		paused = fmt.Sprintf("the process stood still for %.1f ms", float64(d.PauseMicros)/1000)
	}
	if d.LeftOutBytes > 0 {
		left = page.Size(d.LeftOutBytes) + " left out"
	}
	name := "Dump"
	if d.Kind == inspect.KindLive {
		name = "Seen"
	}
	p.Fact(name, page.Join(", ", kind, d.Reason, when, paused, left, d.Tool))
	p.Fact("Comment", d.Comment)
}

func stamp(t *time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") + " UTC" }

// duration is a time of so many microseconds in words.
func duration(micros int64) string {
	s := micros / 1e6
	d, h, m := s/86400, s/3600%24, s/60%60
	switch {
	case d > 0:
		return fmt.Sprintf("%d d %d h %d min", d, h, m)
	case h > 0:
		return fmt.Sprintf("%d h %d min", h, m)
	case m > 0:
		return fmt.Sprintf("%d min %d s", m, s%60)
	}
	return fmt.Sprintf("%.2f s", float64(micros)/1e6)
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
