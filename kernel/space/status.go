package space

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"
	"unicode"

	"procdump/kernel/rescue"
	"procdump/kernel/settings"
)

// Status is how things stand with the space of dumps.
type Status struct {
	Kind settings.Kind `json:"kind"`
	// File holds the ReservedBytes set aside; "" if none are.
	File          string `json:"file,omitempty"`
	ReservedBytes int64  `json:"reservedBytes"`
	// EstimateBytes is the size of the largest dump of kind kernel, written or
	// estimated, of the last four weeks; 0 if unknown.
	EstimateBytes int64 `json:"estimateBytes,omitempty"`
	// LastCrashTime is when a dump last did not fit, which would have taken
	// NeededBytes; GrownUntil is when the space shrinks again that has grown
	// therefore.
	LastCrashTime time.Time `json:"lastCrashTime,omitzero"`
	NeededBytes   int64     `json:"neededBytes,omitempty"`
	GrownUntil    time.Time `json:"grownUntil,omitzero"`
	// FreeBytes of the disk of DiskBytes are free beside what is set aside. With
	// less than LowFreeBytes, and not Keep, the next boot removes the dump.
	DiskBytes    int64 `json:"diskBytes,omitempty"`
	FreeBytes    int64 `json:"freeBytes,omitempty"`
	LowFreeBytes int64 `json:"lowFreeBytes,omitempty"`
	Keep         bool  `json:"keep"`
	// Last is what became of the last crash; nil if none is known.
	Last *Outcome `json:"last,omitempty"`
	// Pending says that a crash kernel has left a record in a folder that AfterBoot
	// has not taken yet.
	Pending  bool     `json:"pending,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
}

// Status asks how things stand. It changes nothing, and needs no more than to
// read the state file.
func (m *Manager) Status() *Status {
	s := &Status{Kind: m.Settings.Kind, Keep: m.Settings.Keep}
	state, err := loadState(m.StateFile)
	if err != nil {
		s.Warnings = append(s.Warnings, err.Error())
	}
	s.EstimateBytes, s.LastCrashTime, s.NeededBytes, s.Last = state.Peak, state.LastCrashTime, state.Needed, state.Last
	if now := m.Now(); !state.LastCrashTime.IsZero() && since(now, state.LastCrashTime) < FourWeeks {
		s.GrownUntil = state.LastCrashTime.Add(FourWeeks)
	}
	if state.File != "" {
		if n := reservedSize(state.File); n > 0 {
			s.File, s.ReservedBytes = state.File, n
		} else {
			s.Warnings = append(s.Warnings, fmt.Sprintf("the space set aside, %s, is gone; procdump kernel arm sets it aside again", state.File))
		}
	}
	for _, p := range m.places(&state) {
		for _, folder := range []string{p.folder, p.smallFolder} {
			s.Pending = s.Pending || existing(filepath.Join(folder, rescue.RecordName)) != ""
		}
	}
	if !m.Settings.Raw() {
		if disk, err := m.Disk(m.Settings.Folder); err == nil {
			s.DiskBytes, s.FreeBytes, s.LowFreeBytes = disk.Size, disk.Free, disk.LowFree()
		}
	}
	return s
}

// Line is a line of text about the status.
type Line struct{ Name, Value string }

// Lines are the status for people.
func (s *Status) Lines() []Line {
	var lines []Line
	add := func(name, format string, args ...any) {
		lines = append(lines, Line{name, fmt.Sprintf(format, args...)})
	}
	switch {
	case s.ReservedBytes > 0:
		add("Space set aside", "%s in %s", size(s.ReservedBytes), s.File)
	case s.Kind == settings.Automatic:
		add("Space set aside", "none: a dump takes what is free")
	default:
		add("Space set aside", "none, as kind is %s: a dump takes what is free", s.Kind)
	}
	if s.EstimateBytes > 0 {
		add("Estimated dump", "%s", size(s.EstimateBytes))
	}
	if s.DiskBytes > 0 {
		add("Disk", "%s of %s free", size(s.FreeBytes), size(s.DiskBytes))
		if s.Keep {
			add("Dumps", "kept, however full the disk is")
		} else {
			add("Dumps", "removed at the next boot where less than %s are free then", size(s.LowFreeBytes))
		}
	}
	if !s.LastCrashTime.IsZero() {
		text := "at " + clock(s.LastCrashTime)
		if s.NeededBytes > 0 {
			text += ", a dump of " + size(s.NeededBytes)
		}
		if !s.GrownUntil.IsZero() {
			text += "; the space is to be as large as memory until " + clock(s.GrownUntil)
		}
		add("Last did not fit", "%s", text)
	}
	switch {
	case s.Last != nil:
		add("Last crash", "%s", s.Last.summary())
		for _, n := range s.Last.Notes {
			add("", "%s", n)
		}
	default:
		add("Last crash", "none is known")
	}
	if s.Pending {
		add("", "a newer crash has left a record; procdump kernel arm -boot takes it")
	}
	return lines
}

// good tells whether the dump that was to be written is there.
func (o *Outcome) good() bool {
	rec := &o.Record
	dump := o.Dump
	if rec.Wanted == settings.Small {
		dump = o.Small
	}
	return dump != "" && rec.Finished && !rec.NoSpace
}

// Event says in one line what became of a crash, and what has been done about
// the dumps.
func (o *Outcome) Event() string {
	return strings.Join(append([]string{o.summary()}, o.Notes...), "; ")
}

// summary says in one line what became of a crash.
func (o *Outcome) summary() string {
	rec := &o.Record
	var b strings.Builder
	b.WriteString("the kernel crashed")
	if !rec.Time.IsZero() {
		b.WriteString(" at " + clock(rec.Time))
	}
	if rec.Panic != "" {
		b.WriteString(" (" + rec.Panic + ")")
	}
	b.WriteString(": ")
	switch {
	case rec.Wanted == settings.Small && o.Small != "":
		fmt.Fprintf(&b, "small dump %s", o.Small)
	case o.Dump != "":
		fmt.Fprintf(&b, "%s dump of %s in %s", rec.Kind, size(dumpBytes(rec)), o.Dump)
		if !rec.Verified {
			b.WriteString(", not verified")
		}
	case rec.File != "" && len(o.Notes) > 0:
		b.WriteString("its dump was removed")
	case rec.File != "":
		fmt.Fprintf(&b, "its dump %s is gone", rec.File)
	case rec.NoSpace:
		b.WriteString("no dump")
	case !rec.Finished && rec.Step != "":
		fmt.Fprintf(&b, "no dump, the crash kernel ended at: %s", rec.Step)
	default:
		b.WriteString("no dump")
	}
	if rec.NoSpace {
		fmt.Fprintf(&b, "; the %s dump found no room", rec.Wanted)
		if rec.NeededBytes > 0 {
			fmt.Fprintf(&b, ": it needed %s, and %s were free", size(rec.NeededBytes), size(rec.FreeBytes))
		}
	}
	if o.Small != "" && rec.Wanted != settings.Small {
		fmt.Fprintf(&b, "; small dump %s", o.Small)
	}
	for _, f := range rec.Failures {
		b.WriteString("; " + f)
	}
	return strings.Map(printable, b.String())
}

// printable keeps what the memory of a crashed kernel held from ending the line
// or moving the cursor of a terminal.
func printable(r rune) rune {
	if !unicode.IsPrint(r) {
		return ' '
	}
	return r
}

func clock(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }

// size prints a size as people say it, in units of 1,024.
func size(n int64) string {
	f, name := float64(n), "bytes"
	for _, next := range []string{"KB", "MB", "GB", "TB"} {
		if f < 1024 {
			break
		}
		f, name = f/1024, next
	}
	if name == "bytes" {
		return fmt.Sprintf("%d bytes", n)
	}
	return fmt.Sprintf("%.1f %s", f, name)
}
