package kernel

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"procdump/kdump"
	"procdump/kernel/dumped"
	"procdump/kernel/layout"
	"procdump/kernel/pages"
	"procdump/kernel/small"
	"procdump/kernel/unwind"
)

// linux is the inspection of one dump of Linux.
type linux struct {
	r       *Report
	dump    *kdump.Dump
	src     *dumped.Source // nil: what pages are used for is not looked at
	k       *layout.Kernel // nil: the memory cannot be read by virtual addresses
	u       *unwind.Unwinder
	note    *small.Note // of a small dump, else nil
	noNote  bool        // it is damaged: nothing but that it is a small dump is known of it
	log     []layout.LogRecord
	crashed int // the processor, or -1
	// certain says that what tells whether the kernel crashed could be read.
	certain bool
	hung    map[int]*TaskGroup // of the tasks in state D, by PID
}

func (l *linux) inspect() {
	l.memory()
	k, err := l.open()
	if err != nil {
		l.r.warn("the kernel's memory cannot be read by its own addresses: %v", err)
	} else {
		l.use(k)
	}
	l.explain()
	l.kind()
	if l.src == nil {
		return
	}
	for _, w := range l.src.Warnings() {
		// What is not known about pages matters to those who filter them; this
		// report only lacks their uses.
		w = strings.TrimSuffix(w, ": all pages of the dump are kept")
		l.r.warn("%s", strings.TrimSuffix(w, ": they are kept"))
	}
}

// open opens the kernel.
func (l *linux) open() (*layout.Kernel, error) {
	if l.src == nil {
		return layout.Open(l.dump)
	}
	k, err := l.src.Kernel()
	l.dump = l.src.Dump() // VMCOREINFO that was missing may be there now
	return k, err
}

// use takes the kernel that the report is about.
func (l *linux) use(k *layout.Kernel) {
	l.k, l.u = k, unwind.New(k)
	if _, err := k.Symbols(); err != nil {
		l.r.cause = err.Error()
	}
	for _, w := range l.u.Warnings() {
		if l.note != nil {
			w = "a small dump has no symbols and no unwind data: stacks are the kernel's own of the log, or guesses"
		}
		l.r.warn("%s", w)
	}
}

// explain fills in all that needs no page of memory's use.
func (l *linux) explain() {
	l.identity()
	if l.k != nil {
		var err error
		if l.log, err = l.k.Log(); err != nil {
			l.r.warn("the kernel's log: %v", err)
		}
		l.certain = len(l.log) > 0
		l.findCrash()
		l.modules()
	}
	l.processors()
	if l.k != nil {
		l.tasks()
	}
	l.fromNote()
	l.tail()
	l.incident()
}

// findNote finds what a small dump says about itself.
func (l *linux) findNote() {
	if !small.Is(l.dump) {
		return
	}
	n, ok := small.ParseNote(l.dump)
	if !ok {
		l.r.warn("what the small dump says about itself is damaged")
		l.noNote, n = true, &small.Note{CPU: -1}
	}
	l.note = n
}

// identity says which kernel it is.
func (l *linux) identity() {
	d := l.dump
	u := d.Uname
	if l.k != nil {
		if own, err := l.k.Uname(); err == nil {
			u = own
		} else if u.Release == "" {
			u.Release = l.k.Info.OSRelease()
		}
	}
	l.r.Release, l.r.Version, l.r.Machine, l.r.Host = u.Release, u.Version, u.Machine, u.Nodename
	if l.r.Machine == "" {
		l.r.Machine = d.Arch.String()
	}
	if t := d.Time; !t.IsZero() {
		t = t.UTC()
		l.r.Time = &t
	}
	l.r.CPUs = len(d.CPUs)
	if l.k == nil {
		return
	}
	if t := l.k.Info.CrashTime(); !t.IsZero() {
		t = t.UTC()
		l.r.Time = &t
	}
	if cpus, err := l.k.CPUs(); err == nil {
		l.r.CPUs = max(l.r.CPUs, len(cpus))
	}
	if l.r.Time == nil {
		l.r.Time = l.clock()
	}
	if up, err := l.k.Uptime(); err == nil {
		l.r.UptimeSeconds = int64(up.Seconds())
	}
	if flags, err := l.k.Tainted(); err == nil {
		l.r.Taints = taintsOf(flags)
	} else if l.note == nil {
		l.r.warn("the taint flags: %v", err)
	}
}

