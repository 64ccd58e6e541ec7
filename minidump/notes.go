package minidump

import (
	"encoding/binary"
	"fmt"
	"time"

	"procdump/arch"
	"procdump/snapshot"
)

// Notes is NotesStream: what the standard streams cannot hold of the process
// and its threads, so that converting a snapshot to a minidump and back loses
// nothing. A thread's notes are those of an ELF core: each kernel regset under
// its NT type, siginfo under NT_SIGINFO, and one of our own. Layout, all
// little endian:
//
//	 0  u32 version    1
//	 4  u32 header     64: bytes before the first thread
//	 8  u32 machine    1 amd64, 2 i386, 3 arm64 (arch.Machine)
//	12  u32 threads    number of threads that follow
//	16  i32 pgid, i32 sid, i32 nice, u32 0
//	32  u64 flags      PF_* of the kernel
//	40  i64 user, i64 system    time of the process, nanoseconds
//	56  u64 0
//	    each thread:  u32 tid, u32 number of notes
//	        each note:  u32 type, u32 length, the bytes, zeros up to a multiple of 4
//
// The note of type ThreadStateNote:
//
//	 0  i32 signal, i32 nice
//	 8  u64 pending, u64 blocked    signal sets
//	24  i64 user, i64 system        nanoseconds
//	40  i64 start                   nanoseconds since 1970; 0 unknown
//	48  u64 stack, u64 size         used part of the stack
type Notes struct {
	Machine              arch.Machine
	PGID, SID, Nice      int
	Flags                uint64
	UserTime, SystemTime time.Duration
	Threads              []ThreadNotes
}

// ThreadNotes are the notes of one thread.
type ThreadNotes struct {
	TID  int
	Sets []arch.Regset // Type: NT_…, NT_SIGINFO or ThreadStateNote
}

// Types of notes beside the regsets.
const (
	NT_SIGINFO      = 0x53494749
	ThreadStateNote = 0x50440003
)

const (
	notesVersion    = 1
	notesHeaderSize = 64
	threadStateSize = 64
	maxThreadNotes  = 256
	maxNotes        = 1 << 30 // bytes of the stream that Reader reads
)

func (h *head) notes(p *snapshot.Process) {
	h.begin(NotesStream)
	h.u32(notesVersion)
	h.u32(notesHeaderSize)
	h.u32(uint32(p.Machine()))
	h.u32(uint32(len(p.Threads)))
	h.u32(uint32(p.PGID))
	h.u32(uint32(p.SID))
	h.u32(uint32(p.Nice))
	h.u32(0)
	h.u64(p.Flags)
	h.u64(uint64(p.UserTime))
	h.u64(uint64(p.SystemTime))
	h.u64(0)
	for i := range p.Threads {
		t := &p.Threads[i]
		n := len(t.Registers.Sets) + 1
		if t.Siginfo != nil {
			n++
		}
		h.u32(uint32(t.TID))
		h.u32(uint32(n))
		for _, s := range t.Registers.Sets {
			h.note(s.Type, s.Data)
		}
		if t.Siginfo != nil {
			h.note(NT_SIGINFO, t.Siginfo)
		}
		h.note(ThreadStateNote, threadState(t))
	}
	h.end()
}

func (h *head) note(typ uint32, data []byte) {
	h.u32(typ)
	h.u32(uint32(len(data)))
	h.bytes(data)
	h.zeros(-int64(len(data)) & 3)
}

func threadState(t *snapshot.Thread) []byte {
	b, le := make([]byte, 0, threadStateSize), binary.LittleEndian
	b = le.AppendUint32(b, uint32(t.Signal))
	b = le.AppendUint32(b, uint32(t.Nice))
	b = le.AppendUint64(b, t.Pending)
	b = le.AppendUint64(b, t.Blocked)
	b = le.AppendUint64(b, uint64(t.UserTime))
	b = le.AppendUint64(b, uint64(t.SystemTime))
	var start int64
	if !t.StartTime.IsZero() {
		start = t.StartTime.UnixNano()
	}
	b = le.AppendUint64(b, uint64(start))
	b = le.AppendUint64(b, t.Stack.Addr)
	return le.AppendUint64(b, t.Stack.Size)
}

