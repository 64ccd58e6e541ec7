package kernel

import (
	"fmt"
	"strings"

	"procdump/inspect/kernel"
)

// head writes the conclusion and what machine it is about.
func (p *page) head(r *kernel.Report) {
	p.text("", "", r.Reason)
	p.line("")
	if in := r.Incident; in != nil && r.System == "Linux" {
		p.fact("Message", in.Message)
		p.fact("Panic", in.Panic)
		if in.Where != nil {
			p.fact("Where", chain(append([]kernel.Frame{*in.Where}, in.Callers...)))
		}
		if s := in.Subject; s != nil {
			p.fact("Task", fmt.Sprintf("%s (PID %d)", s.Comm, s.PID))
			p.fact("Waits in", chain(in.Blocked))
		}
	}
	p.fact("Kernel", join(" ", r.System, r.Release, r.Version, r.Machine))
	machine := []string{r.Host}
	if r.CPUs > 0 {
		machine = append(machine, plural(r.CPUs, "processor"))
	}
	if r.MemoryBytes > 0 {
		machine = append(machine, size(r.MemoryBytes)+" of memory")
	}
	if r.UptimeSeconds > 0 {
		machine = append(machine, "up "+uptime(r.UptimeSeconds))
	}
	p.fact("Machine", join(", ", machine...))
	if r.Time != nil {
		p.fact("Time", r.Time.Format("2006-01-02 15:04:05")+" UTC")
	}
	what := "of a crash"
	switch {
	case r.System == "", r.CrashUnknown:
		what = ""
	case !r.Crash:
		what = "of a machine that ran on"
	}
	if r.Incomplete {
		what = join("; ", what, "incomplete: its writer ran out of space or was stopped, or its end is missing")
	}
	kind := r.Kind
	if r.System == "Linux" && kind != "" {
		kind = "kind " + kind
	}
	p.fact("Dump", join(", ", kind, what, r.Format))
	for i, t := range r.Taints {
		name := ""
		if i == 0 {
			name = "Tainted"
		}
		p.fact(name, t.Letter+": "+t.Meaning)
	}
}

// chain is a stack in a line, the innermost frame first.
func chain(frames []kernel.Frame) string {
	var all []string
	for _, f := range frames {
		all = append(all, f.String())
	}
	return strings.Join(all, " < ")
}

// join joins the parts that are not empty.
func join(sep string, parts ...string) string {
	var all []string
	for _, s := range parts {
		if s != "" {
			all = append(all, s)
		}
	}
	return strings.Join(all, sep)
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

const (
	maxLogLines = 45
	logBefore   = 3 // messages before the crash
	logAfter    = 6 // messages at the end
	maxWarnings = 20
)

// log writes the part of the log that tells of the crash, or its end.
func (p *page) log(l *kernel.Log) {
	if l == nil {
		return
	}
	if from := l.Incident - 1 - logBefore; l.Incident > 0 && from > 0 && len(l.Lines)-from > maxLogLines {
		from, end := max(0, from), len(l.Lines)
		p.section("Log: from the crash on, of %s", plural(l.Messages, "message"))
		p.messages(l.Lines[from : from+maxLogLines-logAfter])
		if left := end - logAfter - (from + maxLogLines - logAfter); left > 0 {
			p.line("  … %s", plural(left, "message"))
		}
		p.messages(l.Lines[end-logAfter:])
		return
	}
	lines := l.Lines[max(0, len(l.Lines)-maxLogLines):]
	p.section("Log: the last %d of %s", len(lines), plural(l.Messages, "message"))
	p.messages(lines)
}

func (p *page) messages(lines []string) {
	for _, message := range lines {
		for s := range strings.SplitSeq(message, "\n") {
			for n, piece := range pieces(s, width-2) {
				if n > 0 {
					piece = strings.Repeat(" ", stampWidth) + piece
				}
				p.line("%s", strings.TrimRight("  "+piece, " "))
			}
		}
	}
}

// stampWidth is the length of the log's time stamps.
const stampWidth = 15

// pieces cuts a line of the log into lines; the first has all of the width, the
// others leave room for the stamp.
func pieces(s string, width int) []string {
	var all []string
	runes := []rune(s)
	for n := width; len(runes) > n; n = width - stampWidth {
		cut := n
		for at := n; at > n/2; at-- {
			if runes[at] == ' ' {
				cut = at
				break
			}
		}
		all = append(all, string(runes[:cut]))
		for runes = runes[cut:]; len(runes) > 0 && runes[0] == ' '; runes = runes[1:] {
		}
	}
	return append(all, string(runes))
}

func (p *page) warnings(all []string) {
	if len(all) == 0 {
		return
	}
	p.section("What could not be read")
	for i, w := range all {
		if i == maxWarnings {
			p.line("  … and %d more", len(all)-i)
			break
		}
		p.text("  - ", "    ", w)
	}
}
