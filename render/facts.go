package render

import (
	"fmt"
	"strings"
	"time"

	"procdump/inspect"
	"procdump/render/page"
)

// Fact is something that is known, and what it is called.
type Fact struct{ Name, Value string }

type facts []Fact

// add adds a fact if there is one.
func (f *facts) add(name, value string) {
	if value != "" {
		*f = append(*f, Fact{name, value})
	}
}

const maxArgs = 2000 // characters of a command line

const maxDeadlocks = 5

// accessText is the instruction at a fault, and the register that it had the bad
// address from.
func accessText(a *inspect.Access) string {
	if a == nil {
		return ""
	}
	held := ""
	if a.Register != "" {
		held = fmt.Sprintf("%s was %#x", a.Register, uint64(a.Value))
	}
	return page.Join("; ", a.Instruction, held)
}

// Facts are what is known of the process, of what happened to it and of its
// dump, in words.
func Facts(r *inspect.Report) []Fact {
	var f facts
	q := &r.Process
	if x := r.Exception; x != nil {
		f.add("Message", x.Message)
		signal := page.Join(", ", x.Signal, x.Code)
		if x.Address != nil {
			signal += fmt.Sprintf(", address %#x", uint64(*x.Address))
		}
		f.add("Exception", page.Join(": ", signal, x.What))
		f.add("Access", accessText(x.Access))
	}
	for i := range r.Deadlocks {
		if i == maxDeadlocks {
			f.add("Deadlock", fmt.Sprintf("… and %d more", len(r.Deadlocks)-i))
			break
		}
		f.add("Deadlock", r.Deadlocks[i].Text)
	}
	f.damage(r.Memory.Allocator)
	who := fmt.Sprintf("%s (%d)", q.Name, q.PID)
	if q.PID == 0 {
		who = q.Name
	}
	f.add("Process", page.Join(", ", who, q.Exe, q.Machine))
	if args := []rune(strings.Join(q.Args, " ")); len(args) > maxArgs {
		f.add("Command", string(args[:maxArgs])+" …")
	} else {
		f.add("Command", string(args))
	}
	started := ""
	if q.StartTime != nil {
		started = "started " + stamp(q.StartTime)
		if t := r.Dump.Time; t != nil && t.After(*q.StartTime) {
			started += ", ran for " + Duration(t.Sub(*q.StartTime).Microseconds())
		}
	}
	used := ""
	if n := q.UserMicros + q.SystemMicros; n > 0 {
		used = Duration(n) + " of processor time"
	}
	f.add("Time", page.Join(", ", started, used))
	f.dump(&r.Dump)
	s := &r.System
	if *s == (inspect.System{OS: s.OS}) {
		return f
	}
	cpus := ""
	if s.CPUs > 0 {
		cpus = page.Plural(s.CPUs, "processor")
	}
	f.add("Machine", page.Join(", ", s.Host, page.Join(" ", s.Distro, s.OS, s.Release), cpus, strings.TrimSpace(s.CPU)))
	return f
}

func (f *facts) dump(d *inspect.Dump) {
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
	f.add(name, page.Join(", ", kind, d.Reason, when, paused, left, d.Tool))
	f.add("Comment", d.Comment)
}

func stamp(t *time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") + " UTC" }

// Duration is a time of so many microseconds in words.
func Duration(micros int64) string {
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
