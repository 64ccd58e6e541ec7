package small

import (
	"bytes"
	"fmt"
	"io"
	"slices"

	"procdump/arch"
	"procdump/kdump"
	"procdump/kdump/vmcore"
	"procdump/kernel/layout"
)

// Limits of the notes beside the JSON, in bytes of MaxSize.
const (
	maxInfo      = 12 << 10 // VMCOREINFO: 3 to 5 KiB
	minInfo      = 6 << 10  // whatever the budget
	maxPRStatus  = 14 << 10 // all of them
	maxEmpty     = 20 << 10 // of these, without registers
	maxRAMRanges = 64
)

// noteHead is what a note of owner CORE takes beside its descriptor.
const noteHead = 20

// prstatusNote is the size of an NT_PRSTATUS note.
func (b *builder) prstatusNote() int {
	return noteHead + len(kdump.BlankPRStatus(b.k.Machine, 0))
}

// countNotes decides which processors' registers the dump has, and counts the
// bytes of all notes but the JSON. Drgn takes the n-th NT_PRSTATUS for that of
// processor n: of one whose registers find no room, before one whose do, the
// note is empty.
func (b *builder) countNotes() {
	b.notes = len(kdump.AppendNote(nil, b.infoNote())) + len(kdump.AppendNote(nil, b.ramNote()))
	if b.options.PID != 0 {
		return // each thread is counted when it is added
	}
	room := b.share(maxPRStatus)
	if b.live {
		for i := range b.cpus {
			// Readers expect one for each processor. None stands still.
			b.cpus[i].blank = true
		}
	}
	last, used := -1, 0
	for _, s := range append([]*subject{b.first}, b.others...) {
		if s.prstatus == nil && !s.blank {
			continue
		}
		if used += b.prstatusNote(); used > room && s != b.first {
			s.prstatus, s.blank = nil, false
			continue
		}
		last = max(last, b.place(s))
	}
	if last*noteHead > b.share(maxEmpty) {
		b.miss("registers of other processors: no room")
		last = -1
	}
	for i := range b.cpus {
		s := &b.cpus[i]
		switch {
		case last < 0 && s != b.first:
			s.prstatus, s.blank = nil, false
		case s.prstatus != nil || s.blank:
			b.notes += b.prstatusNote()
		case i < last:
			s.empty = true
			b.notes += noteHead
		}
	}
}

// place is a processor's place in the order of the notes.
func (b *builder) place(s *subject) int {
	for i := range b.cpus {
		if s == &b.cpus[i] {
			return i
		}
	}
	return -1
}

// statusNotes are the NT_PRSTATUS notes.
func (b *builder) statusNotes() []byte {
	var out []byte
	add := func(desc []byte) {
		out = kdump.AppendNote(out, kdump.Note{Name: "CORE", Type: kdump.NT_PRSTATUS, Desc: desc})
	}
	if b.options.PID != 0 {
		for _, s := range append([]*subject{b.first}, b.others...) {
			if s.prstatus != nil && s.shown {
				add(s.prstatus)
			}
		}
		if out == nil {
			// Gdb shows no thread of a file without one.
			blank := kdump.BlankPRStatus(b.k.Machine, 0)
			kdump.SetPRStatusPID(b.k.Machine, blank, b.options.PID)
			add(blank)
		}
		return out
	}
	for i := range b.cpus {
		s := &b.cpus[i]
		switch {
		case s.prstatus != nil:
			// Gdb wants numbers that differ. Drgn finds the task that panicked by
			// the number in its note.
			if kdump.PRStatusPID(b.k.Machine, s.prstatus) == 0 && s != b.first {
				kdump.SetPRStatusPID(b.k.Machine, s.prstatus, kdump.FirstFreePID+i)
			}
			add(s.prstatus)
		case s.blank:
			add(kdump.BlankPRStatus(b.k.Machine, i))
		case s.empty:
			add(nil)
		}
	}
	return out
}

// infoNote is the VMCOREINFO note, cut to whole lines if it is damaged and has
// grown.
func (b *builder) infoNote() kdump.Note {
	info := b.k.Dump().VMCoreInfo
	if most := max(b.share(maxInfo), minInfo); len(info) > most {
		info = info[:bytes.LastIndexByte(info[:most], '\n')+1]
	}
	return kdump.Note{Name: kdump.VMCoreInfoName, Desc: info}
}

// ramNote says which memory there is, most of which is left out.
func (b *builder) ramNote() kdump.Note {
	const version, level = 1, 31 // no page is in the dump because of its kind
	desc := le.AppendUint32(le.AppendUint32(nil, version), level)
	for i, r := range b.k.Dump().Runs {
		if i < maxRAMRanges {
			desc = le.AppendUint64(le.AppendUint64(desc, r.Addr), r.Size)
		}
	}
	return kdump.Note{Name: NoteOwner, Type: vmcore.NT_PROCDUMP_RAM, Desc: desc}
}