// clock reads the kernel's wall clock, nil if it is not to be had: the time of
// a dump whose format does not tell it.
func (l *linux) clock() *time.Time {
	f, err := l.k.Field("timekeeper", "xtime_sec")
	if err != nil {
		return nil
	}
	offset := f.Offset
	names := []string{"shadow_timekeeper"} // before 6.13
	if outer, err := l.k.Field("tk_data", "timekeeper"); err == nil {
		names, offset = []string{"timekeeper_data", "tk_core"}, offset+outer.Offset
	}
	for _, name := range names {
		a, err := l.k.Symbol(name)
		if err != nil {
			continue
		}
		s, err := l.k.Space.Uint64(a + offset)
		if t := time.Unix(int64(s), 0).UTC(); err == nil && t.Year() >= 2000 && t.Year() < 2200 {
			return &t
		}
	}
	return nil
}

// findCrash finds the processor that panicked.
func (l *linux) findCrash() {
	if _, ok := l.dump.Info("CRASHTIME"); ok {
		l.r.Crash = true
	}
	n, err := l.k.PanicCPU()
	l.certain = l.certain || err == nil
	if n >= 0 {
		l.r.Crash, l.crashed = true, n
	}
}

// modules lists the modules.
func (l *linux) modules() {
	all, err := l.k.Modules()
	if err != nil && l.note == nil {
		l.r.warn("the modules: %v", err)
	}
	for _, m := range all {
		l.r.Modules = append(l.r.Modules, Module{
			Name: m.Name, Addr: Hex(m.Base()), Size: m.Size(), Version: m.Version,
			State: map[int]string{1: "loading", 2: "unloading"}[m.State], Taints: taintsOf(m.Taints),
		})
	}
	gone, err := l.k.UnloadedModules()
	if err != nil && l.note == nil && !errors.Is(err, layout.ErrMissing) {
		l.r.warn("the unloaded modules: %v", err)
	}
	for _, m := range gone {
		l.r.Unloaded = append(l.r.Unloaded, Unloaded{Name: m.Name, Count: m.Count, Taints: taintsOf(m.Taints)})
	}
}

// fromNote fills in what a small dump says of itself and its memory does not.
func (l *linux) fromNote() {
	n := l.note
	if n == nil {
		return
	}
	r := l.r
	set := func(to *string, v string) {
		if *to == "" {
			*to = v
		}
	}
	set(&r.Release, n.Release)
	set(&r.Machine, n.Machine)
	set(&r.Host, n.Host)
	if r.UptimeSeconds == 0 {
		r.UptimeSeconds = n.UptimeSeconds
	}
	if r.Time == nil && !n.Time.IsZero() {
		t := n.Time.UTC()
		r.Time = &t
	}
	r.CPUs = max(r.CPUs, n.CPUs)
	if !l.noNote {
		r.Crash = !n.Live
	}
	if len(r.Taints) == 0 {
		r.Taints = taintsOf(n.Tainted)
	}
	if l.crashed < 0 && r.Crash {
		l.crashed = n.CPU
	}
	if len(r.Modules) == 0 {
		r.Modules = noteModules(n.Modules)
	}
	if len(r.Unloaded) == 0 {
		r.Unloaded = noteUnloaded(n.Unloaded)
	}
	for _, m := range n.Missing {
		r.warn("not in this small dump: %s", m)
	}
	l.noteTasks()
}