// Notes returns our own stream of notes.
func (r *Reader) Notes() (*Notes, error) { return strict(r.notes()) }

func (r *Reader) notes() (*Notes, error) {
	b, d, err := r.stream(NotesStream)
	if len(b) < notesHeaderSize {
		return nil, orShort(err, d, "ProcdumpNotes")
	}
	le := binary.LittleEndian
	bad := func(what string) error {
		return &FormatError{Off: int64(d.RVA), What: "ProcdumpNotes " + what, Err: err}
	}
	header := le.Uint32(b[4:])
	if le.Uint32(b) != notesVersion || header < notesHeaderSize || uint64(header) > uint64(len(b)) {
		return nil, bad(fmt.Sprintf("version %d, header of %d bytes", le.Uint32(b), header))
	}
	n := &Notes{Machine: arch.Machine(le.Uint32(b[8:])), PGID: int(int32(le.Uint32(b[16:]))), SID: int(int32(le.Uint32(b[20:]))),
		Nice: int(int32(le.Uint32(b[24:]))), Flags: le.Uint64(b[32:]),
		UserTime: time.Duration(le.Uint64(b[40:])), SystemTime: time.Duration(le.Uint64(b[48:]))}
	want := le.Uint32(b[12:])
	for b = b[header:]; len(b) >= 8 && len(n.Threads) < int(want); {
		t, rest, ok := threadNotes(b)
		n.Threads = append(n.Threads, t)
		if !ok {
			return n, bad("end in the middle of a thread")
		}
		b = rest
	}
	if len(n.Threads) < int(want) {
		return n, bad(fmt.Sprintf("of %d threads end after %d", want, len(n.Threads)))
	}
	return n, err
}

// threadNotes cuts the notes of one thread off b; the data stays in b.
func threadNotes(b []byte) (t ThreadNotes, rest []byte, ok bool) {
	le := binary.LittleEndian
	t.TID = int(int32(le.Uint32(b)))
	n := le.Uint32(b[4:])
	b = b[8:]
	for i := range n {
		if len(b) < 8 || i >= maxThreadNotes {
			return t, nil, false
		}
		size := uint64(le.Uint32(b[4:]))
		if size > uint64(len(b)-8) {
			return t, nil, false
		}
		t.Sets = append(t.Sets, arch.Regset{Type: le.Uint32(b), Data: b[8 : 8+size : 8+size]})
		b = b[min(8+(size+3)&^3, uint64(len(b))):]
	}
	return t, b, true
}

// fill puts the notes of a thread into its snapshot.
func (n *ThreadNotes) fill(t *snapshot.Thread, m arch.Machine) {
	regs := arch.Registers{Machine: m}
	for _, s := range n.Sets {
		switch s.Type {
		case NT_SIGINFO:
			t.Siginfo = s.Data
		case ThreadStateNote:
			fillState(t, s.Data)
		default:
			regs.Sets = append(regs.Sets, s)
		}
	}
	if len(regs.Set(arch.NT_PRSTATUS)) >= m.GPSize() && m.GPSize() > 0 {
		t.Registers = regs
	}
}

func fillState(t *snapshot.Thread, b []byte) {
	if len(b) < threadStateSize {
		return
	}
	le := binary.LittleEndian
	t.Signal, t.Nice = int(int32(le.Uint32(b))), int(int32(le.Uint32(b[4:])))
	t.Pending, t.Blocked = le.Uint64(b[8:]), le.Uint64(b[16:])
	t.UserTime, t.SystemTime = time.Duration(le.Uint64(b[24:])), time.Duration(le.Uint64(b[32:]))
	if ns := int64(le.Uint64(b[40:])); ns != 0 {
		t.StartTime = time.Unix(0, ns)
	}
	if s := (snapshot.Range{Addr: le.Uint64(b[48:]), Size: le.Uint64(b[56:])}); s.End() >= s.Addr {
		t.Stack = s
	}
}