// write writes the file.
func (b *builder) write(w io.Writer) (*Report, error) {
	if b.mem.err != nil {
		b.miss("some memory could not be read; the first: %v", b.mem.err)
	}
	note := b.note()
	rest := append(b.statusNotes(), kdump.AppendNote(nil, b.infoNote())...)
	rest = kdump.AppendNote(rest, b.ramNote())
	size := func() int { return ehdrSize + phdrSize + len(rest) + len(note.encode()) + b.mem.cost }
	for size() > b.budget && note.shrink() {
	}
	for size() > b.budget && len(b.mem.list) > 0 {
		b.mem.drop()
	}
	out := b.encode(append(rest, note.encode()...))
	if len(out) > b.budget {
		return nil, fmt.Errorf("write small dump: what is needed takes %d bytes, more than %d", len(out), b.budget)
	}
	if _, err := w.Write(out); err != nil {
		return nil, fmt.Errorf("write small dump: %w", err)
	}
	r := &Report{Size: len(out), Note: note}
	if b.tail != nil {
		r.Messages, r.Logged = len(b.tail.Records), b.tail.Logged
	}
	return r, nil
}

// shrink takes something off a note that is too long.
func (n *Note) shrink() bool {
	switch {
	case len(n.Missing) > 0:
		n.Missing = n.Missing[:len(n.Missing)-1]
	case n.Unloaded != "":
		n.Unloaded = ""
	case n.Modules != "":
		n.Modules = ""
	case len(n.Tasks) > 1:
		n.Tasks = n.Tasks[:1]
	default:
		return false
	}
	return true
}

// encode lays the file out: headers, notes, contents. PT_NOTE comes first, of
// which crash skips exactly one, and p_align is 0, without which crash takes
// the file for a netdump of old and ignores KASLR.
func (b *builder) encode(notes []byte) []byte {
	head := make([]byte, ehdrSize, b.budget)
	copy(head, "\x7fELF\x02\x01\x01") // 64 bits, little-endian, version 1
	le.PutUint16(head[16:], vmcore.ET_CORE)
	le.PutUint16(head[18:], elfMachine(b.k.Machine))
	le.PutUint32(head[20:], 1)
	le.PutUint64(head[32:], ehdrSize)
	le.PutUint16(head[52:], ehdrSize)
	le.PutUint16(head[54:], phdrSize)
	le.PutUint16(head[56:], uint16(1+len(b.mem.list)))
	off := uint64(ehdrSize + phdrSize*(1+len(b.mem.list)))
	program := func(typ, flags uint32, off, va, pa, filesz, memsz uint64) {
		head = le.AppendUint32(le.AppendUint32(head, typ), flags)
		for _, v := range []uint64{off, va, pa, filesz, memsz, 0} {
			head = le.AppendUint64(head, v)
		}
	}
	program(vmcore.PT_NOTE, 0, off, 0, 0, uint64(len(notes)), uint64(len(notes)))
	off += uint64(len(notes))
	var contents []byte
	offs := make([]uint64, len(b.mem.list))
	log, rest := b.fileOrder()
	for _, i := range append(log, rest...) {
		offs[i] = off + uint64(len(contents))
		contents = append(contents, b.mem.list[i].data...)
	}
	if len(log) > 0 {
		behind := 0
		for _, i := range rest {
			behind += len(b.mem.list[i].data)
		}
		room := max(0, b.budget-int(off)-len(contents))
		contents = append(contents, make([]byte, min(b.padding(behind), room))...)
	}
	for i := range b.mem.list {
		p := &b.mem.list[i]
		program(vmcore.PT_LOAD, vmcore.PF_R|vmcore.PF_W|vmcore.PF_X, offs[i], p.va, p.pa, uint64(len(p.data)), p.size())
	}
	return slices.Concat(head, notes, contents)
}

// fileOrder is the order of the pieces' contents in the file: the log's come
// first. Crash reads the log by whole pages, also where a piece ends within one,
// and fails if the file ends there.
func (b *builder) fileOrder() (log, rest []int) {
	for i := range b.mem.list {
		p := &b.mem.list[i]
		if b.tail != nil && slices.ContainsFunc(b.tail.Buffers, func(r layout.Range) bool { return p.va < r.End() && r.Addr < p.end() }) {
			log = append(log, i)
		} else {
			rest = append(rest, i)
		}
	}
	return log, rest
}

// padding is how many bytes must follow the last piece in the file, so that a
// whole page can be read where the log ends, n bytes before that piece's end.
func (b *builder) padding(n int) int { return max(0, 4096-n) }

func elfMachine(m arch.Machine) uint16 {
	if m == arch.ARM64 {
		return vmcore.EM_AARCH64
	}
	return vmcore.EM_X86_64
}
