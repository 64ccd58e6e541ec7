package small

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"procdump/kdump"
	"procdump/kernel/layout"
)

// Is tells whether a dump is a small one.
func Is(d *kdump.Dump) bool {
	return slices.ContainsFunc(d.Notes, isNote)
}

func isNote(n kdump.Note) bool { return n.Name == NoteOwner && n.Type == NoteType }

// ParseNote returns what a small dump says about itself; ok is false for any
// other dump, and where that is damaged.
func ParseNote(d *kdump.Dump) (n *Note, ok bool) {
	for _, e := range d.Notes {
		if isNote(e) {
			n = &Note{}
			if err := json.Unmarshal(e.Desc, n); err == nil && n.Kind == kind {
				return n, true
			}
		}
	}
	return nil, false
}

const kind = "small"

// describe collects the facts of the note.
func (b *builder) describe() {
	f := &b.facts
	f.Version, f.Kind, f.Live = 1, kind, b.live
	d := b.k.Dump()
	if f.Time = b.options.Time; f.Time.IsZero() {
		f.Time = d.Time
	}
	if f.Time.IsZero() {
		f.Time = b.k.Info.CrashTime()
	}
	f.Time = f.Time.UTC().Truncate(time.Second)
	u := d.Uname
	if read, err := b.k.Uname(); err == nil {
		u = read
	}
	f.Release, f.Machine, f.Host = clean(u.Release, 65), clean(u.Machine, 65), clean(u.Nodename, 65)
	if f.Release == "" {
		f.Release = clean(b.k.Info.OSRelease(), 65)
	}
	if up, err := b.k.Uptime(); err == nil {
		f.UptimeSeconds = int64(up / time.Second)
	}
	f.Tainted, _ = b.k.Tainted()
	f.CPUs = len(b.cpus)
	if b.options.PID != 0 {
		numbers, _ := b.k.CPUs()
		f.CPUs = len(numbers)
	}
	b.describeModules()
	if !b.live {
		b.describePanic()
	}
}

// The kernel's messages of an oops:
//
//	Oops: 0002 [#1] PREEMPT SMP NOPTI
//	CPU: 1 PID: 94 Comm: sh Not tainted 6.1.0-56-amd64 #1
//	RIP: 0010:sysrq_handle_crash+0x16/0x20
//	pc : sysrq_handle_crash+0x1c/0x30
//	Kernel panic - not syncing: sysrq triggered crash
var (
	oopsCode = regexp.MustCompile(`(?:Oops|Internal error): (?:.*: )?([0-9a-f]{4,16}) \[#`)
	oopsCPU  = regexp.MustCompile(`^CPU: (\d+) (?:UID: \d+ )?PID: `)
	oopsRIP  = regexp.MustCompile(`^(?:RIP: 0010:|pc : )(\S+(?: \[\w+\])?)`)
)

const (
	oopsFatal   = "Kernel panic - not syncing: "
	panicWindow = 256 << 10 // of the log's buffers, in bytes
)

// panicLog is the part of the log that tells of a panic.
func (b *builder) panicLog() []layout.LogRecord {
	t, err := b.k.LogTail(panicWindow)
	if err != nil {
		return nil
	}
	return t.Records
}

// describePanic takes the panic's message and parameters from the log.
func (b *builder) describePanic() {
	f := &b.facts
	log := b.panicLog()
	message := layout.PanicMessage(log)
	f.Panic = clean(message, 256)
	seen := false
	for _, r := range log {
		// Earlier oopses did not end the kernel.
		if r.Text == message && message != "" {
			seen, f.Oops, f.RIP = true, "", ""
		}
		if !seen {
			continue
		}
		if m := oopsCode.FindStringSubmatch(r.Text); m != nil && f.Oops == "" {
			f.Oops = m[1]
		}
		if m := oopsRIP.FindStringSubmatch(r.Text); m != nil && f.RIP == "" {
			f.RIP = clean(m[1], 160)
		}
		if s, ok := strings.CutPrefix(r.Text, oopsFatal); ok && f.NotSyncing == "" {
			f.NotSyncing = clean(s, 256)
		}
	}
	if f.RIP == "" && b.first.ip != 0 {
		f.RIP = clean(b.symbol(b.first.ip), 160)
	}
}

// describeModules lists the modules as text, with less of each if they are
// many.
func (b *builder) describeModules() {
	modules, err := b.k.Modules()
	if err != nil {
		b.miss("modules: %v", err)
	}
	b.modules = modules
	most := b.share(16 << 10)
	write := func(line func(m *layout.Module) string) bool {
		var text strings.Builder
		for i := range modules {
			l := line(&modules[i]) + "\n"
			if text.Len()+len(l) > most {
				b.facts.Modules = text.String()
				return false
			}
			text.WriteString(l)
		}
		b.facts.Modules = text.String()
		return true
	}
	name := func(m *layout.Module) string { return word(m.Name, 56) }
	if !write(func(m *layout.Module) string {
		l := fmt.Sprintf("%s %d %x", name(m), m.Size(), m.Base())
		if m.Taints != 0 {
			l += fmt.Sprintf(" %x", m.Taints)
		}
		return l
	}) && !write(name) {
		b.miss("%d modules: no room for the names of all", len(modules))
	}
	unloaded, _ := b.k.UnloadedModules()
	for _, u := range unloaded {
		if len(b.facts.Unloaded) > b.share(2<<10) {
			break
		}
		b.facts.Unloaded += fmt.Sprintf("%s %d %x\n", word(u.Name, 56), u.Count, u.Taints)
	}
}

// word is text without spaces.
func word(s string, limit int) string {
	return strings.ReplaceAll(clean(s, limit), " ", "?")
}

// note is what the dump says about itself as it is now.
func (b *builder) note() Note {
	n := b.facts
	n.Tasks = []NoteTask{}
	for _, s := range append([]*subject{b.first}, b.others...) {
		if s.prstatus != nil {
			n.Registers++
		}
		if !s.shown {
			continue
		}
		t := NoteTask{CPU: s.cpu, Stack: s.stack, State: "?"}
		if s.known {
			t.PID, t.TGID, t.Comm, t.State = s.task.PID, s.task.TGID, clean(s.task.Comm, 16), string(s.task.State)
			t.Addr = fmt.Sprintf("%x", s.task.Addr)
			if s.cpu < 0 {
				t.CPU = s.task.CPU
			}
		}
		n.Tasks = append(n.Tasks, t)
	}
	return n
}

// encode is the note in the form that it has in the file.
func (n *Note) encode() []byte {
	text, err := json.Marshal(n)
	if err != nil {
		text = []byte("{}")
	}
	return kdump.AppendNote(nil, kdump.Note{Name: NoteOwner, Type: NoteType, Desc: text})
}

// noteSize is the size of the note as it is now.
func (b *builder) noteSize() int {
	n := b.note()
	return len(n.encode())
}