// noteTasks adds the tasks whose stacks are in a small dump, where the kernel's
// own list of them is not.
func (l *linux) noteTasks() {
	if l.r.Tasks != nil && l.r.Tasks.Total > 0 {
		return
	}
	t := &Tasks{States: make(map[string]int)}
	for _, n := range l.note.Tasks {
		ref := TaskRef{PID: n.PID, TGID: n.TGID, Comm: n.Comm, State: n.State, CPU: n.CPU}
		if ref.TGID == ref.PID {
			ref.TGID = 0
		}
		t.Total++
		t.States[n.State]++
		t.Running = append(t.Running, ref)
		for i := range l.r.Processors {
			if p := &l.r.Processors[i]; p.Number == n.CPU && p.Task == nil && (n.State == "R" || !l.note.Live) {
				p.Task = &ref
			}
		}
	}
	if t.Total > 0 {
		l.r.Tasks = t
	}
}

// noteModules reads lines of name, size, address and taint flags.
func noteModules(text string) []Module {
	var all []Module
	for line := range strings.Lines(text) {
		var m Module
		var addr, taints uint64
		n, _ := fmt.Sscanf(line, "%s %d %v %v", &m.Name, &m.Size, (*hexNumber)(&addr), (*hexNumber)(&taints))
		if n >= 2 {
			m.Addr, m.Taints = Hex(addr), taintsOf(taints)
			all = append(all, m)
		}
	}
	return all
}

func noteUnloaded(text string) []Unloaded {
	var all []Unloaded
	for line := range strings.Lines(text) {
		var m Unloaded
		var taints uint64
		if n, _ := fmt.Sscanf(line, "%s %d %v", &m.Name, &m.Count, (*hexNumber)(&taints)); n >= 1 {
			m.Taints = taintsOf(taints)
			all = append(all, m)
		}
	}
	return all
}

// hexNumber scans a hexadecimal number, with 0x or without.
type hexNumber uint64

// Scan implements fmt.Scanner.
func (h *hexNumber) Scan(state fmt.ScanState, _ rune) error {
	word, err := state.Token(true, nil)
	if err != nil {
		return err
	}
	_, err = fmt.Sscanf(strings.TrimPrefix(string(word), "0x"), "%x", (*uint64)(h))
	return err
}

// maxLines and maxLine bound the end of the log that a report holds.
const (
	maxLines = 400
	maxLine  = 4 << 10 // bytes
)

func (l *linux) tail() {
	if len(l.log) == 0 {
		return
	}
	t := &Log{Messages: len(l.log)}
	for _, rec := range l.log[max(0, len(l.log)-maxLines):] {
		s := rec.String()
		t.Lines = append(t.Lines, s[:min(len(s), maxLine)])
	}
	l.r.Log = t
}

// kind tells what the dump holds.
func (l *linux) kind() {
	m := l.r.Memory
	switch {
	case l.note != nil:
		l.r.Kind = "small"
	case m == nil:
	case m.Classes == nil && m.LeftOut == 0:
		l.r.Kind = "complete"
	case m.Classes != nil:
		// Some formats do not tell memory that was left out from none: no machine
		// is without free memory.
		share := func(classes ...pages.Class) float64 {
			var all, there uint64
			for _, c := range m.Classes {
				for _, want := range classes {
					if c.Name == want.String() {
						all, there = all+c.Bytes, there+c.InDump
					}
				}
			}
			return float64(there) / float64(max(all, 1))
		}
		free := share(pages.Free) > 0.5
		switch {
		case free && (m.LeftOut == 0 || share(pages.Anon, pages.Shmem) > 0.5):
			l.r.Kind = "complete"
		case share(pages.Anon, pages.Shmem, pages.MappedFile) > 0.5:
			l.r.Kind = "active"
		default:
			l.r.Kind = "kernel"
		}
	}
}
